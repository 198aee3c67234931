"""What files of other frameworks are read into, and what their readers share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EISDIR, ENOENT
from pathlib import Path
from typing import Any, NamedTuple


class BadFile(Exception):
    """A file that is not what it has to be; the text goes on where the file's name ends: `is no zip archive`."""

    def __init__(self, what: str, help: str = "") -> None:
        super().__init__(what)
        self.help = help


class Stored(NamedTuple):
    """An array in an open file, not read yet, so that its shape can be judged first; `read` may raise `BadFile`."""

    shape: tuple[int, ...]
    read: Callable[[], Any]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` if nothing goes wrong: a file is never there half."""
    if path.is_dir():  # "." has no name to make another from
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    if not path.parent.is_dir():  # not every library says so in an error of its own
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(path))
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
