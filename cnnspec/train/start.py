"""What training starts from: drawn weights, or those of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnspec.weights.contract import contract
from cnnspec.weights.initial import recipe_weights
from cnnspec.weights.mapping import Over, Weights
from cnnspec.weights.places import Place, load

if TYPE_CHECKING:
    from cnnspec.diagnostics import Report
    from cnnspec.graph import Graph
    from cnnspec.spec.recipe import Recipe


def start_weights(graph: Graph, recipe: Recipe, given: str | None, report: Report) -> Weights | None:
    """Every parameter of `graph`: as the recipe draws it, or as the file `given` has it.

    What a transfer case starts anew is drawn, and so are heads that exist in training only where the file lacks them.
    None where `report` got an error.
    """
    if given is None:
        return recipe_weights(graph, recipe)
    found = load(Place.of(given), graph, report, initial=recipe_weights(graph, recipe))
    return None if found is None else completed(found, graph, recipe)


def completed(found: Weights, graph: Graph, recipe: Recipe | None) -> Weights:
    """Weights that were `found`, and all others as the recipe draws them."""
    return Over(found, recipe_weights(graph, recipe), contract(graph))
