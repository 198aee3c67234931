"""Blocks of this file and of others, and whether they contain themselves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cnnspec.diagnostics import Report, Span
from cnnspec.source import Mapping, Node, Scalar, Sequence, read_file
from cnnspec.spec.layers import (
    Block,
    BlockLayer,
    Body,
    BranchesLayer,
    Layer,
    ResidualLayer,
    StageLayer,
    TableLayer,
)
from cnnspec.spec.locate import find, name_beside
from cnnspec.spec.parser import Parser
from cnnspec.spec.values import describe, is_null

_MAX_LIBRARIES = 32


def read_libraries(node: Node | None, blocks: dict[str, Block], folder: Path, report: Report) -> bool:
    """`use:`, blocks from other files, read with those files' own defaults; whether all could be read."""
    if node is None or is_null(node):
        return True
    complete = True
    items = node.items if isinstance(node, Sequence) else [node]
    if len(items) > _MAX_LIBRARIES:
        report.add("too-large", f"more than {_MAX_LIBRARIES} libraries", node.span)
        return False
    read: set[Path] = set()
    for item in items:
        complete = _library(item, blocks, folder, report, read) and complete
    return complete


def _library(item: Node, blocks: dict[str, Block], folder: Path, report: Report, read: set[Path]) -> bool:
    """Add the blocks of one library, unless it is among those `read`; whether there are any."""
    if not isinstance(item, Scalar) or not item.text:
        report.add("bad-value", f"`use` lists files or libraries of the zoo, got {describe(item)}", item.span)
        return False
    source = item.span.source.path
    folder = source.parent if source else folder
    path = find(item.text, report, relative_to=folder, span=item.span, within="blocks")
    if path and path.resolve() in read:
        return True
    if path:
        read.add(path.resolve())
    library = read_file(path, name_beside(path, item), report) if path else None
    if library is None:
        return False
    if not isinstance(library, Mapping) or not isinstance(library.get("blocks"), Mapping):
        report.add("bad-value", f"`{item.text}` has no `blocks`", item.span)
        return False
    own: dict[str, Block] = {}
    parser = Parser(report, (), own)
    parser.read_defaults(library.get("defaults"))
    read_blocks(library.get("blocks"), parser)
    for name in sorted(own.keys() & blocks.keys())[:1]:
        report.add("bad-name", f"two libraries have a block `{name}`", item.span, help="use one of them")
    blocks.update(own)
    return True


def read_blocks(node: Node | None, parser: Parser) -> None:
    """`blocks:`, signatures first, so that they may use each other in any order."""
    if node is None or is_null(node):
        return
    if not isinstance(node, Mapping):
        parser.report.add(
            "bad-value", f"`blocks` is a mapping from names to definitions, got {describe(node)}", node.span
        )
        return
    read: list[tuple[Block, Mapping]] = []
    for name, (key, definition) in node.entries.items():
        block = parser.signature(name, key, definition)
        if block and isinstance(definition, Mapping):
            parser.blocks[name] = block
            read.append((block, definition))
    for block, definition in read:
        parser.fill(block, definition)


def recursive(blocks: dict[str, Block], report: Report) -> bool:
    """Whether blocks use themselves, directly or through others; reported at the use that closes the circle.

    A name means what it means in the file of the block that uses it.
    """
    found = False
    done: set[int] = set()
    for start in blocks.values():
        path: list[Block] = []
        todo: list[tuple[Block, Span | None, bool]] = [(start, None, False)]
        while todo:
            block, span, leave = todo.pop()
            if leave:
                path.pop()
                done.add(id(block))
                continue
            if any(block is outer for outer in path):
                assert span
                names = [outer.name for outer in path]
                circle = " → ".join([*names[names.index(block.name) :], block.name])
                report.add("recursive-block", f"a block cannot contain itself: {circle}", span)
                found = True
                continue
            if id(block) in done:
                continue
            path.append(block)
            todo.append((block, span, True))
            known = block.parser.blocks
            todo += [(known[used], at, False) for used, at in _uses(block.body) if used in known]
    return found


def _uses(body: Body) -> Iterable[tuple[str, Span]]:
    """The blocks that the layers of a body call, and where."""
    for layer in body.layers:
        yield from _layer_uses(layer)


def _layer_uses(layer: Layer) -> Iterable[tuple[str, Span]]:
    if isinstance(layer, BlockLayer):
        yield layer.kind, layer.key
    elif isinstance(layer, TableLayer):
        yield layer.block, layer.key
    elif isinstance(layer, StageLayer):
        yield from _uses(layer.do)
    elif isinstance(layer, BranchesLayer):
        for branch in layer.branches.values():
            yield from _uses(branch)
    elif isinstance(layer, ResidualLayer):
        yield from _uses(layer.body)
        if isinstance(layer.shortcut, Body):
            yield from _uses(layer.shortcut)
