"""What a run leaves on disk: written so that no crash leaves anything half."""

import csv
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class RunError(Exception):
    """A mistake of whoever runs this, or of the machine; its text says which."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file that takes the place of `path` once it is complete."""
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of equal columns as a CSV file."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([*rows[:1], *(row.values() for row in rows)])


def checkpoint_path(folder: Path, step: int, suffix: str) -> Path:
    """The checkpoint that is written after so many steps."""
    return folder / f"step-{step:09}{suffix}"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def load_newest(folder: Path, load: Callable[[Path], Any]) -> Any:
    """The newest checkpoint that can be read; None where there is none at all."""
    found = checkpoints(folder)
    for path in found:
        try:
            return load(path)
        except Exception as error:  # a damaged file raises nearly anything
            reason = (str(error) or type(error).__name__).splitlines()[0]
            print(f"warning: {path} is broken: {reason}", file=sys.stderr)
    if found:
        raise RunError(f"no checkpoint in {folder} can be read")
    return None


def keep_newest(folder: Path, number: int) -> None:
    """Delete all checkpoints but the newest ones."""
    for path in checkpoints(folder)[number:]:
        path.unlink()


class Interrupt:
    """Ctrl-C and SIGTERM: at first the step in hand is finished, then nothing is."""

    asked = False

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, self.note)
        signal.signal(signal.SIGTERM, self.note)

    def note(self, number: int, frame: object) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)


def report(figures: Mapping[str, float], epochs: int) -> str:
    """An epoch's figures on one line."""
    words = [f"{k.replace('_', ' ')} {v:.4g}" for k, v in figures.items()]
    return f"{words[0]}/{epochs}: {', '.join(words[1:])}"
