"""Tables of which classes were taken for which."""

from collections.abc import Mapping, Sequence

import numpy as np


def confusion_rows(
    counts: np.ndarray, classes: Sequence[str]
) -> list[Mapping[str, object]]:
    """How many images of each class, the rows, were taken for which."""
    return [
        {"class": name, **dict(zip(classes, row.tolist(), strict=True))}
        for name, row in zip(classes, counts, strict=True)
    ]


def class_rows(
    counts: np.ndarray, classes: Sequence[str]
) -> list[Mapping[str, object]]:
    """Precision, recall and number of images of each class; of none, they are empty."""
    right, taken, images = counts.diagonal(), counts.sum(0), counts.sum(1)
    return [
        {
            "class": name,
            "precision": right[i] / taken[i] if taken[i] else "",
            "recall": right[i] / images[i] if images[i] else "",
            "images": images[i],
        }
        for i, name in enumerate(classes)
    ]
