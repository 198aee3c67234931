"""What training starts from: drawn weights, or those of a file, less what a transfer case starts anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cnnspec.diagnostics import Report, SpecError
from cnnspec.graph import Graph, build_graph
from cnnspec.spec.loader import load_spec
from cnnspec.weights.check import check_shapes
from cnnspec.weights.contract import contract
from cnnspec.weights.convert import read_foreign
from cnnspec.weights.files import file_span, open_file
from cnnspec.weights.initial import initial_weights
from cnnspec.weights.mapping import Array, Given, Weights
from cnnspec.weights.places import Place, load

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe


def start_weights(graph: Graph, case: str, recipe: Recipe, given: str | None, report: Report) -> Weights | None:
    """Every parameter that `graph` trains or uses: those in the file `given`, the rest as the recipe draws them.

    Under a transfer `case` the file is of the network as it was: what the case replaces is drawn, everything else must
    be there. None where `report` got an error.
    """
    drawn = initial_weights(graph, recipe.seed, recipe.initializers)
    if given is None:
        return drawn
    place = Place.of(given)
    found = _of_case(place, graph, case, report) if case else load(place, graph, report)
    return None if found is None else _Over(drawn, found)


class _Over(Weights):
    """Some weights in place of others."""

    def __init__(self, below: Weights, above: Weights) -> None:
        super().__init__(below.shapes, above.origin)
        self._below, self._above = below, above

    def __getitem__(self, key: str) -> Array:
        return self._above[key] if key in self._above else self._below[key]


def _of_case(place: Place, graph: Graph, case: str, report: Report) -> Weights | None:
    found = _foreign(place, graph) if place.format else open_file(place.path, report)
    if found is None:
        return None
    transfer = graph.spec.transfer
    assert transfer is not None, "a graph under a case has a transfer section"
    chosen = transfer.cases[case]
    new = [*chosen.replace, *chosen.anew, *(["head"] if chosen.features else [])]

    def is_new(key: str) -> bool:
        return any(key.startswith(f"{path}.") for path in new)

    kept = {key: param.shape for key, param in contract(graph).items() if not is_new(key)}
    plain = build_graph(graph.spec, Report())
    old = contract(plain) if plain else {}
    shapes = {key: shape for key, shape in found.shapes.items() if key in kept or not (key in old or is_new(key))}
    heads = contract(graph).keys() - contract(graph, training=False).keys()
    drawn = {key: param.shape for key, param in contract(graph).items() if is_new(key) or key in heads - shapes.keys()}
    if not check_shapes(shapes | drawn, graph, report, f"`{place.path}`", file_span(place.path)):
        return None
    return _Some(found, [key for key in kept if key in found])


class _Some(Weights):
    """Some of the weights of a file."""

    def __init__(self, found: Weights, keys: list[str]) -> None:
        super().__init__({key: found.shapes[key] for key in keys}, found.origin)
        self._found = found

    def __getitem__(self, key: str) -> Array:
        return self._found[key]


def _foreign(place: Place, graph: Graph) -> Weights:
    """What is in a file of another project, whose network has as many classes as this one, or as the spec says."""
    plain = build_graph(graph.spec, Report())
    assert plain is not None, "a spec whose case can be built can be built"
    try:
        return read_foreign(plain, place.format, place.path)
    except SpecError:
        own = load_spec(str(graph.spec.files[0]), {}, Report())
        written = build_graph(own, Report()) if own else None
        if written is None or _shapes(written) == _shapes(plain):
            raise
        try:
            return read_foreign(written, place.format, place.path)
        except SpecError:
            pass
        raise


def _shapes(graph: Graph) -> Mapping[str, tuple[int, ...]]:
    return {key: param.shape for key, param in contract(graph).items()}


def whole(arrays: Mapping[str, object]) -> Weights:
    """Arrays as weights."""
    return Given(arrays, {})
