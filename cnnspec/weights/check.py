"""Whether weights are those of a network: all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from cnnspec.diagnostics import Label, Report, Source, Span
from cnnspec.graph import Graph, build_graph
from cnnspec.graph.model import Transferred
from cnnspec.weights.contract import contract, parameters
from cnnspec.weights.mapping import Weights, as_weights

GIVEN, GIVEN_SPAN = "what was given", Span(Source("weights", ""), 0, 0)
"""How messages name weights that came from Python, and where they are."""

SPEC, TRANSFER = "spec", "transfer"
"""Which of a file's metadata name the network, and the transfer case that it is under."""

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


class _Misfits(NamedTuple):
    """Of the keys that are `expected`, what is missing and what has another shape; and what is left over."""

    expected: list[str]
    missing: list[str]
    left_over: list[str]
    other: list[str]

    @property
    def keys(self) -> list[str]:
        """All that does not fit."""
        return self.missing + self.left_over + self.other


def _misfits(found: Mapping[str, tuple[int, ...]], graph: Graph, training: bool, original: bool) -> _Misfits:
    """How weights differ from those of `graph`, as `check_shapes` sees it."""
    params = contract(graph)
    gone = replaced_keys(graph, found) if original else frozenset[str]()
    found = {key: shape for key, shape in found.items() if key not in gone}
    expected = [key for key in expected_keys(graph, found, training=training) if key not in gone]
    missing = [key for key in expected if key not in found]
    left_over = [key for key in found if key not in params]
    other = [key for key in expected if key in found and found[key] != params[key].shape]
    return _Misfits(expected, missing, left_over, other)


def check_shapes(
    found: Mapping[str, tuple[int, ...]],
    graph: Graph,
    report: Report,
    where: str,
    span: Span,
    *,
    training: bool = False,
    original: bool = False,
    stated: Mapping[str, str] = {},
) -> bool:
    """Report what is missing, what is left over, and what has another shape than in `graph`.

    `where` names the weights in messages, `span` is what these are about. If they are a file of the `original` network,
    before any transfer case, nothing is said of what starts anew or is dropped under that of `graph`. `stated` is what
    a file's metadata say.
    """
    misfits = _misfits(found, graph, training, original)
    if not misfits.keys:
        return True
    expected, missing, left_over, other = misfits
    if (name := stated.get(SPEC, graph.name)) != graph.name:
        where = f"{where}, which says that it is of {name[:60]},"
    mistakes: list[tuple[str, str, list[Label]]] = []
    if missing:
        message = f"{where} lacks {len(missing)} of the {len(expected)} parameters of {graph.name}: {listed(missing)}"
        mistakes.append(("missing-weights", message, []))
    if left_over:
        message = f"{where} has {_count(len(left_over))} that {graph.name} has not: {listed(left_over)}"
        mistakes.append(("left-over-weights", message, []))
    if other:
        params = contract(graph)
        sides = [f"`{_cut(k)}` is {_by(found[k])}, in the network {_by(params[k].shape)}" for k in other]
        message = f"{where} has {_count(len(other))} of another shape than {graph.name}: {_enumerate(sides)}"
        mistakes.append(("weight-shape", message, _places(graph, other)))
    if original:
        out = way_out(graph, lambda under: not _misfits(found, under, training, original).keys)
    else:
        out = _as_original(misfits, found, graph) if TRANSFER in stated else ""
    help = _help(misfits, out, graph, original, stated)
    for slug, message, places in mistakes:
        report.add(slug, message, span, related=places, help=help)
        help = ""  # is said once
    return False


def _help(misfits: _Misfits, out: str, graph: Graph, original: bool, stated: Mapping[str, str]) -> str:
    """What to do where not all fits, if that is known; `out` is what a transfer case has to do with it."""
    if misfits.missing == misfits.expected and SPEC not in stated:
        return "`--from torchvision:FILE` and `--from keras:FILE` read what has other names"
    if original and graph.transfer:
        return out
    same = misfits.other and stated.get(SPEC, graph.name) == graph.name
    ways = ("give `--set` as when they were saved" if same else "", out)
    return ", or ".join(way for way in ways if way)


def replaced_keys(graph: Graph, found: Iterable[str] = ()) -> frozenset[str]:
    """The parameters that start anew or are dropped under the transfer of `graph`; of `found` too, what lies there."""
    if graph.transfer is None:
        return frozenset()
    now, before = contract(graph), contract(graph.transfer.original)
    gone = {key for key in (*now, *before, *found) if graph.transfer.starts_anew(key) or graph.transfer.leaves_out(key)}
    return frozenset(gone | (before.keys() - now.keys()))


def way_out(graph: Graph, fits: Callable[[Graph], bool]) -> str:
    """Under which transfer cases weights fit, as all that differs starts anew or is dropped; empty if under none."""
    transfer = graph.spec.read_transfer(Report())
    cases = []
    for case in transfer.cases if transfer else ():
        under = build_graph(graph.spec, Report(), case)
        if under and fits(under):
            cases.append(f"`--transfer {case}`")
    known = ", ".join(cases)
    if graph.transfer is None:
        return f"take them under a transfer case, where these start anew: {known}" if cases else ""
    only = f"under `{graph.transfer.case}` only what starts anew may differ: {_anew(graph.transfer)}"
    return f"{only}; another case can take them: {known}" if cases else only


def _as_original(misfits: _Misfits, found: Mapping[str, tuple[int, ...]], graph: Graph) -> str:
    """How what was saved under a case goes on under that of `graph`, if it can, and what differs starts anew there."""
    if graph.transfer is None or set(found) != set(expected_keys(graph.transfer.original, found)):
        return ""
    if not replaced_keys(graph, found).issuperset(misfits.keys):
        return ""
    command = "`cnnspec weights SPEC --set … --from FILE -o NEW.safetensors`"
    return f"let {command} make them weights of the original network: then {_anew(graph.transfer)} starts anew"


def _anew(transfer: Transferred) -> str:
    return ", ".join(f"`{_cut(path)}`" for path in transfer.anew[:3])


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
