"""Whole processes, timed in turn, so that a ratio means the same on a slow and on a busy machine."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple


class Run(NamedTuple):
    """One process: wall seconds and peak memory in MB."""

    seconds: float
    megabytes: float


def environment() -> dict[str, str]:
    """What processes are run with: byte code must be cached, as it is for every user after the first command."""
    own = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return own | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def run(command: Sequence[str]) -> Run:
    """Run `command` to its end. Raises RuntimeError, with what it printed, where it fails."""
    start = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output.decode(errors='replace')[-2000:]}")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss is in bytes on macOS, in kB elsewhere
    return Run(seconds, usage.ru_maxrss / unit)


def in_turn(commands: dict[str, Sequence[str]], rounds: int, outputs: Sequence[Path] = ()) -> dict[str, list[Run]]:
    """Every command once to warm up, then `rounds` times in turn.

    `outputs`, the files that they write, are removed before each run: to write over an old one takes time of its own.
    """
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            for output in outputs:
                output.unlink(missing_ok=True)
            runs[name].append(run(command))
    return {name: each[1:] for name, each in runs.items()}


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of neighbouring runs."""
    return median(a / b for a, b in zip(above, below, strict=True))


def row(what: str, value: float, target: str, met: bool) -> str:
    """One line of a benchmark's report."""
    return f"{what:<66} {value:>8.2f}   target {target:<8} {'met' if met else 'MISSED'}"
