"""Image files as what a network reads, with Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnspec.backends.onnx.preprocess import is_exact

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

    from cnnspec.spec.sections import PreprocessSection

    Array = np.ndarray[Any, Any]

_MODES = {1: "L", 3: "RGB"}


class BadImage(Exception):
    """A file that cannot be read as an image, or an image that the network cannot take."""


def read_image(path: Path, channels: int) -> Picture:
    """The image in a file, upright, with 8 bits for each of its 1 (grey) or 3 (red, green, blue) channels.

    What is transparent shows white; of 16 bits the upper 8 are taken; of several frames the first.
    """
    import warnings

    from PIL import Image, ImageOps

    if channels not in _MODES:
        raise BadImage(f"the network takes images of {channels} channels, which no image file has")
    if path.exists() and not path.is_file():  # a pipe would not end
        raise BadImage("is not a file")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as file:  # it says whether it can be read
            image = ImageOps.exif_transpose(file)
            image.load()
    except Exception as error:  # decoders of broken files raise nearly anything
        raise BadImage(_reason(error)) from error
    return _flat(image, _MODES[channels])


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "this is no image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _flat(image: Picture, mode: str) -> Picture:
    """The image in `mode`, on white."""
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits, which Pillow may also hold as 32
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise BadImage("its pixels have 32 bits, and nothing says which of them count")
        deep = image.mode != "I" or values.max() > 255
        image = Image.fromarray((values >> 8 if deep else values).astype(np.uint8))
    elif image.mode == "F":
        raise BadImage("its pixels are fractions, and nothing says of what")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def pixels(image: Picture) -> Array:
    """As a network with preprocessing of its own takes it: a batch of one, (1, height, width, channels)."""
    import numpy as np

    array = np.asarray(image)
    return array.reshape(1, *array.shape[:2], -1)


def preprocessed(image: Picture, section: PreprocessSection | None, size: tuple[int, int]) -> Array:
    """As a network takes it, a batch of one, (1, channels, height, width); `size` is what must come out.

    Without a section, pixels are 0–255.
    """
    import numpy as np

    if section is not None:
        image = _cropped(_resized(image, section), section.crop)
    if (image.height, image.width) != size:
        by = " after preprocessing" if section and (section.resize or section.crop) else ""
        raise BadImage(f"{image.height}×{image.width} pixels{by}, and the network takes {size[0]}×{size[1]}")
    x = pixels(image).transpose(0, 3, 1, 2).astype(np.float64)
    if section is not None:
        if section.channel_order == "bgr":
            x = x[:, ::-1]
        mean, std = (np.reshape(value, (-1, 1, 1)) for value in (section.mean, section.std))
        x = (x * section.scale - mean) / std
    return np.ascontiguousarray(x, np.float32)


def _resized(image: Picture, section: PreprocessSection) -> Picture:
    from PIL.Image import Resampling

    if section.resize is None:
        return image
    height, width = section.resize
    if not is_exact(section):  # the longer side in proportion, rounded down
        shorter = min(image.size)
        width, height = (side * section.resize[0] // shorter for side in image.size)
    return image.resize((width, height), Resampling[section.interpolation.upper()])


def _cropped(image: Picture, crop: tuple[int, int] | None) -> Picture:
    """From the centre; half a pixel is rounded to the even number, as torchvision does."""
    if crop is None:
        return image
    height, width = crop
    if image.height < height or image.width < width:
        raise BadImage(f"{image.height}×{image.width} pixels are too few to crop {height}×{width} out of them")
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
