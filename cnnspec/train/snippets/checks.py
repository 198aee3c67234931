"""Whether data and network fit, before the first step."""

from collections.abc import Callable, Iterable

import numpy as np

from cnnspec.train.snippets.parts import Arrays, Data, DataError, Part


def check_classes(data: Data, classes: int) -> None:
    """Require images in every part, and an output of the network for each class."""
    for name, part in zip(data._fields, data, strict=True):
        if part is None:
            continue
        if not len(part):
            raise DataError(f"there are no images in the {name} part")
        outside = (part.labels < 0) | (part.labels >= classes)
        for index in np.flatnonzero(outside).tolist():
            message = f"class {part.labels[index]}, and the network has {classes}"
            raise DataError(f"{part.name(index)}: {message} outputs, from 0")


def check_last(images: int, batch_size: int, world: int, least: int) -> None:
    """Require enough images in every process's share of an epoch's last batch."""
    last = images % batch_size or batch_size
    if last // world < least:
        shared = f" for {world} processes" if world > 1 else ""
        message = f"an epoch's last batch has {last} of the images{shared}"
        raise DataError(f"{message}, too few for batch norms: change the batch size")


def check_sizes(
    parts: Iterable[Part | None], fit: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Require images that can be made the network's size."""
    for part in filter(None, parts):
        for (height, width), index in part.sizes().items():
            try:
                fit(np.zeros((height, width, 1), np.uint8))
            except DataError as error:
                raise DataError(f"{part.name(index)}: {error}") from None


def convert_channels(data: Data, channels: int) -> Data:
    """Make grey images of colours, or colours of grey ones."""
    return Data._make(part and with_channels(part, channels) for part in data)


def with_channels(part: Part, channels: int) -> Arrays:
    """Images in memory with other channels."""
    assert isinstance(part, Arrays)
    images = part.images
    given = images.shape[3]
    if given == channels:
        return part
    if (given, channels) == (1, 3):
        images = images.repeat(3, axis=3)
    elif (given, channels) == (3, 1):
        # As Pillow computes it: whole numbers that add up to 2¹⁶, rounded.
        weights = np.array([19595, 38470, 7471], np.uint32)
        grey = [(image @ weights + 0x8000) >> 16 for image in images]
        images = np.array(grey, np.uint8)[..., None]
    else:
        raise DataError(f"{part.file}: {given} channels, in place of {channels}")
    return Arrays(images, part.labels, part.file)


def require_channels(data: Data, channels: int) -> Data:
    """The data, if all images have this number of channels."""
    for part in filter(None, data):
        assert isinstance(part, Arrays)
        if (given := part.images.shape[3]) != channels:
            message = f"{given} channels, and the network takes {channels}"
            raise DataError(f"{part.file}: images of {message}")
    return data


def require_shape(data: Data, height: int, width: int, channels: int) -> Data:
    """The data, if all images are what the network takes."""
    for part in filter(None, data):
        assert isinstance(part, Arrays)
        given = part.images.shape[1:]
        if given != (height, width, channels):
            shown = "×".join(map(str, given))
            message = f"images of {shown}, in place of {height}×{width}×{channels}"
            raise DataError(f"{part.file}: {message}")
    return data
