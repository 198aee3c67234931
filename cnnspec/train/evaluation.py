"""What is known of a classifier after it has seen images with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDEST = 24  # of a label in a table
_MATRIX = 20  # classes up to which the matrix is shown as text


@dataclass(frozen=True)
class Evaluation:
    """Figures of a network on labelled images."""

    model: str
    data: str
    split: str
    labels: list[str]
    confusion: NDArray[np.int64]
    """How many images of each class (rows) were taken for which (columns)."""
    loss: float
    top_k: dict[int, float]
    """The share of images whose class is among the k likeliest."""
    left_out: int = 0
    """Images that could not be read."""
    trained_on: int | None = None
    """How many of the images the network was trained on; None where nothing says which these were."""
    warnings: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        """How many images were classified."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of images whose class is right."""
        return float(self.confusion.trace() / self.images)

    def classes(self) -> list[dict[str, Any]]:
        """Figures of each class; what has no images, or was never guessed, has None."""
        rows = []
        for index, label in enumerate(self.labels):
            right = int(self.confusion[index, index])
            images, guessed = int(self.confusion[index].sum()), int(self.confusion[:, index].sum())
            rows.append(
                {
                    "index": index,
                    "label": label,
                    "images": images,
                    "precision": right / guessed if guessed else None,
                    "recall": right / images if images else None,
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """What `--format json` prints."""
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "left_out": self.left_out,
            "trained_on": self.trained_on,
            "loss": self.loss if isfinite(self.loss) else None,
            "accuracy": self.accuracy,
            "top_k": {str(k): share for k, share in self.top_k.items()},
            "classes": self.classes(),
            "confusion": self.confusion.tolist(),
        }

    def to_text(self) -> str:
        """A table of the figures, and the matrix unless it is too wide to read."""
        shares = "".join(f"   top-{k} {share:.2%}" for k, share in self.top_k.items())
        lines = [
            f"{self.model} on {self.images:,} images ({self.split}, {self.data})",
            f"accuracy {self.accuracy:.2%}{shares}   loss {self.loss:.4f}",
            "",
        ]
        names = [_cut(label) for label in self.labels]
        width = max(len("class"), *map(len, names))
        lines.append(f"{'class':<{width}}  images  precision   recall")
        for name, row in zip(names, self.classes(), strict=True):
            figures = f"{_share(row['precision']):>9}{_share(row['recall']):>9}"
            lines.append(f"{name:<{width}}{row['images']:>8,}  {figures}")
        if len(names) <= _MATRIX:
            lines += ["", "true class (rows) taken for (columns)", *self._matrix(names, width)]
        return "\n".join(lines)

    def _matrix(self, names: Sequence[str], width: int) -> list[str]:
        cell = max(len(f"{self.confusion.max()}"), len(f"{len(names) - 1}")) + 1
        head = f"{'':<{width}}   " + "".join(f"{i:>{cell}}" for i in range(len(names)))
        rows = [
            f"{name:<{width}} {i:>2}" + "".join(f"{value or '·':>{cell}}" for value in self.confusion[i].tolist())
            for i, name in enumerate(names)
        ]
        return [head, *rows]


def _cut(label: str) -> str:
    from cnnspec.diagnostics.render import printable

    label = printable(label)
    return label if len(label) <= _WIDEST else f"{label[: _WIDEST - 1]}…"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
