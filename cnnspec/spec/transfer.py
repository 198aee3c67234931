"""The transfer section with its layers read: which paths a case names, and what it puts in their place."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnspec.diagnostics import Report, Span
from cnnspec.expr import Const
from cnnspec.source import Mapping, Scalar, Sequence
from cnnspec.spec.layers import Arg, Body
from cnnspec.spec.parser import Parser

if TYPE_CHECKING:
    from cnnspec.spec.transfer_section import TransferCase, TransferSection


@dataclass(slots=True)
class Case:
    """One transfer case. `replace` maps a path to its new layers; `anew` lists the paths that only start anew."""

    name: str
    section: TransferCase
    node: Mapping
    replace: dict[str, Body]
    anew: list[str]
    features: tuple[Arg, Body] | None


@dataclass(slots=True)
class Transfer:
    """The whole section."""

    section: TransferSection
    node: Mapping
    cases: dict[str, Case]


def read_transfer(section: TransferSection, node: Mapping, parser: Parser) -> Transfer:
    """Read the layers inside a validated section. A case in whose layers something is wrong is left out."""
    scope = parser.globals | {"in_channels"}
    cases: dict[str, Case] = {}
    for name, case in section.cases.items():
        case_node = _below(node, "cases", name)
        _check_epochs(case, case_node, parser.report)
        before = len(parser.report.diagnostics)
        replace: dict[str, Body] = {}
        anew: list[str] = []
        if isinstance(case.replace, dict):
            for path, layers in case.replace.items():
                if layers is None:
                    anew.append(path)
                else:
                    key = _below(case_node, "replace").key(path)
                    replace[path] = parser.body(layers, scope, named=False, inside="`replace`", owner=key.span)
        else:
            anew = list(case.replace)
        features = None
        if case.features:
            below = _below(case_node, "features")
            where = below.get("from")
            assert where is not None
            source = Arg(Const(0, 0, case.features.source), where)
            body = parser.body(
                case.features.layers, scope, named=True, inside="`features`", owner=below.key("layers").span
            )
            features = source, body
        if len(parser.report.diagnostics) == before:
            cases[name] = Case(name, case, case_node, replace, anew, features)
    return Transfer(section, node, cases)


def _check_epochs(case: TransferCase, node: Mapping, report: Report) -> None:
    for epoch in case.unfreeze:
        if not epoch.isdecimal() or len(epoch) > 9 or int(epoch) < 1:
            report.add(
                "bad-value",
                f"`unfreeze` maps epochs, counted from 1, to layers; `{epoch[:60]}` is none",
                _below(node, "unfreeze").key(epoch).span,
            )


def keep_layers(path: tuple[str | int, ...]) -> bool:
    """Whether what lies at `path` in the section is a list of layers, which stays a tree for the parser."""
    match path:
        case ("cases", _, "replace", str()) | ("cases", _, "features", "layers"):
            return True
    return False


def written(node: Any, text: str) -> Span:
    """Where `text` stands below `node`: as an item, a value or a key."""
    todo = deque([node])
    while todo:
        at = todo.popleft()
        if isinstance(at, Scalar) and at.text == text:
            return at.span
        if isinstance(at, Sequence):
            todo.extend(at.items)
        elif isinstance(at, Mapping):
            for key, value in at.entries.values():
                todo.extend((key, value))
    return node.span  # type: ignore[no-any-return]


def _below(node: Mapping, *path: str) -> Mapping:
    for step in path:
        inner = node.get(step)
        assert isinstance(inner, Mapping)
        node = inner
    return node
