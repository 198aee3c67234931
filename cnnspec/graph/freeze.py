"""Which layers a transfer case freezes and until when, at which rates others train, and whether its patterns match.

A pattern is a path whose components may contain `*`, `?` and `[...]`; it covers the layers that it matches and
everything below them. `*` alone covers the whole network.
"""

from __future__ import annotations

from typing import NamedTuple

from cnnspec.diagnostics import Report, did_you_mean
from cnnspec.graph.model import Graph
from cnnspec.graph.patterns import Paths, TooMany
from cnnspec.spec.transfer import Case, written


class Treatment(NamedTuple):
    """How a case trains the layers of a network, by their paths.

    `frozen` ones do not train in the first epoch. `starts` has the epoch, counted from 1, in which some of them start
    to; `factors` what others' rates are multiplied by.
    """

    frozen: frozenset[str] = frozenset()
    starts: dict[str, int] = {}
    factors: dict[str, float] = {}


def apply_case(graph: Graph, case: Case, report: Report) -> Treatment:
    """What `case` does with the layers of `graph`; a pattern without a match is reported.

    A batch norm is frozen whole: weights and running statistics. What the case replaces is never frozen. Of several
    patterns that cover a layer, the earliest epoch and the last factor count.
    """
    try:
        return _apply(graph, case, report)
    except TooMany:
        return Treatment()


def _apply(graph: Graph, case: Case, report: Report) -> Treatment:
    section = case.section
    paths = Paths(graph.nodes)
    anew = paths.below(starting_anew(case))
    frozen: set[str] = set()
    for pattern in section.freeze:
        if (found := _matches(paths, case, pattern, report)) and found <= anew:
            message = f"`{pattern[:60]}` starts anew, and what does is never frozen"
            report.add("no-effect", message, written(case.node.get("freeze"), pattern))
        frozen |= found
    if section.freeze_through:
        through = _matches(paths, case, section.freeze_through, report)
        last = max((node.index for node in graph.nodes if node.path in through), default=-1)
        frozen |= {node.path for node in graph.nodes if node.index <= last}
    frozen -= anew
    starts: dict[str, int] = {}
    for epoch, patterns in section.unfreeze.items():
        for pattern in patterns:
            if (found := _matches(paths, case, pattern, report)) and not found & frozen:
                message = f"`{pattern[:60]}` is not frozen, so that nothing is left to unfreeze"
                report.add("no-effect", message, written(case.node.get("unfreeze"), pattern))
            if epoch.isdecimal():  # what is none has been reported
                starts |= {path: min(int(epoch), starts.get(path, int(epoch))) for path in found & frozen}
    factors: dict[str, float] = {}
    for pattern, factor in section.learning_rate.items():
        if (found := _matches(paths, case, pattern, report)) and found <= frozen - starts.keys():
            report.add(
                "no-effect",
                f"`{pattern[:60]}` is frozen all the time, so that its learning rate has no meaning",
                written(case.node.get("learning_rate"), pattern),
                help="leave it out, or let `unfreeze` say from which epoch on it trains",
            )
        factors |= dict.fromkeys(found, factor)
    late = {path: epoch for path, epoch in starts.items() if epoch > 1}
    never = frozen - starts.keys()
    factors = {path: factor for path, factor in factors.items() if factor != 1 and path not in never}
    return Treatment(frozenset(never | late.keys()), late, factors)


def starting_anew(case: Case) -> tuple[str, ...]:
    """The paths that `case` lets start anew, everything below them included."""
    return (*case.replace, *case.anew, *(["head"] if case.features else []))


def _matches(paths: Paths, case: Case, pattern: str, report: Report) -> set[str]:
    try:
        found = paths.matching(pattern)
    except TooMany as error:
        report.add("too-large", str(error), written(case.node, pattern))
        raise
    if not found:
        report.add(
            "unmatched-path",
            f"no layer matches `{pattern[:60]}`",
            written(case.node, pattern),
            help=did_you_mean(pattern, paths.tops),
        )
    return found
