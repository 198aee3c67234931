"""Reads HDF5 files of others with care: no links to elsewhere, nothing that is larger than it has to be."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from cnnspec.lower.backend import MissingDependency
from cnnspec.weights.foreign import BadFile, Stored

MAX_NAMES = 100_000
ERRORS = (OSError, KeyError, RuntimeError, TypeError, ValueError, OverflowError)
"""What h5py raises for a damaged file, whichever part of it is damaged."""


def h5py() -> Any:
    """The library, which only Keras's files need."""
    if find_spec("h5py") is None:
        raise MissingDependency("h5py", "keras")
    return import_module("h5py")


def group(parent: Any, name: str) -> Any:
    """The group `name` in another."""
    found = _child(parent, name)
    if not isinstance(found, h5py().Group):
        raise BadFile(f"holds data as `{name[:100]}`, where a group should be")
    return found


def array(parent: Any, path: str) -> Stored:
    """The array at a path; only its shape is looked at."""
    *folders, name = path.split("/")
    for folder in folders:
        parent = group(parent, folder)
    found = _child(parent, name)
    if not isinstance(found, h5py().Dataset):
        raise BadFile(f"holds a group as `{path[:100]}`, where data should be")
    if found.external or found.is_virtual:
        raise BadFile(f"keeps `{path[:100]}` in another file")
    if found.dtype.kind != "f" or found.shape is None:
        raise BadFile(f"holds no floating-point numbers as `{path[:100]}`")

    def read() -> Any:
        try:
            return found[()]
        except ERRORS as error:
            raise BadFile(f"is damaged: `{path[:100]}` cannot be read") from error

    return Stored(tuple(found.shape), read)


def _child(parent: Any, name: str) -> Any:
    link = parent.get(name, getlink=True)
    if not isinstance(link, h5py().HardLink):
        raise BadFile(f"has a link to another place as `{name[:100]}`" if link else f"lacks `{name[:100]}`")
    return parent[name]


def children(parent: Any) -> Iterator[str]:
    """The names in a group; there may not be absurdly many."""
    if len(parent) > MAX_NAMES:
        raise BadFile("holds more groups than any network has layers")
    yield from parent


def text(parent: Any, name: str) -> str | None:
    """An attribute that is one text."""
    if name not in parent.attrs:
        return None
    return _decoded(parent.attrs[name]) if parent.attrs.get_id(name).shape == () else None


def texts(parent: Any, name: str) -> list[str] | None:
    """An attribute that is a list of texts, which Keras cuts into `name0`, `name1` where it is long."""
    if name in parent.attrs:
        return _texts(parent, name)
    found: list[str] = []
    number = 0
    while f"{name}{number}" in parent.attrs:
        found += _texts(parent, f"{name}{number}")
        number += 1
    return found if number else None


def _texts(parent: Any, name: str) -> list[str]:
    shape = parent.attrs.get_id(name).shape
    if len(shape) != 1 or shape[0] > MAX_NAMES:
        raise BadFile(f"has a `{name}` that is no list of names")
    return [_decoded(item) for item in parent.attrs[name]]


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
