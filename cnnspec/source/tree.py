"""The tree of a YAML document: scalars, sequences and mappings, each with its span."""

import json
from collections.abc import Iterable
from typing import Any

from cnnspec.diagnostics import Span

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


class Scalar:
    """A leaf. `value` is its YAML 1.2 reading, `text` the string behind it, `quoted` whether it had quotes."""

    __slots__ = ("quoted", "span", "text", "value")
    depth = 1
    size = 1

    def __init__(self, value: bool | int | float | str | None, text: str, span: Span, quoted: bool = False) -> None:
        self.value = value
        self.text = text
        self.span = span
        self.quoted = quoted


class Sequence:
    """A list. `size` counts nodes with aliases expanded, `depth` levels."""

    __slots__ = ("depth", "items", "size", "span")

    size: int
    depth: int

    def __init__(self, items: list["Node"], span: Span) -> None:
        self.items = items
        self.span = span
        self.size = 1 + sum(item.size for item in items)
        self.depth = 1 + max((item.depth for item in items), default=0)


class Mapping:
    """An ordered mapping from the text of a key to the key's node and its value."""

    __slots__ = ("depth", "entries", "size", "span")

    size: int
    depth: int

    def __init__(self, entries: dict[str, tuple[Scalar, "Node"]], span: Span) -> None:
        self.entries = entries
        self.span = span
        self.size = 1 + sum(1 + value.size for _, value in entries.values())
        self.depth = 1 + max((value.depth for _, value in entries.values()), default=0)

    def get(self, key: str) -> "Node | None":
        """The value of `key`, if there is one."""
        entry = self.entries.get(key)
        return entry[1] if entry else None

    def key(self, key: str) -> Scalar:
        """The node of the key itself."""
        return self.entries[key][0]


Node = Scalar | Sequence | Mapping


def grown(value: Any, span: Span) -> Node:
    """The tree of a plain value, which nobody wrote: all of it stands at `span`, but for nodes that are in it."""
    if isinstance(value, Scalar | Sequence | Mapping):
        return value
    if isinstance(value, list):
        return Sequence([grown(item, span) for item in value], span)
    if isinstance(value, dict):
        return Mapping({key: (Scalar(key, key, span), grown(item, span)) for key, item in value.items()}, span)
    text = value if isinstance(value, str) else json.dumps(value)
    return Scalar(value, text, span, quoted=isinstance(value, str))


def plain(node: Node) -> Plain:
    """The tree as Python lists, dicts and scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, (_, value) in node.entries.items()}


def locate(node: Node, path: Iterable[str | int], *, key: bool = False) -> Span:
    """The span of what lies at `path` below `node`, as deep as the path can be followed.

    With `key`, the span of the last key itself instead of its value: what a person edits when the key is wrong.
    """
    span = node.span
    for step in path:
        if isinstance(node, Mapping) and step in node.entries:
            key_node, node = node.entries[str(step)]
            span = key_node.span if key else node.span
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            span = node.span
        elif isinstance(node, Scalar) and node.text == step:
            span = node.span  # a choice written as its name alone
        # any other step is a name that a validator added and the text does not have
    return span
