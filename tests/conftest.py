"""What all tests share: a cache, snapshots, refreshed by `pytest --update`, and what frameworks read at start."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Networks here are small, and two processes share the processors: threads that wait for each other take longer than
# one does alone. Keras has XLA compile each convolution in groups anew, which is worth no optimisation for one use.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

Command = Callable[..., tuple[int, str, str]]
Snapshot = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write snapshots anew instead of comparing with them")


def pytest_collection_finish() -> None:
    """Modules of frameworks and thousands of tests are never garbage: whoever looks for some need not look there."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is cached, features of frozen layers most of all, is neither found in the user's cache nor left there."""
    users = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    fonts = os.environ.get("MPLCONFIGDIR", str(users / "matplotlib"))  # which take long to find
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", fonts)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process: exit code, output, errors."""
    from cnnspec.cli import main

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return (end.value.code, *capsys.readouterr())  # type: ignore[return-value]  # a number, or None for 0

    return run


@pytest.fixture
def snapshot(request: pytest.FixtureRequest) -> Snapshot:
    """A function that compares text with the file at a path; with `--update` it writes the file."""
    update = request.config.getoption("--update")

    def compare(path: Path, text: str) -> None:
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        assert path.exists(), f"there is no {path.name} yet: run pytest --update and read what it writes"
        assert text == path.read_bytes().decode(), f"{path.name} differs; if the new text is right: pytest --update"

    return compare
