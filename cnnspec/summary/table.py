"""The summary as a table: rows folded by path, columns fitted to a width."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnspec.graph import Instance, Node
from cnnspec.infer import LayerCost
from cnnspec.summary.columns import Column, ellipsis, fitted, markdown, side_by_side
from cnnspec.summary.training import counted, in_words, training

if TYPE_CHECKING:
    from cnnspec.summary.report import Layout, Summary

_COLUMNS = (
    Column("layer", tail=True),
    Column("what", meaning="what a layer is"),
    Column("output"),
    Column("params", right=True),
    Column("MACs", right=True),
    Column("activations", right=True),
    Column("field", right=True, meaning="receptive field"),
)
_TRAINS = Column("training", meaning="what trains")
_STEPS = (  # how the table gets narrower
    ("what", 10),
    ("field", 0),
    ("activations", 0),
    ("MACs", 0),
    ("training", 12),
    ("layer", 20),
    ("what", 0),
    ("output", 0),
    ("training", 0),
    ("layer", 8),
)
_TOTALS = (Column("total"), Column("number", right=True), Column("meaning"))
_MARKUP = re.compile(r"([\\`*_\[\]<>|])")


@dataclass(slots=True)
class _Row:
    """Layers that share the first components of their path."""

    path: str
    layers: list[LayerCost]
    instance: Instance | None = None


def to_text(summary: Summary, depth: int, width: int | None, layout: Layout, colour: bool) -> str:
    """The table for a terminal; without a `width` nothing is shortened."""
    rows = _fold(summary, depth)
    cells = _cells(summary, rows, layout)
    (head, *lines), hidden = fitted(_columns(summary), _STEPS, cells, width)

    def paint(text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if colour and text else text

    title = side_by_side(_heading(summary, layout), width)
    title[0][0] = paint(title[0][0], "1")
    dim = (any(layer.training_only for layer in row.layers) for row in rows)
    body = [paint(line, "2") if faint else line for line, faint in zip(lines, dim, strict=True)]
    totals = [ellipsis("  ".join(row).rstrip(), width) for row in _aligned(_totals(summary))]
    above = ["   ".join(parts) for parts in title]
    return "\n".join([*above, "", paint(head, "1"), *body, *(paint(line, "2") for line in hidden), "", *totals])


def to_markdown(summary: Summary, depth: int, layout: Layout) -> str:
    """The table in Markdown, with the totals as a second one below it."""
    name, *about = _heading(summary, layout)
    title = "   ".join([name, *(_MARKUP.sub(r"\\\1", part) for part in about)])
    layers = markdown(_columns(summary), _cells(summary, _fold(summary, depth), layout))
    heads = [column.head for column in _TOTALS]
    totals = markdown(_TOTALS, [dict(zip(heads, row, strict=True)) for row in _totals(summary)])
    return "\n".join([f"### {title}", "", *layers, "", *totals])


def _columns(summary: Summary) -> tuple[Column, ...]:
    """What there is to say of each row."""
    return (*_COLUMNS[:4], _TRAINS, *_COLUMNS[4:]) if summary.graph.transfer else _COLUMNS


def _fold(summary: Summary, depth: int) -> list[_Row]:
    """Rows by path, cut to `depth` components; an op with its norm and activation stays one row while folded."""
    instances: dict[str, Instance] = {}
    for instance in _instances(summary.graph.root):
        if instance.kind != "layer":
            instances.setdefault(instance.path, instance)  # a block before the residual that is all of it
    rows: list[_Row] = []
    for layer in summary.cost.layers:
        parts = layer.node.path.split(".")
        path = ".".join(parts[:depth])
        if rows and rows[-1].path == path:
            rows[-1].layers.append(layer)
        else:
            rows.append(_Row(path, [layer], instances.get(path)))
    return rows


def _instances(instance: Instance) -> Iterator[Instance]:
    for child in instance.children:
        if isinstance(child, Instance):
            yield child
            yield from _instances(child)


def _cells(summary: Summary, rows: list[_Row], layout: Layout) -> list[dict[str, str]]:
    cells = [_cells_of(row, layout) for row in rows]
    if summary.graph.transfer:
        how = training(summary.graph)
        for row, made in zip(rows, cells, strict=True):
            made[_TRAINS.head] = in_words(how, row.layers)
    return cells


def _cells_of(row: _Row, layout: Layout) -> dict[str, str]:
    last = row.layers[-1]
    params = sum(layer.params for layer in row.layers)
    macs = sum(layer.macs for layer in row.layers)
    return {
        "layer": row.path + (" *" if last.training_only else ""),
        "what": _what(row),
        "output": _shape(last.node, layout),
        "params": f"{params:,}" if params else "-",
        "MACs": f"{macs:,}" if macs else "-",
        "activations": _bytes(sum(layer.activation_bytes for layer in row.layers)),
        "field": _field(last.receptive_field),
    }


def _what(row: _Row) -> str:
    """What a row is: an op with its main figures, a block with its arguments, or how much is folded into it."""
    nodes = [layer.node for layer in row.layers]
    main = nodes[0]
    attached = "".join(f" + {node.op.label}" for node in nodes[1:])
    if all(node.part for node in nodes[1:]) and main.layer is not None:
        return _op(main) + attached
    instance = row.instance
    if instance and instance.kind == "block" and instance.block:
        return instance.block.name
    inner = [child for child in instance.children if isinstance(child, Instance)] if instance else []
    blocks = Counter(child.block.name for child in inner if child.kind == "block" and child.block)
    if instance and instance.kind == "repeat":
        return " ".join(f"{number}× {name}" for name, number in blocks.items()) or _ops(nodes)
    if blocks:
        used = {id(child) for child in inner if child.kind == "block"}
        rest = [node for node in nodes if not _inside(node, used)]
        parts = [f"{number}× {name}" for name, number in blocks.items()]
        return ", ".join(parts + ([_ops(rest)] if rest else []))
    return _ops(nodes)


def _inside(node: Node, instances: set[int]) -> bool:
    """Whether the node belongs to one of these instances."""
    outer: Instance | None = node.parent
    while outer is not None:
        if id(outer) in instances:
            return True
        outer = outer.parent
    return False


def _ops(nodes: list[Node]) -> str:
    counts = Counter(node.op.kind for node in nodes if node.part != "activation" and node.part != "norm")
    return ", ".join(f"{number}× {kind}" if number > 1 else kind for kind, number in counts.items())


def _op(node: Node) -> str:
    """An op in the notation of papers' tables: `conv 7×7/2`."""
    op = node.op
    window = getattr(op, "kernel", None) or getattr(op, "size", None)
    text = op.kind
    if isinstance(window, tuple):
        text += f" {window[0]}×{window[1]}"
        stride = getattr(op, "stride", None) or (window if op.kind.endswith("pool") else (1, 1))
        if stride != (1, 1):
            text += f"/{stride[0]}" if stride[0] == stride[1] else f"/{stride[0]}×{stride[1]}"
    if getattr(op, "groups", 1) != 1:
        text += f" groups {op.groups}"  # type: ignore[attr-defined]
    if getattr(op, "dilation", (1, 1)) != (1, 1):
        text += f" dilation {op.dilation[0]}"  # type: ignore[attr-defined]
    if op.main == "rate":
        text += f" {op.rate:g}"  # type: ignore[attr-defined]
    return text


