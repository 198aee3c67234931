"""The zoo at a glance."""

from __future__ import annotations

import json
from typing import Any

from cnnspec.diagnostics import Report
from cnnspec.graph import build_graph
from cnnspec.infer import cost
from cnnspec.spec.loader import load_spec
from cnnspec.spec.locate import zoo
from cnnspec.summary.columns import Column, fitted

_COLUMNS = (
    Column("network"),
    Column("input"),
    Column("parameters", right=True),
    Column("MACs", right=True),
    Column("paper"),
)
_STEPS = (("paper", 10), ("paper", 0), ("input", 0), ("MACs", 0), ("network", 8))  # how the table gets narrower


def zoo_listing(format: str, width: int | None = None, *, colour: bool = False) -> str:
    """Every network of the zoo with its input, parameters and multiply-adds, as JSON or as a table of this width."""
    rows = [_row(name) for name in zoo()]
    if format == "json":
        return json.dumps(rows, indent=2)
    cells = [
        {
            "network": row["name"],
            "input": "×".join(map(str, row["input"])),
            "parameters": f"{row['params']:,}",
            "MACs": f"{row['macs']:,}",
            "paper": row["cite"],
        }
        for row in rows
    ]
    lines, hidden = fitted(_COLUMNS, _STEPS, cells, width)
    return "\n".join([*lines, *(f"\033[2m{line}\033[0m" if colour else line for line in hidden)])


def _row(name: str) -> dict[str, Any]:
    report = Report()
    spec = load_spec(name, {}, report)
    graph = build_graph(spec, report) if spec else None
    report.raise_errors()
    assert spec and graph
    totals = cost(graph).totals
    return {
        "name": name,
        "input": list(spec.input),
        "params": totals.params,
        "macs": totals.macs,
        "cite": spec.cite,
        "description": spec.description,
    }
