"""What tools for Python say of generated files; nothing, if all is well."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

OWN = ("model", "data", "train")
"""Files of one folder, which import each other."""


def ruff_says(folder: Path, *rules: str, ignore: str = "") -> str:
    """Of all files below a folder, by the defaults of linter and formatter, and by further rules."""
    further = ["--extend-select", ",".join(rules)] if rules else []
    further += ["--ignore", ignore] if ignore else []
    return _says(folder, "ruff", "check", "--isolated", *further, ".") + _says(
        folder, "ruff", "format", "--isolated", "--diff", "."
    )


def mypy_says(
    folders: Iterable[Path], place: Path, names: Iterable[str] = ("train",), *, imports: str = "silent"
) -> str:
    """Of files in folders, all at once below `place`: to read the types of a framework takes longer than these do.

    With `imports="skip"` they are not read, and what comes from there may be anything.
    """
    files = []
    place.mkdir()
    for number, folder in enumerate(sorted(folders)):
        for name in OWN:
            if (path := folder / f"{name}.py").is_file():
                text = re.sub(
                    rf"^from ({'|'.join(OWN)}) import", rf"from \1_{number} import", path.read_text(), flags=re.M
                )
                made = place / f"{name}_{number}.py"
                made.write_text(f"{text}# {folder.name}\n")
                files += [made.name] if name in names else []
    assert files
    options = ["--config-file=", "--ignore-missing-imports", f"--follow-imports={imports}"]
    options += ["--disable-error-code=var-annotated"] if imports == "skip" else []  # what says its type was skipped
    return _says(place, "mypy", *options, *files)


def _says(folder: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""
