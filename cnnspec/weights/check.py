"""Whether weights are those of a network: all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cnnspec.diagnostics import Label, Report, Source, Span
from cnnspec.graph import Graph
from cnnspec.weights.contract import contract, parameters
from cnnspec.weights.mapping import Weights, as_weights

GIVEN, GIVEN_SPAN = "what was given", Span(Source("weights", ""), 0, 0)
"""How messages name weights that came from Python, and where they are."""

_SHOWN = 10
_SHOWN_LENGTH = 60


def expected_keys(graph: Graph, found: Iterable[str], *, training: bool = False) -> list[str]:
    """The keys that must be there: without `training`, heads for training may be left out, but all of them at once."""
    whole, inference = contract(graph), contract(graph, training=False)
    heads = whole.keys() - inference.keys()
    return list(whole if training or heads.intersection(found) else inference)


def given_weights(arrays: Mapping[str, Any], graph: Graph, report: Report) -> Weights:
    """Arrays that came from Python; what keeps them from being the weights of `graph` is reported."""
    given = as_weights(arrays)
    check_shapes(given.shapes, graph, report, GIVEN, GIVEN_SPAN)
    return given


def check_shapes(
    found: Mapping[str, tuple[int, ...]],
    graph: Graph,
    report: Report,
    where: str,
    span: Span,
    *,
    training: bool = False,
    original: bool = False,
) -> bool:
    """Report what is missing, what is left over, and what has another shape than in `graph`.

    `where` names the weights in messages, `span` is what these are about. If they are those of the `original` network,
    before the transfer case that `graph` is under, nothing is said of what starts anew or is dropped.
    """
    params = contract(graph)
    gone = replaced_keys(graph, found) if original else frozenset[str]()
    found = {key: shape for key, shape in found.items() if key not in gone}
    expected = [key for key in expected_keys(graph, found, training=training) if key not in gone]
    missing = [key for key in expected if key not in found]
    left_over = [key for key in found if key not in params]
    other = [key for key in expected if key in found and found[key] != params[key].shape]
    if missing:
        message = f"{where} lacks {len(missing)} of the {len(expected)} parameters of {graph.name}: {listed(missing)}"
        foreign = "`--from torchvision:FILE` and `--from keras:FILE` read what has other names"
        report.add("missing-weights", message, span, help=foreign if len(missing) == len(expected) else "")
    if left_over:
        message = f"{where} has {_count(len(left_over))} that {graph.name} has not: {listed(left_over)}"
        report.add("left-over-weights", message, span)
    if other:
        sides = [f"`{_cut(k)}` is {_by(found[k])}, in the network {_by(params[k].shape)}" for k in other]
        report.add(
            "weight-shape",
            f"{where} has {_count(len(other))} of another shape than {graph.name}: {_enumerate(sides)}",
            span,
            related=_places(graph, other),
            help=_only_anew(graph) if original else "give `--set` as when they were saved",
        )
    return not (missing or left_over or other)


def replaced_keys(graph: Graph, found: Iterable[str] = ()) -> frozenset[str]:
    """The parameters that start anew or are dropped under the transfer of `graph`; of `found` too, what lies there."""
    if graph.transfer is None:
        return frozenset()
    now, before = contract(graph), contract(graph.transfer.original)
    anew = {key for key in (*now, *before, *found) if graph.transfer.starts_anew(key)}
    return frozenset(anew | (before.keys() - now.keys()))


def _only_anew(graph: Graph) -> str:
    assert graph.transfer
    anew = ", ".join(f"`{_cut(path)}`" for path in graph.transfer.anew[:3])
    return f"under `{graph.transfer.case}` only what starts anew may have another shape: {anew}"


def listed(keys: Iterable[str]) -> str:
    """The first keys, and how many more there are."""
    return _enumerate([f"`{_cut(key)}`" for key in keys])


def _enumerate(texts: list[str]) -> str:
    """As many as one reads, and as a message may hold."""
    shown = texts[:_SHOWN]
    while len(shown) > 1 and len(", ".join(shown)) > 380:
        shown.pop()
    more = len(texts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _cut(key: str) -> str:
    return key if len(key) <= _SHOWN_LENGTH else f"…{key[-_SHOWN_LENGTH:]}"


def _count(number: int) -> str:
    return f"{number} parameter{'s' * (number > 1)}"


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _places(graph: Graph, keys: list[str]) -> list[Label]:
    """The layers that the first of these parameters belong to, each once."""
    spans: dict[tuple[str, int], Label] = {}
    for key, node, name in parameters(graph):
        if key in keys[:_SHOWN] and node.span:
            label = Label(node.span, f"needs {_by(node.params[name].shape)} for `{_cut(key)}`")
            spans.setdefault((node.span.source.name, node.span.start), label)
    return list(spans.values())[:3]
