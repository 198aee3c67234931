"""The figures of a run, as `metrics.csv` has them."""

from __future__ import annotations

import csv
from pathlib import Path

Row = dict[str, float]


def read_metrics(run: Path) -> list[Row]:
    """One row an epoch; a line that is being written is left for later, what is no number is left out."""
    try:
        text = (run / "metrics.csv").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    return [
        {name: number for name, value in row.items() if name and (number := _number(value)) is not None}
        for row in csv.DictReader(whole.splitlines())
    ]


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except (TypeError, ValueError):
        return None


def split_name(column: str) -> tuple[str, str]:
    """The part of the data that a column is about, and the figure: `validation_loss` is (`validation`, `loss`)."""
    for part in ("validation", "test"):
        if column.startswith(f"{part}_"):
            return part, column.removeprefix(f"{part}_")
    return "train", column
