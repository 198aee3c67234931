"""Where weights are read from and written to: canonical files, and those of torchvision and Keras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cnnspec.diagnostics import Report
from cnnspec.graph import Graph
from cnnspec.weights.check import check_shapes, expected_keys, listed
from cnnspec.weights.contract import contract
from cnnspec.weights.files import FLOATS, VERSION, FileWeights, file_span, open_file, write_file
from cnnspec.weights.mapping import Given, Weights

FOREIGN = ("torchvision", "keras")
"""Whose files can be converted."""


class Place(NamedTuple):
    """A file, and whose names and layout it has: of a project in `FOREIGN`, or with none the canonical ones."""

    path: Path
    format: str = ""

    @classmethod
    def of(cls, text: str) -> Place:
        """`FILE` or `FORMAT:FILE`."""
        format, colon, path = text.partition(":")
        return cls(Path(path), format) if colon and format in FOREIGN else cls(Path(text))


def load(place: Place, graph: Graph, report: Report, *, training: bool = False) -> Weights | None:
    """The weights of `graph` from a file: all, or None with the reason in `report`.

    Heads that exist in training only may be missing, unless they are needed for `training`.
    """
    if not place.format:
        return _load_canonical(place.path, graph, report, training)
    from cnnspec.weights.convert import read_foreign  # imports nothing of a framework, but what reads its files

    weights = read_foreign(graph, place.format, place.path)
    span = file_span(place.path)
    fits = check_shapes(weights.shapes, graph, report, f"`{place.path}`", span, training=training)
    return weights if fits else None


def _load_canonical(path: Path, graph: Graph, report: Report, training: bool) -> Weights | None:
    file = open_file(path, report)
    if file is None:
        return None
    span = file_span(path)
    version = file.metadata.get("cnnspec", VERSION)
    if version != VERSION:
        message = f"`{path}` has the layout {version[:60]} of weights, this cnnspec reads {VERSION}"
        report.add("bad-weight-file", message, span)
        return None
    fits = check_shapes(file.shapes, graph, report, f"`{path}`", span, training=training)
    return file.only(expected_keys(graph, file, training=training)) if _check_types(file, report) and fits else None


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
    given = weights if isinstance(weights, Weights) else Given(weights, {})
    span = file_span(place.path)
    if not check_shapes(given.shapes, graph, report, f"what is to be written to `{place.path}`", span):
        return
    if place.format:
        from cnnspec.weights.convert import write_foreign

        write_foreign(graph, place.format, place.path, given)
        return
    keys = [key for key in contract(graph) if key in given]
    if odd := write_file(place.path, given, keys, {"spec": graph.name, **given.origin}):
        report.add("not-finite", f"`{place.path}` holds infinities or NaN: {listed(odd)}", span)
