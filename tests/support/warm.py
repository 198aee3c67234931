"""Python scripts in processes of their own that have PyTorch from the start: it takes three seconds to import.

They are forked from a process that did nothing but import it, and what its optimizers import. A script that lacks an
import of a submodule would not be found out here: tests that run the command line start Python itself.
"""

import os
import resource
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@cache
def _context() -> Any:
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "grain", "tqdm"])  # the second one for optimizers
    return context


class Script:
    """A script that runs; the part of `subprocess.Popen` that tests use, with texts for its outputs.

    With `file_size` it cannot write larger files than of so many bytes, as on a disk that is full.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], file_size: int | None = None
    ) -> None:
        self._said = [Path(name) for name in (_file(), _file())]
        arguments = (list(command), cwd, dict(env), self._said, file_size)
        self._process = _context().Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        status: int | None = self._process.exitcode
        return status

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        """Wait until it ends; all that it said. Raises `TimeoutError` where that takes more than so many seconds."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            self._process.join()
            raise TimeoutError(f"no end within {timeout} s")
        texts = [path.read_text() for path in self._said]
        for path in self._said:
            path.unlink()
        return texts[0], texts[1]


def _file() -> str:
    number, name = tempfile.mkstemp(prefix="said-")
    os.close(number)
    return name


def _run(command: list[str], cwd: Path, env: dict[str, str], said: list[Path], file_size: int | None) -> None:
    """In the new process: what `python SCRIPT ARGUMENTS` does."""
    for number, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).parent))
    runpy.run_path(command[0], run_name="__main__")
