"""What a spec inherits: the file that it extends, merged section by section."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cnnspec.diagnostics import Report, Source, Span, did_you_mean
from cnnspec.source import Mapping, Node, Scalar, Sequence, read_file
from cnnspec.spec.locate import find, name_beside
from cnnspec.spec.values import describe, is_null

_MERGED = ("params", "let", "blocks", "outputs", "defaults", "input", "preprocess", "transfer")
_MAX_EXTENDS = 16
_VARIABLE = re.compile(r"\$([A-Za-z][A-Za-z0-9_]*)")


def read_extended(path: Path, name: str, report: Report, files: list[Path], span: Span | None = None) -> Mapping | None:
    """The tree of a file, merged over the one that it extends.

    The first file is also returned where there is nothing to merge it over: `files` then has no other.
    """
    real = path.resolve()
    if real in files:
        at = span or Span(Source(name, ""), 0, 0)
        chain = " → ".join(p.stem for p in [*files[files.index(real) :], real])
        report.add("cyclic-extends", f"specs extend each other in a circle: {chain}", at)
        return None
    if len(files) >= _MAX_EXTENDS:
        report.add(
            "cyclic-extends", f"more than {_MAX_EXTENDS} specs extend one another", span or Span(Source(name, ""), 0, 0)
        )
        return None
    files.append(real)
    root = read_file(path, name, report)
    if root is None:
        return None
    if not isinstance(root, Mapping):
        report.add(
            "bad-value", f"a spec is a mapping, this is {describe(root)}", root.span, help="it starts with `cnnspec: 1`"
        )
        return None
    extends = root.get("extends")
    if extends is None:
        return root
    if not isinstance(extends, Scalar) or not extends.text:
        report.add("bad-value", f"`extends` names one spec, got {describe(extends)}", extends.span)
        return None
    base_path = find(extends.text, report, relative_to=path.parent, span=extends.span)
    if base_path is None:
        return root if span is None else None
    base = read_extended(base_path, name_beside(base_path, extends), report, files, extends.span)
    if base is None:
        return None
    merged = _merge(base, root)
    _check_params(base, root, merged, report)
    return merged


def _check_params(base: Mapping, over: Mapping, merged: Mapping, report: Report) -> None:
    """A variant's parameter that its base does not have, and that nothing uses, is a misspelt one."""
    given, known = over.get("params"), base.get("params")
    if not isinstance(given, Mapping):
        return
    names = set(known.entries) if isinstance(known, Mapping) else set()
    if new := [name for name in given.entries if name not in names]:
        used = set(_mentioned(merged))
        for name in new:
            if name not in used:
                message = f"nothing uses the parameter `{name[:60]}`"
                report.add("unknown-param", message, given.key(name).span, help=did_you_mean(name, names))


def _mentioned(node: Node) -> Iterator[str]:
    """Every variable that a text below `node` mentions."""
    if isinstance(node, Scalar):
        yield from _VARIABLE.findall(node.text)
    else:
        below = node.items if isinstance(node, Sequence) else (value for _, value in node.entries.values())
        for child in below:
            yield from _mentioned(child)


def _merge(base: Mapping, over: Mapping) -> Mapping:
    """`over` on top of `base`: sections by key, defaults by kind and option, transfer cases one by one.

    Null takes a section away.
    """
    entries = {k: v for k, v in base.entries.items() if k not in ("name", "cite", "description", "extends")}
    for key, (key_node, value) in over.entries.items():
        below = entries.get(key, (None, None))[1]
        if is_null(value) or (below and is_null(below)):
            pass
        elif key == "train" and below:
            value = _merge_train(below, value)
        elif key in _MERGED and isinstance(value, Mapping) and isinstance(below, Mapping):
            value = _merge_entries(below, value, deep=key in ("defaults", "transfer"))
        entries[key] = (key_node, value)
    return Mapping(entries, over.span)


def _merge_entries(base: Mapping, over: Mapping, deep: bool) -> Mapping:
    entries = dict(base.entries)
    for key, (key_node, value) in over.entries.items():
        below = entries.get(key, (None, None))[1]
        if deep and isinstance(value, Mapping) and isinstance(below, Mapping):
            value = _merge_entries(below, value, deep=False)
        if is_null(value) and key in entries:
            del entries[key]
        else:  # null that takes nothing away is judged as any value: it may be a misspelt key
            entries[key] = (key_node, value)
    return Mapping(entries, over.span)


def _merge_train(base: Node, over: Node) -> Node:
    """Changes to a recipe; another recipe takes its place. Nulls stay: they remove what its file says."""
    if isinstance(base, Scalar):
        base = Mapping({"recipe": (base, base)}, base.span)
    if not isinstance(base, Mapping) or not isinstance(over, Mapping) or "recipe" in over.entries:
        return over
    return Mapping(base.entries | over.entries, over.span)
