"""Cross-validation: images in equal parts, one of which is held out."""

from collections.abc import Sequence

import numpy as np

from cnnspec.train.snippets.draws import Draws
from cnnspec.train.snippets.files import Files
from cnnspec.train.snippets.parts import Arrays, Data, DataError


def one_fold(
    data: Data, names: Sequence[str], folds: int, fold: int, seed: int
) -> Data:
    """Validate on one of several folds, from 1, and train on the others.

    Every image is in one fold, and each class is dealt out to all alike.
    """
    labels = data.train.labels
    classes, sizes = np.unique(labels, return_counts=True)
    if sizes.min() < folds:
        label = names[classes[sizes.argmin()]]
        message = f"the class {label} has {sizes.min()} images"
        raise DataError(f"{message}, too few for {folds} folds")
    words = Draws(seed, 0, np.arange(len(labels)), stream=5).words()
    dealt = np.empty(len(labels), np.int64)
    dealt[np.lexsort((words, labels))] = np.arange(len(labels)) % folds
    held = dealt == fold - 1
    train, validation = np.flatnonzero(~held), np.flatnonzero(held)
    return data._replace(
        train=data.train.take(train), validation=data.train.take(validation)
    )


def join_arrays(data: Data) -> Data:
    """Have images in memory that are there to validate on among those to train on."""
    train, more = data.train, data.validation
    assert isinstance(train, Arrays) and isinstance(more, Arrays)
    if train.images.shape[1:] != more.images.shape[1:]:
        message = "images to train and to validate on differ in size: no folds of both"
        raise DataError(f"{train.file}: {message}")
    images = np.concatenate([train.images, more.images])
    labels = np.concatenate([train.labels, more.labels])
    return data._replace(train=Arrays(images, labels, train.file), validation=None)


def join_files(data: Data) -> Data:
    """Have images in files that are there to validate on among those to train on."""
    train, more = data.train, data.validation
    assert isinstance(train, Files) and isinstance(more, Files)
    sizes = np.concatenate([train.heights_and_widths, more.heights_and_widths])
    labels = np.concatenate([train.labels, more.labels])
    files = [*train.files, *more.files]
    return data._replace(
        train=Files(files, labels, sizes, train.channels), validation=None
    )
