"""Keras's weight files: `.weights.h5`, `.keras` and `.h5` as Keras 3 writes them, and `.h5` as Keras 2 did.

Read, a file is its layers by name, each with its arrays in Keras's order: what they are called differs from version to
version, their order does not.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from cnnspec.weights import hdf5
from cnnspec.weights.foreign import BadFile, Stored, replacing

Layers = dict[str, list[Stored]]

_MEMBER = "model.weights.h5"
_MAX_CONFIG = 50_000_000
_MAX_DEPTH = 12
_MAX_ATTRIBUTE = 60_000  # HDF5 keeps 64 KB; Keras cuts longer lists
_ZIP, _HDF5, _PICKLE = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x80"


class KerasLayer(NamedTuple):
    """A layer to be written: its class as in `conv2d`, and its arrays with what Keras calls them, in its order."""

    name: str
    kind: str
    arrays: Mapping[str, Any]


def read_keras(path: Path, limit: int, stack: ExitStack) -> Layers:
    """The layers of a file that stays open as long as `stack`; `limit` is what it may unpack to, in bytes."""
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(_PICKLE):
        from cnnspec.weights.pickles import read_pickle

        return read_pickle(path, limit)
    if not head.startswith((_ZIP, _HDF5)):
        raise BadFile("is neither HDF5 nor a `.keras` archive")
    names: dict[str, str] = {}
    source: Any = path
    if head.startswith(_ZIP):
        source, names = _unpack(path, limit, stack)
    try:
        root = stack.enter_context(hdf5.h5py().File(source, "r"))
        return _saved_by_3(root, names) if "layers" in root else _legacy(root)
    except hdf5.ERRORS as error:
        raise BadFile("is damaged: it cannot be read as HDF5") from error


def _unpack(path: Path, limit: int, stack: ExitStack) -> tuple[Any, dict[str, str]]:
    """The weights in an archive as an open file without a name, and what its configuration calls the groups there."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = _member(archive, _MEMBER, max(limit, path.stat().st_size))
            if member is None:
                raise BadFile(f"has no `{_MEMBER}` in it")
            file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115, as the stack closes it
            with archive.open(member) as packed:
                shutil.copyfileobj(packed, file, 1 << 20)
            config = _member(archive, "config.json", _MAX_CONFIG)
            return file, _group_names(json.loads(archive.read(config)) if config else None)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BadFile("is damaged: it cannot be unpacked") from error


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> zipfile.ZipInfo | None:
    if name not in archive.namelist():
        return None
    member = archive.getinfo(name)
    if member.file_size > limit:
        raise BadFile(f"would unpack to {member.file_size:,} bytes, far more than the network has")
    return member


def _group_names(config: Any) -> dict[str, str]:
    """Names of layers by the group that holds their weights: older files do not say them there."""
    try:
        layers = [(str(layer["class_name"]), str(layer["config"]["name"])) for layer in config["config"]["layers"]]
    except (KeyError, TypeError):
        return {}
    names, seen = {}, Counter[str]()
    for kind, name in layers:
        group = _snake(kind)
        names[f"{group}_{seen[group]}" if seen[group] else group] = name
        seen[group] += 1
    return names


def _snake(kind: str) -> str:
    """`SeparableConv2D` as Keras writes it in paths, `separable_conv2d`."""
    kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()


def _saved_by_3(file: Any, names: Mapping[str, str]) -> Layers:
    """`layers/conv2d_1/vars/0`: the groups are numbered by class, each says its layer's name."""
    layers: Layers = {}
    for path, variables in _variables(hdf5.group(file, "layers")):
        if "seed_generator" in path:
            continue
        name = hdf5.text(variables, "name") or (names.get(path[0]) if len(path) == 1 else None)
        if name is None:
            help = "save it with a newer Keras, or the whole model as `.keras`"
            raise BadFile("does not say what its layers are called", help)
        if name in layers:
            raise BadFile(f"has two layers called `{name[:100]}`")
        arrays = sorted(hdf5.children(variables), key=lambda key: (len(key), key))
        layers[name] = [hdf5.array(variables, key) for key in arrays]
    return layers


def _variables(root: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every group of variables that is not empty, with the path to it. A group may be linked to from many places."""
    todo: list[tuple[tuple[str, ...], Any]] = [((), root)]
    met = 0
    while todo:
        path, group = todo.pop()
        for name in hdf5.children(group):
            met += 1
            if met > hdf5.MAX_NAMES or len(path) > _MAX_DEPTH:
                raise BadFile("holds more groups than any network has layers")
            if name != "vars":
                todo.append(((*path, name), hdf5.group(group, name)))
            elif len(variables := hdf5.group(group, name)):
                yield path, variables


def _legacy(file: Any) -> Layers:
    """One group a layer, with a list of the names of its arrays."""
    root = hdf5.group(file, "model_weights") if "model_weights" in file else file
    if hdf5.texts(root, "layer_names") is None:
        raise BadFile("is HDF5, but no file of Keras")
    layers: Layers = {}
    for name in hdf5.children(root):
        layer = hdf5.group(root, name)
        if names := hdf5.texts(layer, "weight_names"):
            layers[name] = [hdf5.array(layer, variable) for variable in names]
    return layers


def write_keras(path: Path, layers: list[KerasLayer]) -> None:
    """Write `.weights.h5`, or `.h5` as Keras 2 did. Keras loads both by order: `layers` are in that of its model."""
    if path.suffix != ".h5":
        raise BadFile(
            "is no name for Keras's weights",
            help="`.weights.h5` or `.h5`; a `.keras` file holds a model too, whose `load_weights` reads these",
        )
    h5py = hdf5.h5py()
    write = _write_3 if path.name.endswith(".weights.h5") else _write_legacy
    with replacing(path) as part:
        try:
            with h5py.File(part, "w") as file:
                write(file, layers)
        except (OSError, RuntimeError) as error:  # HDF5's own words are of its inside, and of the draft's name
            raise BadFile("cannot be written: the disk is full, or the folder takes no files") from error


def _write_3(file: Any, layers: list[KerasLayer]) -> None:
    seen = Counter[str]()
    for layer in layers:
        group = f"{layer.kind}_{seen[layer.kind]}" if seen[layer.kind] else layer.kind
        seen[layer.kind] += 1
        variables = file.create_group(f"layers/{group}/vars")
        variables.attrs["name"] = layer.name
        for number, array in enumerate(layer.arrays.values()):
            variables[str(number)] = array


def _write_legacy(file: Any, layers: list[KerasLayer]) -> None:
    _write_texts(file, "layer_names", [layer.name for layer in layers])
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = b"3.0.0"
    for layer in layers:
        group = file.create_group(layer.name)
        _write_texts(group, "weight_names", [f"{layer.name}/{name}" for name in layer.arrays])
        for name, array in layer.arrays.items():
            group[f"{layer.name}/{name}"] = array


def _write_texts(group: Any, name: str, texts: list[str]) -> None:
    encoded = [text.encode() for text in texts]
    longest = max(map(len, encoded), default=1)
    each = max(1, _MAX_ATTRIBUTE // longest)
    parts = [encoded[start : start + each] for start in range(0, len(encoded), each)]
    if len(parts) <= 1:
        group.attrs[name] = encoded
    else:
        for number, part in enumerate(parts):
            group.attrs[f"{name}{number}"] = part