def _shape(node: Node, layout: Layout) -> str:
    from cnnspec.summary.report import ordered

    return "×".join(map(str, ordered(node.shape, layout)))


def _field(field: tuple[int, int]) -> str:
    return str(field[0]) if field[0] == field[1] else f"{field[0]}×{field[1]}"


def _bytes(number: int) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}" if unit != "B" else f"{number} B"
        number = number / 1000  # type: ignore[assignment]
    return f"{number:,.3g} GB" if number < 1000 else f"{number:,.0f} GB"


def _macs(number: int) -> str:
    """In thousands of millions, as papers state them; small networks in millions."""
    return f"{number / 1e9:.3f} G" if number >= 10**8 else f"{number / 1e6:.3f} M"


def _heading(summary: Summary, layout: Layout) -> list[str]:
    """The network's name, and what is said beside it."""
    from cnnspec.summary.report import ordered

    graph = summary.graph
    size = "×".join(map(str, ordered(graph.input.shape, layout)))
    parts = [graph.name, f"input {size}"]
    if graph.spec.cite:
        parts.append(graph.spec.cite)
    if summary.case:
        parts.append(f"transfer {summary.case}")
    return parts


def _totals(summary: Summary) -> list[tuple[str, str, str]]:
    """What is counted, how much it is, and what that means."""
    totals = summary.cost.totals
    rows = [
        ("parameters", f"{totals.params:,}", f"{_bytes(4 * totals.params)} in float32"),
        ("trainable", f"{totals.trainable:,}", ""),
        ("non-trainable", f"{totals.non_trainable:,}", ""),
    ]
    if summary.graph.transfer:
        rows += _training(counted(training(summary.graph), summary.cost.layers))
        if left_out := sorted(summary.graph.transfer.left_out):
            rows.append(("left out", "-", f"{', '.join(left_out)}: nothing that they share trains"))
    if summary.weights is not None:
        what = ["running statistics too", *filter(None, [summary.weights.origin.get("from")])]
        rows.append(("from weights", f"{summary.weights.number:,}", ", ".join(what)))
    if totals.training_only:
        rows.append(("training only *", f"{totals.training_only:,}", "in heads that inference leaves out"))
    return [
        *rows,
        ("MACs", f"{totals.macs:,}", f"{_macs(totals.macs)} multiply-adds an image"),
        ("activations", f"{totals.activation_bytes:,}", f"{_bytes(totals.activation_bytes)} an image in float32"),
    ]


def _training(weights: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What a transfer case does with the weights, running statistics left out."""
    late = "; ".join(f"{number:,} from epoch {epoch}" for epoch, number in weights["from_epoch"].items())
    return [
        ("trains", f"{weights['trains']:,}", late),
        ("frozen", f"{weights['frozen']:,}", "all the time" if late and weights["frozen"] else ""),
        ("new", f"{weights['new']:,}", "not from weights of the original network"),
    ]


def _aligned(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    name, number = (max(len(row[i]) for row in rows) for i in (0, 1))
    return [(row[0].ljust(name), row[1].rjust(number), row[2]) for row in rows]
