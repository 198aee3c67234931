"""Which layers a transfer case freezes, and whether its patterns mean anything.

A pattern is a path whose components may contain `*`, `?` and `[...]`; it covers the layers that it matches and
everything below them. `*` alone covers the whole network.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cache

from cnnspec.diagnostics import Report, did_you_mean
from cnnspec.graph.model import Graph
from cnnspec.spec.transfer import Case, written


def apply_case(graph: Graph, case: Case, report: Report) -> frozenset[str]:
    """The paths that `case` freezes; a pattern without a match is reported.

    A batch norm is frozen whole: weights and running statistics. What the case replaces is never frozen.
    """
    section = case.section
    new = [*case.replace, *case.anew] + (["head"] if case.features else [])
    frozen: set[str] = set()
    for pattern in section.freeze:
        frozen |= _matches(graph, case, pattern, report)
    if section.freeze_through:
        through = _matches(graph, case, section.freeze_through, report)
        last = max((node.index for node in graph.nodes if node.path in through), default=-1)
        frozen |= {node.path for node in graph.nodes if node.index <= last}
    frozen = {path for path in frozen if not any(path == root or path.startswith(root + ".") for root in new)}
    for pattern in section.learning_rate:
        _matches(graph, case, pattern, report)
    for epoch, patterns in section.unfreeze.items():
        node = case.node.get("unfreeze")
        if not epoch.isdecimal() or len(epoch) > 9 or int(epoch) < 1:
            report.add(
                "bad-value",
                f"`unfreeze` maps epochs, counted from 1, to layers; `{epoch[:60]}` is none",
                written(node, epoch),
            )
        for pattern in patterns:
            if (found := _matches(graph, case, pattern, report)) and not found & frozen:
                message = f"`{pattern[:60]}` is not frozen, so that nothing is left to unfreeze"
                report.add("unmatched-path", message, written(node, pattern))
    return frozenset(frozen)


def covers(pattern: str, path: str) -> bool:
    """Whether `pattern` matches `path` or something that contains it."""
    components = path.split(".")
    wanted = pattern.split(".")
    return len(components) >= len(wanted) and all(
        _component(w).match(c) for w, c in zip(wanted, components, strict=False)
    )


@cache
def _component(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _matches(graph: Graph, case: Case, pattern: str, report: Report) -> set[str]:
    found = {node.path for node in graph.nodes if covers(pattern, node.path)}
    if not found:
        tops = {".".join(node.path.split(".")[:2]) for node in graph.nodes} | {
            node.path.split(".")[0] for node in graph.nodes
        }
        report.add(
            "unmatched-path",
            f"no layer matches `{pattern[:60]}`",
            written(case.node, pattern),
            help=did_you_mean(pattern, tops),
        )
    return found
