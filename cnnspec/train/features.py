"""Whether training goes on from features: what frozen layers make of images, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cnnspec.lower.cut import Cut, find_cut
from cnnspec.lower.fold import fold

if TYPE_CHECKING:
    from cnnspec.graph import Graph
    from cnnspec.lower.program import Program
    from cnnspec.spec.recipe.model import Recipe


def feature_cut(graph: Graph, recipe: Recipe, program: Program | None = None) -> Cut | str:
    """Behind what the features are taken that training goes on from, or why there are none.

    An image must be the same in every epoch, or its features are not.
    """
    if not graph.frozen:
        return "nothing is frozen"
    if recipe.augment:
        kinds = ", ".join(dict.fromkeys(step.kind for step in recipe.augment))
        return f"the recipe augments the images: {kinds}"
    return find_cut(program or fold(graph))


def features_options(graph: Graph, recipe: Recipe, features: Path | bool) -> list[str]:
    """Options of `train.py`, which has them where there is a cut: a folder for features, or False for none at all."""
    if features is True or isinstance(feature_cut(graph, recipe), str):
        return []
    return ["--no-features"] if features is False else ["--features", str(features)]


def features_line(graph: Graph, recipe: Recipe, features: Path | bool = True) -> str | None:
    """What to say of features where a transfer case freezes layers, or a folder for them was named; else None."""
    if not isinstance(features, Path) and (graph.transfer is None or not graph.frozen):
        return None
    found = feature_cut(graph, recipe)
    if isinstance(found, str):
        return f"features are not kept: {found}"
    return f"features of {found.name}, up to which all stays frozen, are computed once"


def training_lines(graph: Graph, recipe: Recipe, features: Path | bool = True) -> list[str]:
    """What to say of training under a transfer case: by which recipe, if it has a name, and of features."""
    named = graph.transfer is not None and recipe.name
    about = f": {recipe.description}" if recipe.description else ""
    lines = [f"recipe {recipe.name}{about}" if named else "", features_line(graph, recipe, features) or ""]
    return list(filter(None, lines))
