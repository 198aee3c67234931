"""Which layers a transfer case freezes, and whether its patterns mean anything.

A pattern is a path whose components may contain `*`, `?` and `[...]`; it covers the layers that it matches and
everything below them. `*` alone covers the whole network.
"""

from __future__ import annotations

from cnnspec.diagnostics import Report, did_you_mean
from cnnspec.graph.model import Graph
from cnnspec.graph.patterns import Paths, TooMany
from cnnspec.spec.transfer import Case, written


def apply_case(graph: Graph, case: Case, report: Report) -> frozenset[str]:
    """The paths that `case` freezes; a pattern without a match is reported.

    A batch norm is frozen whole: weights and running statistics. What the case replaces is never frozen.
    """
    try:
        return frozenset(_apply(graph, case, report))
    except TooMany:
        return frozenset()


def _apply(graph: Graph, case: Case, report: Report) -> set[str]:
    section = case.section
    paths = Paths(graph.nodes)
    frozen: set[str] = set()
    for pattern in section.freeze:
        frozen |= _matches(paths, case, pattern, report)
    if section.freeze_through:
        through = _matches(paths, case, section.freeze_through, report)
        last = max((node.index for node in graph.nodes if node.path in through), default=-1)
        frozen |= {node.path for node in graph.nodes if node.index <= last}
    frozen -= paths.below(starting_anew(case))
    thawed: set[str] = set()
    for patterns in section.unfreeze.values():
        for pattern in patterns:
            if (found := _matches(paths, case, pattern, report)) and not found & frozen:
                message = f"`{pattern[:60]}` is not frozen, so that nothing is left to unfreeze"
                report.add("no-effect", message, written(case.node.get("unfreeze"), pattern))
            thawed |= found
    for pattern in section.learning_rate:
        if (found := _matches(paths, case, pattern, report)) and found <= frozen - thawed:
            report.add(
                "no-effect",
                f"`{pattern[:60]}` is frozen all the time, so that its learning rate has no meaning",
                written(case.node.get("learning_rate"), pattern),
                help="leave it out, or let `unfreeze` say from which epoch on it trains",
            )
    return frozen


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
