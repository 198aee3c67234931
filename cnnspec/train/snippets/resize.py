"""Images, as bytes (height, width, channels), of other sizes and channels."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from cnnspec.train.snippets.parts import DataError, Images


def resize(image: np.ndarray, height: int, width: int, filter: int) -> np.ndarray:
    """The whole image at another size, antialiased."""
    if image.shape[:2] == (height, width):
        return image
    if image.shape[2] == 3:
        picture = Image.fromarray(image)
        return np.asarray(picture.resize((width, height), filter))
    channels = [
        np.asarray(Image.fromarray(channel).resize((width, height), filter))
        for channel in np.moveaxis(image, 2, 0)
    ]
    return np.stack(channels, axis=2)


def resize_shorter(image: np.ndarray, side: int, filter: int) -> np.ndarray:
    """The shorter side made `side` pixels; the other in proportion, rounded down."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    return resize(image, height * side // shorter, width * side // shorter, filter)


def resize_to_cover(
    image: np.ndarray, height: int, width: int, filter: int
) -> np.ndarray:
    """The smallest size of the same shape that has `height` and `width`."""
    old_height, old_width = image.shape[:2]
    if old_width * height >= old_height * width:
        return resize(image, height, old_width * height // old_height, filter)
    return resize(image, old_height * width // old_width, width, filter)


def crop_centre(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A piece from the centre; half a pixel is rounded to the even number."""
    old_height, old_width = image.shape[:2]
    if old_height < height or old_width < width:
        message = f"too few to crop {height}×{width} out of them"
        raise DataError(f"{old_height}×{old_width} pixels are {message}")
    top, left = round((old_height - height) / 2), round((old_width - width) / 2)
    return image[top : top + height, left : left + width]


def pad_to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Black around the image, half a pixel more below and on the right."""
    old_height, old_width = image.shape[:2]
    if old_height > height or old_width > width:
        message = f"too many to pad them to {height}×{width}"
        raise DataError(f"{old_height}×{old_width} pixels are {message}")
    top, left = (height - old_height) // 2, (width - old_width) // 2
    padded = np.zeros((height, width, image.shape[2]), np.uint8)
    padded[top : top + old_height, left : left + old_width] = image
    return padded


def require_size(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image, if it has this size."""
    if image.shape[:2] != (height, width):
        shown = "×".join(map(str, image.shape[:2]))
        message = f"{shown} pixels, and the network takes {height}×{width}"
        raise DataError(message)
    return image


def sized(
    images: Images,
    shape: tuple[int, int, int],
    fit: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """A batch of one shape; images in memory that have it are left as they are."""
    if isinstance(images, np.ndarray) and images.shape[1:] == shape:
        return images
    return stack([fit(image) for image in images], shape)


def stack(images: list[np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
    """A batch of images of one shape; there may be none."""
    return np.stack(images) if images else np.empty((0, *shape), np.uint8)
