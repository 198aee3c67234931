"""What a run leaves on disk: written so that no crash leaves anything half."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


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
