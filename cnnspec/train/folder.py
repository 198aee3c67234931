"""Folders that are there whole or not at all, and which run is meant."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EEXIST, EIO, EISDIR, ENOTDIR, ENOTEMPTY
from itertools import count
from pathlib import Path
from typing import Any

RUNS = "runs"


def write_files(folder: Path, files: Mapping[str, bytes | Callable[[Path], None]]) -> list[Path]:
    """Write files, named by their paths in `folder`: their bytes, or what writes one at the path that it is given.

    Those that are there are replaced, all or none.
    """
    made = [parent for parent in reversed([folder, *folder.parents]) if not parent.exists()]
    parts: dict[Path, Path] = {}
    done = False
    try:
        for name, content in files.items():
            target = folder / name
            if not target.parent.exists():
                target.parent.mkdir(parents=True)
                made.append(target.parent)
            if target.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(target))
            part = target.with_name(f".{os.getpid()}.part.{target.name}")
            parts[part] = target
            try:
                if callable(content):
                    content(part)
                else:
                    part.write_bytes(content)
            except OSError as error:  # about the file that was asked for
                number = error.errno or EIO
                raise OSError(number, os.strerror(number), str(target)) from None
        for part, target in parts.items():
            part.replace(target)
        done = True
    finally:
        for part in parts:
            with suppress(OSError):  # what is reported is why it was not written
                part.unlink(missing_ok=True)
        if not done:
            for made_folder in reversed(made):
                if made_folder.is_dir() and not any(made_folder.iterdir()):
                    made_folder.rmdir()
    return [folder / name for name in files]


@contextmanager
def new_folder(target: Path, named: list[Path], *, numbered: bool) -> Iterator[Path]:
    """A folder to fill, which becomes `target` once it is whole; `named` then holds what it is called.

    `numbered` takes the next free one of NAME, NAME-2, NAME-3; else a folder that is there, and not empty, is a
    `FileExistsError`.
    """
    if target.parent.exists() and not target.parent.is_dir():
        raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), str(target.parent))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{os.getpid()}.part.{target.name}")
    if not numbered and taken(target):
        raise FileExistsError(EEXIST, os.strerror(EEXIST), str(target))
    try:
        part.mkdir()
        yield part
        for number in count(1):
            own = target if number == 1 else target.with_name(f"{target.name}-{number}")
            if _renamed(part, own):
                named.append(own)
                return
            if not numbered:
                raise FileExistsError(EEXIST, os.strerror(EEXIST), str(target))
    finally:
        shutil.rmtree(part, ignore_errors=True)


def taken(path: Path) -> bool:
    """Whether something is there that a new folder must not replace."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _renamed(part: Path, target: Path) -> bool:
    if taken(target):
        return False
    try:
        part.rename(target)
    except OSError as error:  # another process was quicker
        if error.errno in (EEXIST, ENOTEMPTY) or target.exists():
            return False
        raise
    return True


def read_record(run: Path) -> dict[str, Any] | None:
    """What `run.json` says; None where this is no folder of a run."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"name", "backend"} <= record.keys() else None


def is_folds(path: Path) -> bool:
    """Whether a folder holds the runs of a cross-validation."""
    record = read_record(path) or {}
    return "folds" in record and "fold" not in record


def newest_run(name: str, backend: str | None, runs: Path = Path(RUNS)) -> Path | None:
    """The run of the network `name` that was begun last, with `backend` where that is given."""
    found = []
    for record_file in runs.glob("*/run.json"):
        record = read_record(record_file.parent)
        if record and record["name"] == name and backend in (None, record["backend"]):
            found.append((str(record.get("started", "")), record_file.parent))
    return max(found)[1] if found else None
