"""Steps of augmentation, on batches (n, height, width, channels) of pixels 0–255."""

import numpy as np

from cnnspec.train.snippets.draws import Draws

Numbers = np.ndarray | float
"""One for each image, or one for all."""

BRIGHTNESS = (0.299, 0.587, 0.114)
# ImageNet's principal components of the colours, each times its eigenvalue.
COLOUR_COMPONENTS = [
    [0.2175 * -0.5675, 0.2175 * -0.5808, 0.2175 * -0.5836],
    [0.0188 * 0.7192, 0.0188 * -0.0045, 0.0188 * -0.6948],
    [0.0045 * 0.4009, 0.0045 * -0.8140, 0.0045 * 0.4203],
]


# --- places --------------------------------------------------------------------------


def pad_and_crop(
    images: np.ndarray,
    draw: Draws,
    padding: int,
    fill: float | str = 0.0,
    probability: float = 1.0,
) -> np.ndarray:
    """Pad every side, then cut a piece of the old size out anywhere."""
    height, width = images.shape[1:3]
    padded = pad(images, padding, fill)
    tops = draw.integers(0, 2 * padding + 1)
    lefts = draw.integers(0, 2 * padding + 1)
    if probability < 1:
        tops, lefts = np.where(draw.chance(probability), (tops, lefts), padding)
    pieces = np.empty_like(images)
    for i, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
        pieces[i] = padded[i, top : top + height, left : left + width]
    return pieces


def pad(images: np.ndarray, padding: int, fill: float | str) -> np.ndarray:
    """Put pixels around the images: a value, `edge` or `reflect`."""
    widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    if fill == "edge":
        return np.pad(images, widths, "edge")
    if fill == "reflect":
        return np.pad(images, widths, "reflect")
    return np.pad(images, widths, constant_values=fill)


def flip(
    images: np.ndarray,
    draw: Draws,
    direction: str = "horizontal",
    probability: float = 0.5,
) -> np.ndarray:
    """Swap left and right, or with `vertical` top and bottom."""
    axis = 2 if direction == "horizontal" else 1
    reverse = np.arange(images.shape[axis])[::-1]
    chosen = np.flatnonzero(draw.chance(probability))
    result = images.copy()
    result[chosen] = images[chosen].take(reverse, axis)
    return result


def shift(
    images: np.ndarray,
    draw: Draws,
    by: tuple[float, float],
    fill: float | str = 0.0,
    interpolation: str = "bilinear",
    probability: float = 1.0,
) -> np.ndarray:
    """Move by up to these shares of the height and of the width."""
    down, right = by[0] * images.shape[1], by[1] * images.shape[2]
    offsets = draw.uniform(-down, down), draw.uniform(-right, right)
    moved = warp(images, ((1, 0), (0, 1)), offsets, fill, interpolation)
    return finish(moved, images, draw, probability)


def rotate(
    images: np.ndarray,
    draw: Draws,
    degrees: float,
    fill: float | str = 0.0,
    interpolation: str = "bilinear",
    probability: float = 1.0,
) -> np.ndarray:
    """Turn about the centre by up to an angle, either way."""
    angles = np.radians(draw.uniform(-degrees, degrees))
    cos, sin = np.cos(angles), np.sin(angles)
    turned = warp(images, ((cos, -sin), (sin, cos)), (0, 0), fill, interpolation)
    return finish(turned, images, draw, probability)


def zoom(
    images: np.ndarray,
    draw: Draws,
    factor: tuple[float, float],
    fill: float | str = 0.0,
    interpolation: str = "bilinear",
    probability: float = 1.0,
) -> np.ndarray:
    """Magnify about the centre by a factor between two."""
    step = 1 / draw.uniform(*factor)
    zoomed = warp(images, ((step, 0), (0, step)), (0, 0), fill, interpolation)
    return finish(zoomed, images, draw, probability)


def shear(
    images: np.ndarray,
    draw: Draws,
    degrees: float,
    fill: float | str = 0.0,
    interpolation: str = "bilinear",
    probability: float = 1.0,
) -> np.ndarray:
    """Slant by up to an angle, either way: rows move sideways."""
    slope = np.tan(np.radians(draw.uniform(-degrees, degrees)))
    slanted = warp(images, ((1, 0), (slope, 1)), (0, 0), fill, interpolation)
    return finish(slanted, images, draw, probability)


