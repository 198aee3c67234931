"""What data consist of: images, read when they are asked for, and their classes."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Images = Sequence[np.ndarray] | np.ndarray
IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)


class DataError(Exception):
    """What is wrong with the data, and where."""


class Part:
    """Images and their classes, as whole numbers."""

    labels: np.ndarray
    threads = 2  # that make batches of it at a time

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: np.ndarray, replace: bool) -> tuple[Images, np.ndarray]:
        """Images (height, width, channels) of bytes, and their indices.

        One that cannot be read is left out or replaced: the next one is there twice.
        """
        raise NotImplementedError

    def take(self, indices: np.ndarray) -> "Part":
        """Some of the images."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """What an image is called in messages."""
        raise NotImplementedError

    def sizes(self) -> dict[tuple[int, int], int]:
        """Every (height, width) that there is, and the first image that has it."""
        raise NotImplementedError

    def digest(self) -> str:
        """How many images there are, and a checksum that tells them from others."""
        labels = np.ascontiguousarray(self.labels).data
        return f"{len(self)} images {zlib.crc32(labels, self.checksum()):08x}"

    def checksum(self) -> int:
        """Of the images in their order, without their classes."""
        raise NotImplementedError


class Data(NamedTuple):
    """Images to train on, to validate on and to test on."""

    train: Part
    validation: Part | None
    test: Part | None


class Arrays(Part):
    """Images in memory, (n, height, width, channels), that come from a file."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, file: str) -> None:
        self.images, self.labels, self.file = images, labels, file

    def read(self, indices: np.ndarray, replace: bool) -> tuple[Images, np.ndarray]:
        return self.images[indices], indices

    def take(self, indices: np.ndarray) -> "Arrays":
        return Arrays(self.images[indices], self.labels[indices], self.file)

    def name(self, index: int) -> str:
        return f"{self.file}: image {index}"

    def sizes(self) -> dict[tuple[int, int], int]:
        return {self.images.shape[1:3]: 0}

    def checksum(self) -> int:
        return zlib.crc32(np.ascontiguousarray(self.images).data)
