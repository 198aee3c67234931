"""Settles the switches of a text: what is switched off is no part of it."""

from __future__ import annotations

import ast
from collections.abc import Mapping


def specialise(source: str, on: Mapping[str, bool]) -> str:
    """A text without its `if SWITCH:` and `if not SWITCH:`: where one holds its body stays, further to the left.

    Of `a if SWITCH else b`, on one line, the value that it has stays. `on` has all switches, and whether each is on.

    Raises `ValueError` for a switch with an `else`.
    """
    lines: list[str | None] = list(_chosen(source, on).split("\n"))
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.If) or (holds := _holds(node.test, on)) is None:
            continue
        if node.orelse:
            raise ValueError(f"`if {ast.unparse(node.test)}` has an `else`")
        assert node.end_lineno is not None
        lines[node.lineno - 1] = None
        for number in range(node.lineno, node.end_lineno):
            line = lines[number]
            lines[number] = (line[4:] if line else line) if holds else None
    return "\n".join(line for line in lines if line is not None)


def _chosen(source: str, on: Mapping[str, bool]) -> str:
    """A text in which a switch chooses between two values no more."""
    lines = source.split("\n")
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.IfExp)]
    for node in sorted(found, key=lambda node: node.col_offset, reverse=True):  # from the right: places stay
        if (holds := _holds(node.test, on)) is not None:
            kept = ast.get_source_segment(source, node.body if holds else node.orelse)
            line = lines[node.lineno - 1].encode()
            assert kept is not None and node.end_lineno == node.lineno, "it stands on one line"
            lines[node.lineno - 1] = (line[: node.col_offset] + kept.encode() + line[node.end_col_offset :]).decode()
    return "\n".join(lines)


def _holds(test: ast.expr, on: Mapping[str, bool]) -> bool | None:
    """What a test of a switch comes to; None for any other test."""
    match test:
        case ast.Name(id=name) if name in on:
            return on[name]
        case ast.UnaryOp(op=ast.Not(), operand=ast.Name(id=name)) if name in on:
            return not on[name]
    return None
