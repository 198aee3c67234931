"""CIFAR-10 and CIFAR-100 as they are published, binary or for Python."""

import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cnnspec.train.snippets.parts import Arrays, Data, DataError

CIFAR_VERSIONS = {  # archives, the folders in them, what their files end in
    10: [
        ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", ".bin"),
        ("cifar-10-python.tar.gz", "cifar-10-batches-py", ""),
    ],
    100: [
        ("cifar-100-binary.tar.gz", "cifar-100-binary", ".bin"),
        ("cifar-100-python.tar.gz", "cifar-100-python", ""),
    ],
}
CIFAR_FILES = {
    10: [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
    100: ["train", "test"],
}


def cifar_data(folder: Path, classes: int) -> Data:
    """The images of CIFAR-10 or CIFAR-100: the last file is the test."""
    parts = []
    for file, content in cifar_contents(folder, classes):
        if file.endswith(".bin"):
            images, labels = cifar_records(file, content, classes)
        else:
            images, labels = cifar_pickle(file, content, classes)
        parts.append(Arrays(images, labels, file))
    train = Arrays(
        np.concatenate([part.images for part in parts[:-1]]),
        np.concatenate([part.labels for part in parts[:-1]]),
        str(folder),
    )
    return Data(train, None, parts[-1])


def cifar_contents(folder: Path, classes: int) -> Iterator[tuple[str, bytes]]:
    """The files of a folder or of an archive in it, with their names."""
    for archive, inside, suffix in CIFAR_VERSIONS[classes]:
        names = [name + suffix for name in CIFAR_FILES[classes]]
        for place in (folder, folder / inside):
            missing = [name for name in names if not (place / name).is_file()]
            if not missing:
                for name in names:
                    yield str(place / name), (place / name).read_bytes()
                return
            if len(missing) < len(names):
                raise DataError(f"{place} has no {', '.join(missing)}")
        if (packed := folder / archive).is_file():
            yield from unpacked(packed, [f"{inside}/{name}" for name in names])
            return
    known = " or ".join(archive for archive, *_ in CIFAR_VERSIONS[classes])
    raise DataError(f"{folder} has no {known}, nor what is in it")


def unpacked(archive: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Files of an archive, read without writing any."""
    try:
        with tarfile.open(archive) as packed:
            for name in names:
                file = packed.extractfile(name)
                if file is None:
                    raise KeyError(f"{name} is no file")
                yield f"{archive}/{name}", file.read()
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{archive}: {error}") from error


def cifar_records(
    file: str, content: bytes, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images and classes of the binary version; of CIFAR-100, the fine ones."""
    before = 1 if classes == 10 else 2
    if not content or len(content) % (before + 3072):
        raise DataError(f"{file} is cut off, or no file of CIFAR-{classes}")
    records = np.frombuffer(content, np.uint8).reshape(-1, before + 3072)
    return cifar_images(records[:, before:]), records[:, before - 1].astype(np.int64)


def cifar_images(planes: np.ndarray) -> np.ndarray:
    """Images (n, height, width, channels) of rows of red, green and blue planes."""
    images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)


def cifar_pickle(
    file: str, content: bytes, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images and classes of the Python version."""
    try:
        found = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        images = np.asarray(found[b"data"], np.uint8)
        key = b"labels" if classes == 10 else b"fine_labels"
        labels = np.asarray(found[key], np.int64)
        if images.shape != (len(labels), 3072):
            raise ValueError(f"data of {images.shape} for {len(labels)} classes")
    except Exception as error:  # what is no pickle raises nearly anything
        raise DataError(f"{file}: {str(error) or type(error).__name__}") from error
    return cifar_images(images), labels


class ArrayUnpickler(pickle.Unpickler):
    """Reads plain values and arrays, and calls nothing else that a file names."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        if (module, name) == ("numpy._core.multiarray", "_reconstruct"):
            return new_array
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}: nothing was run")


def new_array(kind: type, shape: tuple[int, ...], dtype: bytes) -> np.ndarray:
    """An empty array, which a pickle fills."""
    return np.empty(0, np.uint8)
