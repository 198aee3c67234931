"""A run's network as an ONNX file: with the labels of its data, and taking images as its data had them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnspec.diagnostics import Source, Span
from cnnspec.graph import Graph
from cnnspec.lower.backend import backends
from cnnspec.ops import Maps
from cnnspec.source import Node, grown
from cnnspec.spec.sections import PreprocessSection

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe
    from cnnspec.spec.recipe.data import Data


def export_run(
    graph: Graph, case: str, recipe: Recipe, labels: list[str], weights: Mapping[str, Any], path: Path
) -> list[Path]:
    """Write the file; it takes bytes of any size where its preprocessing can say what becomes of them."""
    spec = graph.spec
    shape = graph.input.shape
    assert isinstance(shape, Maps), "an input is maps"
    section = exported_section(spec.preprocess, recipe.data, (shape.height, shape.width))
    assert recipe._node is not None, "a recipe to train with was read from text"
    span = Span(Source("", ""), 0, 0)
    written = {name: value for name, value in section.model_dump().items() if name in section.model_fields_set}
    changes: dict[str, Node] = {
        "preprocess": grown(_plain(written), span),
        "labels": grown(list(labels), span),
        "train": recipe._node,
    }
    own = replace(spec.with_sections(changes), preprocess=section, labels=labels)
    files: list[Path] = (
        backends()["onnx"].load().export(replace(graph, spec=own), weights, path, case=case, preprocess=True)
    )
    return files


def exported_section(section: PreprocessSection | None, data: Data, size: tuple[int, int]) -> PreprocessSection:
    """The preprocessing with what `fit` does, where one section can say both; else for images of the input's size."""
    section = section or PreprocessSection()
    exact = section.resize if section.resize_to == "exact" or (section.resize and len({*section.resize}) > 1) else None
    given = section.crop or exact
    known = section.interpolation != "lanczos"  # ONNX has it not
    if given == size and known and (section.resize is None or section.crop is None or _covers(section)):
        return section
    free = section.resize is None and section.crop is None and known
    if free and data.fit == "stretch":
        return _with(section, resize=size, resize_to="exact")
    if free and data.fit == "crop" and size[0] == size[1]:
        return _with(section, resize=size, resize_to="shorter_side", crop=size)
    return _with(section, resize=None, crop=None)


def _covers(section: PreprocessSection) -> bool:
    assert section.resize and section.crop, "asked of a crop behind a resize"
    return section.resize[0] >= section.crop[0] and section.resize[1] >= section.crop[1]


def _with(section: PreprocessSection, **changes: Any) -> PreprocessSection:
    changed = section.model_copy(update=changes)
    changed.model_fields_set.update(changes)
    return changed


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
