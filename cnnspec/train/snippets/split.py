"""Holding images out."""

import numpy as np

from cnnspec.train.snippets.draws import Draws
from cnnspec.train.snippets.parts import Data, DataError


def hold_out(data: Data, share: float, stratified: bool, seed: int) -> Data:
    """Validate on some of the images: a fraction of them, or a number above 1."""
    labels = data.train.labels
    number = round(share * len(labels)) if share < 1 else int(share)
    if not 0 < number < len(labels):
        message = f"cannot hold {number} images out of {len(labels)} to validate on"
        raise DataError(message)
    held = np.zeros(len(labels), bool)
    groups = labels if stratified else np.zeros_like(labels)
    for group, count in held_of_each(groups, number).items():
        members = np.flatnonzero(groups == group)
        order = np.argsort(Draws(seed, 0, members, stream=3).words(), kind="stable")
        held[members[order[:count]]] = True
    train, validation = np.flatnonzero(~held), np.flatnonzero(held)
    return data._replace(
        train=data.train.take(train), validation=data.train.take(validation)
    )


def held_of_each(groups: np.ndarray, number: int) -> dict[int, int]:
    """How many of each group make up `number`: the same share, rounded.

    What rounding down leaves over goes to those that lost most by it.
    """
    found, sizes = np.unique(groups, return_counts=True)
    counts, lost = np.divmod(sizes * number, len(groups))
    most = np.argsort(-lost, kind="stable")[: number - counts.sum()]
    counts[most] += 1
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
