"""Settles the switches of a text: what is switched off is no part of it."""

from __future__ import annotations

import ast
from collections.abc import Collection


def specialise(source: str, switches: Collection[str], on: Collection[str]) -> str:
    """A text without its `if SWITCH:` and `if not SWITCH:`: where one holds its body stays, further to the left.

    Raises `ValueError` for a switch with an `else`.
    """
    lines: list[str | None] = list(source.split("\n"))
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.If):
            continue
        match node.test:
            case ast.Name(id=name) if name in switches:
                holds = name in on
            case ast.UnaryOp(op=ast.Not(), operand=ast.Name(id=name)) if name in switches:
                holds = name not in on
            case _:
                continue
        if node.orelse:
            raise ValueError(f"`if {name}` has an `else`")
        assert node.end_lineno is not None
        lines[node.lineno - 1] = None
        for number in range(node.lineno, node.end_lineno):
            line = lines[number]
            lines[number] = (line[4:] if line else line) if holds else None
    return "\n".join(line for line in lines if line is not None)
