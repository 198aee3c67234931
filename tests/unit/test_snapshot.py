"""Snapshots: compared as they stand, written by `pytest --update` alone."""

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TEST = """
from pathlib import Path

def test_it(snapshot):
    snapshot(Path(__file__).parent / "kept" / "text.txt", {text!r})
"""


def run(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_bytes(CONFTEST.read_bytes())
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(TEST.format(text=text))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_it.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_life_of_a_snapshot(tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "text.txt"
    missing = run(tmp_path, "one\r\n×\n")
    assert missing.returncode == 1
    assert "there is no text.txt yet: run pytest --update" in missing.stdout
    assert not kept.exists()
    assert run(tmp_path, "one\r\n×\n", "--update").returncode == 0
    assert kept.read_bytes() == "one\r\n×\n".encode()
    assert run(tmp_path, "one\r\n×\n").returncode == 0
    different = run(tmp_path, "one\n×\n")
    assert different.returncode == 1
    assert "text.txt differs" in different.stdout
    assert kept.read_bytes() == "one\r\n×\n".encode()
