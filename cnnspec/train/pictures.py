"""A run as pictures: its figures over the epochs, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cnnspec.train.metrics import Row, split_name

_NUMBERED = 12  # classes up to which the matrix shows its numbers
_NAMED = 40  # and up to which it shows their names


def possible() -> bool:
    """Whether Matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Every figure over the epochs but a constant rate, the parts of the data as lines of one picture."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figures: dict[str, list[str]] = {}
    constant = len({row.get("learning_rate") for row in rows}) == 1
    for column in rows[0]:
        if column not in ("epoch", "seconds") and not (column == "learning_rate" and constant):
            figures.setdefault(split_name(column)[1], []).append(column)
    picture = Figure(figsize=(4.5 * len(figures), 3.4), layout="constrained")
    for axes, (figure, columns) in zip(
        picture.subplots(1, len(figures), squeeze=False)[0], figures.items(), strict=True
    ):
        for column in columns:
            points = [(row["epoch"], row[column]) for row in rows if column in row and "epoch" in row]
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else "", label=split_name(column)[0])
        axes.set_title(figure.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if len(columns) > 1:
            axes.legend()
    _save(picture, path)


def draw_confusion(matrix: Any, labels: Sequence[str], path: Path) -> None:
    """The share of each class (rows) that was taken for which (columns)."""
    import numpy as np
    from matplotlib.figure import Figure

    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(3.5 + 0.45 * len(labels), 14)
    picture = Figure(figsize=(side + 1, side), layout="constrained")
    axes = picture.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    picture.colorbar(image, shrink=0.8, label="share of the class")
    if len(labels) <= _NAMED:
        names = [label.replace("$", r"\$") for label in labels]  # no formula
        axes.set_xticks(range(len(labels)), names, rotation=90)
        axes.set_yticks(range(len(labels)), names)
    if len(labels) <= _NUMBERED:
        for row, column in np.ndindex(*matrix.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    _save(picture, path)


def _save(picture: Any, path: Path) -> None:
    part = path.with_name(f".part.{path.name}")
    try:
        picture.savefig(part, dpi=120, format="png")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
