"""A spec as one text that says everything by itself: inherited sections merged, parameters as they are set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from cnnspec.source import Mapping, Node, Scalar, Sequence
from cnnspec.spec.document import Spec

_FLOW = re.compile(r"[\w$./][\w$./*+%^ ()-]*\Z")  # a plain scalar that needs no quotes inside of [] and {}
_WIDTH = 100


def canonical_text(spec: Spec) -> str:
    """YAML that gives the same network and needs neither `extends` nor `--set`; the same bytes for the same spec.

    What `use` names stays outside: libraries are files of their own.
    """
    channels, height, width = spec.input  # type: ignore[misc]  # an input is maps
    size = height if height == width else [height, width]
    given: dict[str, Any] = {"input": {"channels": channels, "size": size}}
    if spec.params:
        given["params"] = spec.params
    if spec.preprocess is None:
        given["preprocess"] = None
    lines: list[str] = []
    for key, (_, node) in spec.root.entries.items():
        if key in given:
            lines.append(f"{key}: {json.dumps(given[key], ensure_ascii=False)}")
        elif key != "extends":
            lines += _entry(key, node)
    return "\n".join(lines) + "\n"


def tree_text(root: Mapping) -> str:
    """YAML of a whole tree."""
    return "".join(f"{line}\n" for key, (_, node) in root.entries.items() for line in _entry(key, node))


def _entry(key: str, node: Node) -> Iterator[str]:
    name = _key(key)
    short = _flow(node)
    if short is not None and len(name) + len(short) < _WIDTH:
        yield f"{name}: {short}"
    else:
        yield f"{name}:"
        yield from (f"  {line}" for line in _block(node))


def _block(node: Node) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield _scalar(node)
    elif isinstance(node, Mapping):
        for key, (_, value) in node.entries.items():
            yield from _entry(key, value)
    else:
        for item in node.items:
            short = _flow(item)
            lines = [short] if short is not None and len(short) < _WIDTH else list(_block(item))
            yield from (("- " if i == 0 else "  ") + line for i, line in enumerate(lines))


def _flow(node: Node) -> str | None:
    """The node on one line, unless it holds more than a line should."""
    if isinstance(node, Scalar):
        return _scalar(node)
    if node.size > _WIDTH // 2:
        return None
    if isinstance(node, Sequence):
        items = [_flow(item) for item in node.items]
        return None if None in items else f"[{', '.join(map(str, items))}]"
    entries = {key: _flow(value) for key, (_, value) in node.entries.items()}
    if None in entries.values():
        return None
    return f"{{{', '.join(f'{_key(key)}: {value}' for key, value in entries.items())}}}"


def _key(key: str) -> str:
    return key if _FLOW.match(key) else json.dumps(key, ensure_ascii=False)


def _scalar(node: Scalar) -> str:
    """As it was written where that can stand anywhere, since quotes change what some words mean; else in quotes."""
    if node.value is None:
        return "null"
    plain = not node.quoted and (not isinstance(node.value, str) or _FLOW.match(node.text))
    return node.text if plain and node.text == node.text.strip() else json.dumps(node.text, ensure_ascii=False)