def warp(
    images: np.ndarray,
    matrix: tuple[tuple[Numbers, Numbers], tuple[Numbers, Numbers]],
    offset: tuple[Numbers, Numbers],
    fill: float | str,
    interpolation: str,
) -> np.ndarray:
    """Give every pixel the colour at matrix · (y, x) + offset, seen from the centre."""
    height, width = images.shape[1:3]
    y = np.arange(height, dtype=images.dtype)[:, None] - (height - 1) / 2
    x = np.arange(width, dtype=images.dtype) - (width - 1) / 2
    rows, columns = (
        per_image(to_y, images) * y
        + per_image(to_x, images) * x
        + per_image(moved + (side - 1) / 2, images)
        for (to_y, to_x), moved, side in zip(
            matrix, offset, (height, width), strict=True
        )
    )
    rows = np.broadcast_to(rows, images.shape[:3])
    columns = np.broadcast_to(columns, images.shape[:3])
    result = np.empty_like(images)
    for first in range(0, len(images), 32):  # so many stay in the cache
        some = slice(first, first + 32)
        part = sample(images[some], rows[some], columns[some], fill, interpolation)
        result[some] = part
    return result


def per_image(numbers: Numbers, images: np.ndarray) -> np.ndarray:
    """Numbers to compute with maps (n, height, width)."""
    return np.reshape(numbers, (-1, 1, 1)).astype(images.dtype)


def sample(
    images: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    fill: float | str,
    interpolation: str,
) -> np.ndarray:
    """The colours at positions (n, height, width) between pixels and outside."""
    height, width, channels = images.shape[1:]
    if fill == "reflect":
        rows, columns = mirror(rows, height), mirror(columns, width)
    # One more pixel on every side stands for all that lies outside.
    rows, columns = np.clip(rows, -1, height) + 1, np.clip(columns, -1, width) + 1
    planes = np.moveaxis(pad(images, 1, fill), 3, 0).reshape(channels, -1)
    if interpolation == "nearest":
        top, left = np.floor(rows + 0.5), np.floor(columns + 0.5)
    else:
        top = np.minimum(np.floor(rows), height)
        left = np.minimum(np.floor(columns), width)
    down, right = rows - top, columns - left
    row = width + 2
    firsts = np.arange(len(images))[:, None, None] * (height + 2) * row
    corner = firsts + top.astype(int) * row + left.astype(int)
    result = np.empty_like(images)
    for channel, plane in enumerate(planes):
        if interpolation == "nearest":
            result[..., channel] = plane.take(corner)
        else:
            above = between(plane.take(corner), plane[1:].take(corner), right)
            plane = plane[row:]
            below = between(plane.take(corner), plane[1:].take(corner), right)
            result[..., channel] = between(above, below, down)
    return result


