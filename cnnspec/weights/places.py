"""Where weights are read from and written to: canonical files, and those of torchvision and Keras."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cnnspec.diagnostics import Report
from cnnspec.graph import Graph
from cnnspec.weights.check import SPEC, TRANSFER, check_shapes, expected_keys, listed, replaced_keys
from cnnspec.weights.contract import contract
from cnnspec.weights.files import FLOATS, VERSION, FileWeights, file_span, open_file, prefixed, write_file
from cnnspec.weights.finite import report_odd
from cnnspec.weights.mapping import Over, Weights, as_weights

FOREIGN = ("torchvision", "keras")
"""Whose files can be converted."""

_NAME = re.compile(r"[A-Za-z0-9_]+")


class Place(NamedTuple):
    """A file, and whose names and layout it has: of a project in `FOREIGN`, or with none the canonical ones.

    `name` is there if the file may be one that the project publishes under it.
    """

    path: Path
    format: str = ""
    name: str = ""

    @classmethod
    def of(cls, text: str) -> Place:
        """`FILE`, `FORMAT:FILE` or `FORMAT:NAME`: a name has letters, digits and `_` alone."""
        format, colon, path = text.partition(":")
        if not colon or format not in FOREIGN:
            return cls(Path(text))
        return cls(Path(path), format, path if _NAME.fullmatch(path) else "")


def load(
    place: Place, graph: Graph, report: Report, *, training: bool = False, initial: Weights | None = None
) -> Weights | None:
    """The weights of `graph` from a file, or published under a name: all, or None with the reason in `report`.

    Heads that exist in training only may be missing, unless they are needed for `training`. Under a transfer case the
    file is of the original network, unless it states that it was written under one: what starts anew is not read from
    it, but `initial`, or without that what the seed 0 gives.
    """
    if place.format:
        from cnnspec.weights.convert import read_foreign  # imports nothing of a framework, but what reads its files

        published = None
        if place.name and (published := _published(place, graph, report)) is None and report.failed:
            return None
        path, origin = published or (place.path, "")
        weights: Weights = read_foreign(graph, place.format, path)
        if origin:
            weights.origin["from"] = origin
        elif _NAME.fullmatch(path.name):  # which says that they were published
            weights.origin["from"] = f"{place.format}:./{path.name}"
        original = True
        span = file_span(place.path)
        fits = check_shapes(
            weights.shapes, graph, report, f"`{place.path}`", span, training=training, original=original
        )
        found = weights if fits else None
    else:
        file = _load_canonical(place.path, graph, report, training)
        found, original = file, file is not None and TRANSFER not in file.metadata
    if found is None or graph.transfer is None or not original:
        return found
    anew = replaced_keys(graph)
    keys = [key for key in expected_keys(graph, found, training=training) if key in found or key in anew]
    if initial is None:
        from cnnspec.weights.initial import initial_weights  # imports all of a recipe's models

        initial = initial_weights(graph, 0)
    return Over(found, initial, keys)


def _published(place: Place, graph: Graph, report: Report) -> tuple[Path, str] | None:
    """What is published under a name, as a file in the cache, and the name in full; None for a file that is here."""
    from cnnspec.weights.published import find, published  # large models, of no use to what names a file

    names = {name for entry in published(graph.spec, place.format) for name in (entry.name, *entry.aliases)}
    if place.name not in names and place.path.exists():
        return None
    from cnnspec.weights.download import fetch

    entry = find(place.format, place.name, graph, report)
    file = fetch(entry, report) if entry else None
    return (file, entry.reference) if entry and file else None


def _load_canonical(path: Path, graph: Graph, report: Report, training: bool) -> FileWeights | None:
    file = open_file(path, report)
    if file is None:
        return None
    span = file_span(path)
    version = file.metadata.get("cnnspec", VERSION)
    if version != VERSION:
        message = f"`{path}` has the layout {version[:60]} of weights, this cnnspec reads {VERSION}"
        report.add("bad-weight-file", message, span)
        return None
    if graph.transfer:  # heads that it leaves out are in files of the original network, and of other cases
        file = file.only(key for key in file if not graph.transfer.leaves_out(key))
    original = TRANSFER not in file.metadata
    fits = check_shapes(
        file.shapes, graph, report, f"`{path}`", span, training=training, original=original, stated=file.metadata
    )
    gone = replaced_keys(graph, file) if original else frozenset[str]()
    kept = file.only(key for key in file if key not in gone)
    if not (_check_types(kept, report) and fits):
        return None
    return kept.only(key for key in expected_keys(graph, kept, training=training) if key not in gone)


def _check_types(file: FileWeights, report: Report) -> bool:
    """Report what is not made of floats."""
    other = [key for key, entry in file.entries.items() if entry.dtype not in FLOATS]
    if other:
        types = ", ".join(sorted({file.entries[key].dtype for key in other}))
        message = f"`{file.path}` holds {types} where floats of 16, 32 or 64 bits are needed: {listed(other)}"
        report.add("weight-type", message, file_span(file.path))
    return not other


def save(place: Place, weights: Mapping[str, Any], graph: Graph, report: Report) -> None:
    """Write the weights of `graph` to a file, unless they are not all there, or of other shapes.

    An infinity or a NaN is written, with a warning.
    """
    given = as_weights(weights)
    span = file_span(place.path)
    if not check_shapes(given.shapes, graph, report, f"what is to be written to `{place.path}`", span):
        return
    if not place.format and (named := prefixed(place.path)):
        message = f"`{place.path}` would hold safetensors, and its name says something else"
        help = f"write `{named}`, or a name that ends in `.safetensors`"
        report.add("bad-weight-file", message, span, help=help)
        return
    if place.format:
        from cnnspec.weights.convert import write_foreign

        write_foreign(graph, place.format, place.path, given)
        return
    keys = [key for key in contract(graph) if key in given]
    case = {TRANSFER: graph.transfer.case} if graph.transfer else {}
    odd = write_file(place.path, given, keys, {SPEC: graph.name, **case, **given.origin})
    report_odd(odd, f"`{place.path}`", span, report)
