"""Batches that make one step together."""

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def groups_of(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last one has what is left."""
    while group := list(islice(items, size)):
        yield group
