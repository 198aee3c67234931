"""IDX files, as MNIST is published in."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from cnnspec.train.snippets.parts import Arrays, Data, DataError


def idx_data(folder: Path) -> Data:
    """The four files of MNIST and its likes, plain or gzipped."""
    test = idx_part(folder, "t10k") if idx_file(folder, "t10k-images-idx3") else None
    return Data(idx_part(folder, "train"), None, test)


def idx_part(folder: Path, name: str) -> Arrays:
    """The images and classes of two files."""
    images = read_idx(folder, f"{name}-images-idx3")
    labels = read_idx(folder, f"{name}-labels-idx1")
    if len(images) != len(labels):
        message = f"{len(images)} {name} images, but {len(labels)} classes"
        raise DataError(f"{folder}: {message}")
    file = str(folder / f"{name}-images-idx3-ubyte")
    return Arrays(images[..., None], labels.astype(np.int64), file)


def idx_file(folder: Path, name: str) -> Path | None:
    """A file, as it is published or unpacked."""
    for path in (folder / f"{name}-ubyte.gz", folder / f"{name}-ubyte"):
        if path.is_file():
            return path
    return None


def read_idx(folder: Path, name: str) -> np.ndarray:
    """A file's array of bytes; its name ends in the number of axes."""
    path = idx_file(folder, name)
    if path is None:
        raise DataError(f"{folder} has no {name}-ubyte.gz, nor {name}-ubyte")
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {error}") from error
    axes = int(name[-1])
    header, values = content[: 4 + 4 * axes], content[4 + 4 * axes :]
    if header[:4] != bytes([0, 0, 8, axes]):
        raise DataError(f"{path} is no IDX file of bytes with {axes} axes")
    shape = [int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4)]
    if len(shape) != axes or len(values) != math.prod(shape):
        shown = "×".join(map(str, shape))
        raise DataError(f"{path} holds {len(values)} values in place of {shown}")
    return np.frombuffer(values, np.uint8).reshape(shape)
