"""The process that trains: on the same terminal, watched, and ended as its parent is asked to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_TICK = 0.5  # seconds between two looks at what it wrote
_DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # glibc keeps freed memory: the layers of the next step ask for it again, and fresh pages take up to a fifth of it.
    # A threshold above 32 MiB would be refused by older ones, which then keep next to nothing.
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def train(folder: Path, arguments: Sequence[str], tick: Callable[[], None]) -> int:
    """Run `train.py` in `folder` with this Python, and return its exit status, negative for a signal's.

    It has a process group of its own, so that Ctrl-C reaches it once, through here: it then writes a checkpoint and
    ends by itself. `tick` is called meanwhile, and once at the end.
    """
    command = [sys.executable, str(folder / "train.py"), *arguments]
    own_group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
    asked: list[int] = []
    with locked(folder) as lock, handled(asked.append):
        sys.stdout.flush()
        child = subprocess.Popen(command, env=environment(), pass_fds=lock, **own_group)
        try:
            while not _ended(child, asked):
                tick()
            tick()
        finally:
            asked.append(signal.SIGTERM)  # where `tick` failed: what is trained is kept, and the process ended
            while not _ended(child, asked):
                pass
    assert isinstance(child.returncode, int), "it has ended"
    return child.returncode


def environment() -> dict[str, str]:
    """What `train.py` is run with: this process's variables, and for those that it lacks what trains faster."""
    return _DEFAULTS | os.environ | {"PYTHONUNBUFFERED": "1"}  # lines come when they are printed, in a pipe too


def _ended(child: subprocess.Popen[bytes], asked: list[int]) -> bool:
    """Whether the process ends within a while; it gets the signals that were `asked` for meanwhile."""
    end = time.monotonic() + _TICK
    while child.poll() is None and time.monotonic() < end:
        while asked:
            child.send_signal(signal.SIGINT if asked.pop() == signal.SIGINT else signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_TICK / 10)
    return child.returncode is not None


class Busy(Exception):
    """Another process trains this run."""


@contextmanager
def locked(folder: Path) -> Iterator[tuple[int, ...]]:
    """Hold a run's lock, or raise `Busy`.

    The child holds it as well, so that one whose parent was killed is noticed.
    """
    try:
        import fcntl
    except ImportError:  # not on this system: nothing keeps two from the same run
        yield ()
        return
    descriptor = os.open(folder / "run.json", os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"`{folder}` is being trained by another process") from None
        yield (descriptor,)
    finally:
        os.close(descriptor)


@contextmanager
def handled(handler: Callable[[int], object]) -> Iterator[None]:
    """What asks this process to end calls `handler` in place of ending it."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {}
    try:
        for number in numbers:
            try:
                before[number] = signal.signal(number, lambda number, _: handler(number))
            except ValueError:  # not in the main thread
                break
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