def between(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Put what lies a `share` of the way from start to end in place of `end`."""
    end -= start
    end *= share
    end += start
    return end


def mirror(positions: np.ndarray, side: int) -> np.ndarray:
    """Positions back inside, as often as they cross the first or the last pixel."""
    last = side - 1
    if last == 0:
        return np.zeros_like(positions)
    inside: np.ndarray = last - np.abs(last - positions % (2 * last))
    return inside


# --- colours -------------------------------------------------------------------------


def brightness(
    images: np.ndarray,
    draw: Draws,
    factor: tuple[float, float],
    probability: float = 1.0,
) -> np.ndarray:
    """Multiply by a factor between two."""
    changed = images * per_pixel(draw.uniform(*factor), images)
    return finish(changed, images, draw, probability)


def contrast(
    images: np.ndarray,
    draw: Draws,
    factor: tuple[float, float],
    probability: float = 1.0,
) -> np.ndarray:
    """Multiply the distance from the mean brightness by a factor between two."""
    means = luminance(images).mean(axis=(1, 2), keepdims=True)
    factors = per_pixel(draw.uniform(*factor), images)
    return finish(means + factors * (images - means), images, draw, probability)


def saturation(
    images: np.ndarray,
    draw: Draws,
    factor: tuple[float, float],
    probability: float = 1.0,
) -> np.ndarray:
    """Multiply the distance from grey by a factor between two."""
    factors = draw.uniform(*factor)[:, None, None]
    grey = np.outer(BRIGHTNESS, np.ones(3))
    mixing = (factors * np.eye(3) + (1 - factors) * grey).astype(images.dtype)
    changed = (images.reshape(len(images), -1, 3) @ mixing).reshape(images.shape)
    return finish(changed, images, draw, probability)


def hue(
    images: np.ndarray, draw: Draws, degrees: float, probability: float = 1.0
) -> np.ndarray:
    """Turn the hue by up to an angle, either way."""
    red, green, blue = np.ascontiguousarray(np.moveaxis(images, 3, 0))
    highest = np.maximum(np.maximum(red, green), blue)
    spread = highest - np.minimum(np.minimum(red, green), blue)
    divisor = np.where(spread > 0, spread, 1)
    # Hues go round from 0 to 6: red is 0, green 2, blue 4.
    from_green, from_blue = (blue - red) / divisor + 2, (red - green) / divisor + 4
    places = np.where(highest == green, from_green, from_blue)
    places = np.where(highest == red, (green - blue) / divisor, places)
    places += per_image(draw.uniform(-degrees, degrees) / 60, images)
    places -= 6 * np.floor(places / 6)
    changed = np.empty_like(images)
    for channel in range(3):
        near = np.abs(3 - np.abs(places - 2 * channel))  # 3 at the channel's own hue
        changed[..., channel] = highest - spread * np.clip(2 - near, 0, 1)
    return finish(changed, images, draw, probability)


def lighting(
    images: np.ndarray, draw: Draws, std: float = 0.1, probability: float = 1.0
) -> np.ndarray:
    """Add one colour, drawn along the principal components of ImageNet's colours."""
    numbers = np.stack([draw.normal() for _ in COLOUR_COMPONENTS], axis=1)
    colours = 255 * std * (numbers @ np.array(COLOUR_COMPONENTS))
    rows = np.tile(colours.astype(images.dtype), images.shape[2])[:, None]
    changed = (images.reshape(*images.shape[:2], -1) + rows).reshape(images.shape)
    return finish(changed, images, draw, probability)


def luminance(images: np.ndarray) -> np.ndarray:
    """The brightness (…, 1) of colours, or the mean of other channels."""
    count = images.shape[-1]
    weights = BRIGHTNESS if count == 3 else [1 / count] * count
    grey: np.ndarray = images @ np.array(weights, images.dtype)
    return grey[..., None]


def per_pixel(numbers: Numbers, images: np.ndarray) -> np.ndarray:
    """Numbers to compute with images (n, height, width, channels)."""
    return np.reshape(numbers, (-1, 1, 1, 1)).astype(images.dtype)


def finish(
    changed: np.ndarray, images: np.ndarray, draw: Draws, probability: float
) -> np.ndarray:
    """What a step made, clipped; images that it leaves alone as they were."""
    np.clip(changed, 0, 255, out=changed)
    if probability < 1:
        spared = ~draw.chance(probability)
        changed[spared] = images[spared]
    return changed


# --- after normalisation -------------------------------------------------------------


def cutout(
    images: np.ndarray, draw: Draws, size: int, probability: float = 1.0
) -> np.ndarray:
    """Make a square 0 whose centre is any pixel."""
    height, width = images.shape[1:3]
    down = np.arange(height) - draw.integers(0, height)[:, None] + size // 2
    right = np.arange(width) - draw.integers(0, width)[:, None] + size // 2
    rows, columns = (down >= 0) & (down < size), (right >= 0) & (right < size)
    hidden = rows[:, :, None] & columns[:, None, :]
    if probability < 1:
        hidden &= draw.chance(probability)[:, None, None]
    result = images.copy()
    result[hidden] = 0
    return result


def mixup(
    images: np.ndarray, labels: np.ndarray, draw: Draws, alpha: float, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mix a batch with itself in another order; labels become shares of classes."""
    others = np.argsort(draw.words(), kind="stable")
    # A generator whose numbers never change, started with one of ours.
    share = np.random.RandomState(int(draw.words()[0])).beta(alpha, alpha)
    mixed = share * images + (1 - share) * images[others]
    targets = np.zeros((len(labels), classes), np.float32)
    rows = np.arange(len(labels))
    targets[rows, labels] += share
    targets[rows, labels[others]] += 1 - share
    return mixed, targets
