"""What frozen layers make of images: computed once, kept in files, read like images."""

import errno
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage
from typing import IO

import numpy as np

from cnnspec.train.snippets.batches import Batch
from cnnspec.train.snippets.draws import Draws
from cnnspec.train.snippets.files import Files
from cnnspec.train.snippets.parts import Arrays, DataError, Images, Part

CHECKSUM = 4  # bytes at the end of a file


class Features(Part):
    """Features of a part's images, from a file that is whole; `new` is one made now."""

    def __init__(self, path: Path, labels: np.ndarray, new: bool) -> None:
        self.path, self.labels, self.new = path, labels, new
        self.rows = np.load(path, mmap_mode="r")
        with path.open("rb") as file:
            file.seek(-len(labels) - CHECKSUM, os.SEEK_END)
            self.found = np.frombuffer(file.read(len(labels)), bool)
        found = np.flatnonzero(self.found)
        places = np.searchsorted(found, np.arange(len(labels)))
        self.next = found[places % len(found)]  # an image's own, or the next one's

    def read(self, indices: np.ndarray, replace: bool) -> tuple[Images, np.ndarray]:
        found = self.next[indices] if replace else indices[self.found[indices]]
        return np.asarray(self.rows[found]), found


class Numbered(Part):
    """A part whose classes are its images' numbers."""

    def __init__(self, part: Part) -> None:
        self.part, self.threads = part, part.threads
        self.labels = np.arange(len(part))

    def read(self, indices: np.ndarray, replace: bool) -> tuple[Images, np.ndarray]:
        return self.part.read(indices, replace)


def as_they_are(features: Images, draw: Draws | None) -> np.ndarray:
    """Features, to which nothing more is done."""
    return np.asarray(features)


def hash_arrays(part: Part) -> bytes:
    """A hash of images in memory."""
    assert isinstance(part, Arrays)
    digest = hashlib.sha256(str(part.images.shape).encode())
    digest.update(np.ascontiguousarray(part.images).data)
    return digest.digest()


def hash_files(part: Part) -> bytes:
    """A hash of images in files: of what is in these, wherever they lie."""
    assert isinstance(part, Files)
    with ThreadPoolExecutor(part.threads) as pool:
        return hashlib.sha256(b"".join(pool.map(hash_file, part.files))).digest()


def hash_file(name: str) -> bytes:
    """A file's hash, or an empty one if it cannot be read, as later it cannot be."""
    try:
        with Path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return bytes(32)


def keep(
    path: Path,
    images: int,
    batches: Iterable[Batch],
    compute: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Write the features of all images that are in batches, with their numbers.

    They stand in a NumPy file, one row for each image. Behind it is for each whether it
    was there, and then a checksum.
    """
    found = np.zeros(images, bool)
    start = 0  # of the first row, once it is known
    size = 0  # of a row
    with whole_or_none(path) as file:
        if file is None:  # another process was faster
            return
        for batch, numbers in batches:
            if not len(numbers):
                continue
            features = compute(batch)
            if not start:
                size = features[0].nbytes
                start = write_header(file, (images, *features.shape[1:]), features)
                if size * images > disk_usage(path.parent).free:
                    raise OSError(errno.ENOSPC, f"{size * images:,} bytes do not fit")
            found[numbers] = True
            first = int(numbers[0])
            missing = np.zeros_like(features[:1])
            rows = missing.repeat(int(numbers[-1]) + 1 - first, axis=0)
            rows[numbers - first] = features
            file.seek(start + first * size)
            file.write(rows.tobytes())
        if not start:
            raise DataError("no image can be read any more")
        file.seek(start + images * size)
        file.write(found.tobytes())
        file.write(checksum(file, file.tell()))


def write_header(file: IO[bytes], shape: tuple[int, ...], like: np.ndarray) -> int:
    """The head of a NumPy file; returns where what it describes begins."""
    described = {"descr": like.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.tell()


@contextmanager
def whole_or_none(path: Path) -> Iterator[IO[bytes] | None]:
    """A new file that gets its name once it is complete; none if it is there by then.

    One process at a time has it. Where one was killed, the next begins anew.
    """
    part = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        with locked(part) as file:
            if is_intact(path):
                part.unlink()
                yield None
                return
            try:
                file.truncate(0)
                yield file
                file.flush()
                os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        message = f"features cannot be kept in {path.parent}: {error.strerror or error}"
        help = "`--features DIR` names another folder, `--no-features` does without"
        raise DataError(f"{message}; {help}") from None


@contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """A file to read and write, which no other process has; waits until that is so."""
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            with suppress(ImportError):  # on Windows, one process should do it alone
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            if is_at(path, file):  # else it was another's, and has its name by now
                yield file
                return


def remove_abandoned(folder: Path) -> None:
    """Remove what processes that were killed left: parts that nobody has."""
    with suppress(ImportError):
        import fcntl

        for part in folder.glob(".part-*"):
            with suppress(OSError), part.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()


def is_at(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_intact(path: Path) -> bool:
    """Whether a file's last bytes are a checksum of all before."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END) - CHECKSUM
            if end < 0:
                return False
            expected = checksum(file, end)
            return file.read(CHECKSUM) == expected
    except OSError:  # not there, most of all
        return False


def checksum(file: IO[bytes], end: int) -> bytes:
    """A checksum of a file's bytes up to `end`, behind which it then stands."""
    file.seek(0)
    value = 0
    for first in range(0, end, 1 << 20):
        value = zlib.crc32(file.read(min(1 << 20, end - first)), value)
    return value.to_bytes(CHECKSUM, "little")
