"""What a run does: a spec's recipe with the changes that were asked for, and the one text that says it all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cnnspec.diagnostics import Report, Source, Span
from cnnspec.source import Node, Scalar, Sequence, grown
from cnnspec.spec.locate import find, zoo_folder
from cnnspec.spec.text import canonical_text
from cnnspec.train.place import absolute_section, data_section

if TYPE_CHECKING:
    from cnnspec.graph import Graph
    from cnnspec.spec.document import Spec
    from cnnspec.spec.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Choices:
    """What is otherwise than the spec's own recipe says."""

    recipe: str = ""
    data: str = ""
    numbers: dict[str, int | None] = field(default_factory=dict)
    """`epochs`, `batch_size` and `seed`; None leaves the recipe's."""
    fold: tuple[int, int] | None = None
    """Which fold is held out, from 1, and of how many, in place of what the recipe holds out."""


def settle(graph: Graph, choices: Choices, report: Report, *, whole: bool = True) -> Recipe | None:
    """The recipe to train with; None where `report` got an error. `whole` as for `check_recipe`.

    Paths of data become absolute, so that they mean the same wherever training runs.
    """
    from cnnspec.graph.recipe import check_recipe, usual_recipe

    spec = graph.spec
    reference = choices.recipe or usual_recipe(graph)
    _check_trains(graph, report)
    changes: dict[str, Node] = {
        name: grown(value, Span(Source(f"--{name.replace('_', '-')}", str(value)), 0, len(str(value))))
        for name, value in choices.numbers.items()
        if value is not None
    }
    recipe = spec.read_recipe(Report(), reference, changes)
    if choices.fold:
        changes["split"] = _fold_section(*choices.fold, recipe)
        recipe = spec.read_recipe(Report(), reference, changes)  # now with images to validate on
    if choices.data:
        data = data_section(choices.data, recipe, report)
        if data is None:
            return None
        changes["data"] = data
    elif recipe is not None:
        changes["data"] = absolute_section(recipe)
    recipe = spec.read_recipe(report, reference, changes)
    if recipe is not None and not check_recipe(recipe, graph, report, whole=whole):
        recipe = None
    if recipe is None and not report.failed:
        help = "write a `train` section, or name a recipe: `--recipe standard`"
        at = Span(spec.root.span.source, 0, 0)
        report.add("no-recipe", f"`{spec.name}` has no training recipe", at, help=help)
    return None if report.failed else recipe


def _fold_section(fold: int, folds: int, recipe: Recipe | None) -> Node:
    """The `split` section that holds a fold out; what the recipe drew its own split with draws the folds."""
    seed = recipe.split.seed if recipe and recipe.split else 0
    return grown({"folds": folds, "fold": fold, "seed": seed}, Span(Source("--folds", str(folds)), 0, len(str(folds))))


def _check_trains(graph: Graph, report: Report) -> None:
    """A transfer case leaves something to train, in every epoch."""
    if graph.transfer is None:
        return
    first = graph.first_epochs()
    begin = {first[node.path] for node in graph.nodes if node.learns and node.path in first}
    if 1 in begin:
        return
    assert graph.spec.transfer is not None, "a case is of a transfer section"
    case = graph.spec.transfer.cases[graph.transfer.case]
    when = f" before epoch {min(begin)}" if begin else ""
    name = "freeze" if case.section.freeze else "freeze_through"
    help = "let it `replace` the layers that classify, which are never frozen"
    message = f"`{case.name}` leaves nothing to train{when}"
    report.add("recipe-conflict", message, case.node.key(name).span, help=help)


def settled_files(spec: Spec, recipe: Recipe) -> dict[str, bytes]:
    """`spec.yaml`, the whole spec with its recipe, and the block libraries beside it that it names."""
    assert recipe._node is not None, "a recipe to train with was read from text"
    sections: dict[str, Node] = {"train": recipe._node}
    files: dict[str, bytes] = {}
    if libraries := spec.root.get("use"):
        items = libraries.items if isinstance(libraries, Sequence) else [libraries]
        names: list[Node] = []
        for item in items:
            assert isinstance(item, Scalar), "what is used was found"
            name, content = _library(item, spec.files[0].parent)
            while files.get(name, content) != content:
                name = f"other_{name}"
            if content is not None:
                files[name] = content
            names.append(Scalar(name, name, item.span, quoted=True))
        sections["use"] = Sequence(names, libraries.span)
    text = canonical_text(spec.with_sections(sections))
    return {"spec.yaml": text.encode(), **files}


def _library(item: Scalar, folder: Path) -> tuple[str, bytes | None]:
    """How a library is named beside the settled spec, and its text where it is not the zoo's."""
    source = item.span.source.path
    path = find(item.text, Report(), relative_to=source.parent if source else folder, within="blocks")
    assert path is not None, "what is used was found"
    if path.resolve().is_relative_to(zoo_folder()):
        return path.stem, None
    return path.name if path.name != "spec.yaml" else "blocks.yaml", path.read_bytes()
