"""Images in files, which are decoded when they are needed."""

import os
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnspec.train.snippets.parts import DataError, Images, Part

ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
ORIENTATION = 0x0112  # EXIF's number for it


class Header(NamedTuple):
    """What an image is, as it is upright."""

    height: int
    width: int
    channels: int


class Files(Part):
    """Images in files, with 1 or 3 channels once they are decoded."""

    def __init__(
        self, files: list[str], labels: np.ndarray, sizes: np.ndarray, channels: int
    ) -> None:
        self.files, self.labels, self.channels = files, labels, channels
        self.heights_and_widths = sizes
        self.broken: dict[int, str] = {}
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # as torchrun says
        self.threads = min(16, max(2, (os.cpu_count() or 1) // processes))

    def read(self, indices: np.ndarray, replace: bool) -> tuple[Images, np.ndarray]:
        images, found = [], []
        for index in indices.tolist():
            tries = range(index, index + (len(self) if replace else 1))
            for candidate in tries:
                image = self.image(candidate % len(self))
                if image is not None:
                    images.append(image)
                    found.append(candidate % len(self))
                    break
            else:
                if replace:
                    raise DataError("no image can be read any more")
        return images, np.array(found, np.int64)

    def image(self, index: int) -> np.ndarray | None:
        """An image, or None if it cannot be read, which is said once."""
        if index in self.broken:
            return None
        try:
            return decode(self.files[index], self.channels)
        except Exception as error:  # noqa: BLE001 - decoders raise nearly anything
            self.broken[index] = reason(error)
            count = f"{len(self.broken)} of {len(self)} files"
            message = f"{self.files[index]}: {reason(error)}; left out, as {count}"
            print(f"warning: {message}", file=sys.stderr)
            return None

    def take(self, indices: np.ndarray) -> "Files":
        files = [self.files[index] for index in indices.tolist()]
        sizes = self.heights_and_widths[indices]
        return Files(files, self.labels[indices], sizes, self.channels)

    def name(self, index: int) -> str:
        return self.files[index]

    def checksum(self) -> int:
        names = "/".join(map(os.path.basename, self.files))  # wherever they lie
        return zlib.crc32(names.encode(errors="surrogateescape"))

    def sizes(self) -> dict[tuple[int, int], int]:
        found, first = np.unique(self.heights_and_widths, axis=0, return_index=True)
        return {
            (height, width): index
            for (height, width), index in zip(
                found.tolist(), first.tolist(), strict=True
            )
        }


def image_files(
    files: list[str], labels: list[int], channels: int, convert: bool
) -> Files:
    """The images in files, less those that are broken, which are named."""
    if channels not in (1, 3):
        message = f"images of {channels} channels, which no image file has"
        raise DataError(f"the network takes {message}")
    with ThreadPoolExecutor(16) as pool:
        headers = list(pool.map(look, files))
    broken = {i: found for i, found in enumerate(headers) if isinstance(found, str)}
    for index in list(broken)[:20]:
        print(f"warning: {files[index]}: {broken[index]}; left out", file=sys.stderr)
    if broken:
        if len(broken) == len(files):
            raise DataError(f"none of {len(files)} images can be read")
        message = f"{len(broken)} of {len(files)} images cannot be read: left out"
        print(f"warning: {message}", file=sys.stderr)
    kept = [i for i in range(len(files)) if i not in broken]
    good = [header for header in headers if isinstance(header, Header)]
    for index, header in zip(kept, good, strict=True):
        if not convert and header.channels != channels:
            message = f"{header.channels} channels, and the network takes {channels}"
            raise DataError(f"{files[index]}: an image of {message}")
    return Files(
        [files[i] for i in kept],
        np.array(labels, np.int64)[kept],
        np.array([header[:2] for header in good], np.int32).reshape(-1, 2),
        channels,
    )


def look(file: str) -> Header | str:
    """What an image is, from the first and last bytes of its file, or what is wrong.

    Where these do not show that the file is whole, the image is decoded.
    """
    path = Path(file)
    if path.exists() and not path.is_file():  # a pipe would not end
        return "not a file"
    try:
        with Image.open(file) as image:
            height, width = image.height, image.width
            may_lie = image.format != "PNG" or "exif" in image.info  # else it decodes
            if may_lie and image.getexif().get(ORIENTATION, 1) >= 5:  # on its side
                height, width = width, height
            channels = count_channels(image)
            format = image.format or ""
        if not is_whole(path, format):
            decode(file, 1)
    except Exception as error:  # noqa: BLE001 - decoders raise nearly anything
        return reason(error)
    return Header(height, width, channels)


def count_channels(image: Image.Image) -> int:
    """1 for grey, 3 for colours, one more for alpha."""
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    count = 1 if grey else 4 if image.mode == "CMYK" else 3
    return count + image.has_transparency_data


def is_whole(path: Path, format: str) -> bool:
    """Whether a file ends as its format says."""
    if format not in ENDS:
        return False
    with path.open("rb") as content:
        content.seek(max(0, path.stat().st_size - 64))
        return ENDS[format] in content.read()


def decode(file: str, channels: int) -> np.ndarray:
    """An image, upright, on white, with 8 bits for each of 1 or 3 channels.

    Of 16 bits the upper 8 are taken, of several frames the first.
    """
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        image.load()
    if image.mode.startswith("I"):  # 16 bits, which Pillow may also hold as 32
        image = Image.fromarray(upper_bits(np.asarray(image), image.mode != "I"))
    elif image.mode == "F":
        raise ValueError("its pixels are fractions, and nothing says of what")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def upper_bits(pixels: np.ndarray, deep: bool) -> np.ndarray:
    """The upper 8 of 16 bits; of 8, which 32 may hold, all."""
    pixels = pixels.astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ValueError("its pixels have 32 bits, and nothing says which count")
    if deep or pixels.max() > 0xFF:
        pixels >>= 8
    return pixels.astype(np.uint8)


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
