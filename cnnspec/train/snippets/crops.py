"""Pieces of the input's size, cut out of decoded images."""

import math

import numpy as np
from PIL import Image

from cnnspec.train.snippets.draws import Draws
from cnnspec.train.snippets.resize import crop_centre, resize, resize_shorter


def random_crop(
    image: np.ndarray,
    draw: Draws,
    size: tuple[int, int],
    shorter_side: tuple[int, int],
    square: bool = False,
    filter: int = Image.Resampling.BILINEAR,
) -> np.ndarray:
    """Resize the shorter side to between two sizes, then cut a piece out anywhere."""
    side = int(draw.integers(shorter_side[0], shorter_side[1] + 1)[0])
    image = resize_shorter(image, side, filter)
    if square:
        image = crop_centre(image, side, side)
    return piece(image, draw, *size)


def random_resized_crop(
    image: np.ndarray,
    draw: Draws,
    size: tuple[int, int],
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    filter: int = Image.Resampling.BILINEAR,
) -> np.ndarray:
    """Cut out a piece of a drawn area and ratio of width to height, then resize it."""
    height, width = image.shape[:2]
    for _ in range(10):
        pixels = height * width * draw.uniform(*area)[0]
        shape = math.exp(draw.uniform(*map(math.log, ratio))[0])
        rows, columns = (
            round(math.sqrt(pixels / shape)),
            round(math.sqrt(pixels * shape)),
        )
        if 0 < rows <= height and 0 < columns <= width:
            return resize(piece(image, draw, rows, columns), *size, filter)
    rows = max(1, min(height, round(width / ratio[0])))
    columns = max(1, min(width, round(height * ratio[1])))
    return resize(crop_centre(image, rows, columns), *size, filter)


def piece(image: np.ndarray, draw: Draws, height: int, width: int) -> np.ndarray:
    """Any piece of this size."""
    top = int(draw.integers(0, image.shape[0] - height + 1)[0])
    left = int(draw.integers(0, image.shape[1] - width + 1)[0])
    return image[top : top + height, left : left + width]
