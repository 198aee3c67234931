"""Which images a network was trained on: a hash of each one's pixels."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnspec.weights.foreign import replacing

FILE = "trained_on.npy"
Hashes = NDArray[np.uint64]

_AT_ONCE = 256  # images in memory
_OF_A_THREAD = 16


def image_hash(image: Any) -> int:
    """Of an image's bytes (height, width, channels), whatever file they were in."""
    shape = ",".join(map(str, image.shape)).encode()
    digest = blake2b(shape + b":" + np.ascontiguousarray(image).tobytes(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def images_of(part: Any) -> Iterator[tuple[int, Any]]:
    """Every image of a part of the data that can be read, with its number."""
    for first in range(0, len(part), _AT_ONCE):
        images, numbers = part.read(np.arange(first, min(first + _AT_ONCE, len(part))), replace=False)
        yield from zip(map(int, numbers), images, strict=True)


def write_seen(run: Path, part: Any) -> Hashes:
    """Write the hashes of a part's images into a run's folder.

    Of their pixels, so that an image is known again in a file of another kind: all of them are decoded once more, by as
    many threads as make batches.
    """

    def of_some(first: int) -> list[int]:
        images, _ = part.read(np.arange(first, min(first + _OF_A_THREAD, len(part))), replace=False)
        return [image_hash(image) for image in images]

    with ThreadPoolExecutor(part.threads) as pool, replacing(run / FILE) as file:
        found = pool.map(of_some, range(0, len(part), _OF_A_THREAD))
        hashes = np.unique(np.fromiter(chain.from_iterable(found), np.uint64))
        with file.open("wb") as written:
            np.save(written, hashes, allow_pickle=False)
    return hashes


def beside(model: Path) -> Path:
    """Where the hashes lie that belong to an ONNX file alone, and not to the run whose folder it is in."""
    return model.with_name(f"{model.name}.{FILE}")


def seen_by(model: Path) -> Hashes | None:
    """The hashes that belong to an ONNX file, or to the run that it is in."""
    own = beside(model)
    return read_seen(own.parent, own.name) if own.is_file() else read_seen(model.parent)


def read_seen(folder: Path, name: str = FILE) -> Hashes | None:
    """The hashes in a folder; None where there are none, or none that can be read."""
    try:
        hashes = np.load(folder / name, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return hashes if hashes.dtype == np.uint64 and hashes.ndim == 1 else None


def is_seen(hashes: Hashes, image: Any) -> bool:
    """Whether an image is among the sorted `hashes`."""
    wanted = np.uint64(image_hash(image))
    place = int(np.searchsorted(hashes, wanted))
    return place < len(hashes) and bool(hashes[place] == wanted)
