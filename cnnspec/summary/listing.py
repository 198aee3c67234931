"""The zoo at a glance."""

from __future__ import annotations

import json
from typing import Any

from cnnspec.diagnostics import Report
from cnnspec.graph import build_graph
from cnnspec.infer import cost
from cnnspec.spec.loader import load_spec
from cnnspec.spec.locate import zoo


def zoo_listing(format: str) -> str:
    """Every network of the zoo with its input, parameters and multiply-adds, as a table or as JSON."""
    rows = [_row(name) for name in zoo()]
    if format == "json":
        return json.dumps(rows, indent=2)
    cells = [("network", "input", "parameters", "MACs", "paper")]
    cells += [
        (r["name"], "×".join(map(str, r["input"])), f"{r['params']:,}", f"{r['macs']:,}", r["cite"]) for r in rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = (
        f"{name:<{widths[0]}}  {size:<{widths[1]}}  {params:>{widths[2]}}  {macs:>{widths[3]}}  {cite}".rstrip()
        for name, size, params, macs, cite in cells
    )
    return "\n".join(lines)


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
