"""A run's figures for TensorBoard, written while it trains."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from cnnspec.train.folder import read_record
from cnnspec.train.metrics import Row, read_metrics, split_name

_NO_FIGURES = ("epoch", "seconds")


@contextmanager
def raised_once() -> Iterator[None]:
    """TensorBoard's thread does not print as a traceback what `Events` raise as well: that a disk is full."""
    before = threading.excepthook

    def hook(given: threading.ExceptHookArgs) -> None:
        if not isinstance(given.exc_value, OSError):
            before(given)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


class Events:
    """The event files of a run: they say what `metrics.csv` says, and are written anew where that lost rows."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = run / "events"
        self.written: list[Row] = []
        self._writer: Any = None

    @staticmethod
    def possible() -> bool:
        """Whether TensorBoard is installed."""
        return find_spec("tensorboard") is not None

    def follow(self) -> None:
        """Write the rows that are new."""
        rows = read_metrics(self.run)
        if self._writer is None or rows[: len(self.written)] != self.written:
            self._restart()
        if len(rows) > len(self.written):
            for number, row in enumerate(rows):
                if number >= len(self.written):
                    self._write(row, self._begun() + sum(r.get("seconds", 0.0) for r in rows[: number + 1]))
            self._writer.flush()
            self.written = rows

    def close(self) -> None:
        """Write the last rows, and let go of the file."""
        self.follow()
        self._writer.close()
        self._writer = None

    def _restart(self) -> None:
        # TensorFlow, where it is installed, would take seconds and have much to say; this is how TensorBoard asks
        # whether to do without.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        from tensorboard.summary import Writer

        if self._writer is not None:
            self._writer.close()
        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        self.folder.mkdir(exist_ok=True)
        self._writer = Writer(str(self.folder))
        self.written = []

    def _write(self, row: Row, time: float) -> None:
        for name, value in row.items():
            if name not in _NO_FIGURES:
                part, figure = split_name(name)
                tag = name if name == "learning_rate" else f"{figure}/{part}"
                self._writer.add_scalar(tag, value, int(row["epoch"]), wall_time=time)

    def _begun(self) -> float:
        record = read_record(self.run) or {}
        return datetime.fromisoformat(record["started"]).timestamp() if "started" in record else 0.0
