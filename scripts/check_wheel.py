"""Build the wheel, install it with the core's dependencies alone, and check what a user then gets.

mypy and import-linter cannot follow the editable install, where `specs/` is `cnnspec.specs`. So both run on
the installed wheel, from another folder. A check that cannot fail proves nothing: each then runs on mistakes
planted in the installed copy, and must report every one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = [["cnnspec", "--help"], ["cnnspec", "summary", "resnet50"]]
MYPY = ["mypy", "--strict", "-p", "cnnspec"]
IMPORTS = ["lint-imports", "--no-cache", "--no-logo"]
CHECKERS = ["mypy", "import-linter", "types-PyYAML"]
UNSHIPPED = {"__pycache__", ".ruff_cache", "ruff.toml"}  # of the tools that work on the source tree


def main() -> None:
    """Run every check; stop at the first that fails."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    with tempfile.TemporaryDirectory() as temp:
        wheel = build(Path(temp, "dist"))
        report("the wheel holds every file and no other", misplaced(wheel, config["setuptools"]))

        installed = install(wheel, Path(temp, "venv"), Path(temp, "elsewhere"))
        for command in [*COMMANDS, MYPY, IMPORTS]:
            code, output = installed.run(command)
            report(" ".join(command), output if code else "")

        installed.add_backend()
        for mistake in mistakes(config["importlinter"]["contracts"]):
            report(f"reported: {mistake.what}", mistake.overlooked(installed))


def report(check: str, problem: str) -> None:
    """Print a line for a check that holds; end the program with the problem of one that does not."""
    if problem:
        sys.exit(f"FAILED  {check}\n{problem}")
    print(f"ok      {check}", flush=True)


def execute(command: list[str | Path], folder: Path) -> tuple[int, str]:
    """Run a command, and return its exit status with all that it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def build(folder: Path) -> Path:
    """Build the source archive and, from that alone, the wheel."""
    code, output = execute([sys.executable, "-m", "build", "--outdir", folder], ROOT)
    report("python -m build", output if code else "")
    (wheel,) = folder.glob("*.whl")
    return wheel


def misplaced(wheel: Path, setuptools: dict[str, Any]) -> str:
    """Compare the wheel with the folders that it is made of, and list the differences."""
    folders = {"cnnspec": "cnnspec", **setuptools["package-dir"]}
    expected = {
        Path(*package.split("."), file.relative_to(ROOT / folder)).as_posix()
        for package, folder in folders.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and not UNSHIPPED & set(file.parts)
    }
    with zipfile.ZipFile(wheel) as archive:
        actual = {name for name in archive.namelist() if ".dist-info/" not in name}
    lines = [f"not in the wheel: {name}" for name in sorted(expected - actual)]
    lines += [f"in the wheel alone: {name}" for name in sorted(actual - expected)]
    return "\n".join([*lines, "what is shipped: [tool.setuptools] in pyproject.toml"]) if lines else ""


@dataclass(frozen=True)
class Installed:
    """An environment that holds the wheel, and a folder from which the source tree is out of reach."""

    env: Path
    folder: Path

    def run(self, command: list[str]) -> tuple[int, str]:
        """Run a program of the environment."""
        program, *arguments = command
        return execute([self.env / "bin" / program, *arguments], self.folder)

    @property
    def package(self) -> Path:
        """The folder of the installed cnnspec."""
        (package,) = self.env.glob("lib/python*/site-packages/cnnspec")
        return package

    def file(self, module: str) -> Path:
        """The installed file of a module, which may be a package."""
        path = self.package.joinpath(*module.split(".")[1:])
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def add_backend(self) -> None:
        """Add an empty backend for a mistake to import."""
        backends = self.package / "backends"
        backends.mkdir(exist_ok=True)
        for name in ["__init__.py", "planted.py"]:
            (backends / name).touch()


def install(wheel: Path, env: Path, folder: Path) -> Installed:
    """Install the wheel and the checkers in an environment of their own."""
    folder.mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    venv.create(env, with_pip=True)
    installed = Installed(env, folder)
    constraints = str(ROOT / "constraints.txt")
    code, output = installed.run(["pip", "install", "-q", "-c", constraints, str(wheel), *CHECKERS])
    report("pip install, without extras", output if code else "")
    return installed


@dataclass(frozen=True)
class Mistake:
    """A line added to an installed module, and what must then be reported."""

    what: str
    module: str
    line: str
    checker: list[str]
    expected: str

    def overlooked(self, installed: Installed) -> str:
        """Plant the mistake and run the checker: empty if that reported it."""
        with appended(installed.file(self.module), self.line):
            code, output = installed.run(self.checker)
        if code and self.expected in " ".join(output.split()):
            return ""
        return f"{self.line!r} in {self.module} should give {self.expected!r}:\n{output}"


def mistakes(contracts: list[dict[str, Any]]) -> list[Mistake]:
    """One mistake for the types, and one or more for every kind of import contract."""
    broken = {contract["type"]: f"{contract['name']} BROKEN" for contract in contracts}
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    modules = [[f"cnnspec.{name.strip(' ()')}" for name in layer.split("|")] for layer in layers]
    (top,) = modules[1]  # below the backends
    leaf, other, *_ = modules[-1]
    forbidden = [
        (contract["name"], leaf if contract["source_modules"] == ["cnnspec"] else "cnnspec.ops", package)
        for contract in contracts
        if contract["type"] == "forbidden"
        for package in contract["forbidden_modules"][-1:]
    ]
    return [
        Mistake("a wrong type", leaf, "planted: int = 'none'", MYPY, "[assignment]"),
        Mistake("an import of what is above", leaf, f"import {top}", IMPORTS, broken["layers"]),
        Mistake("an import between leaves", leaf, f"import {other}", IMPORTS, broken["layers"]),
        *(
            Mistake(f"{package} where it is forbidden", module, f"import {package}", IMPORTS, f"{name} BROKEN")
            for name, module, package in forbidden
        ),
        Mistake("a backend", "cnnspec", "import cnnspec.backends.planted", IMPORTS, broken["protected"]),
    ]


@contextmanager
def appended(file: Path, line: str) -> Iterator[None]:
    """Add a line to a file for as long as the context lasts."""
    before = file.read_text()
    file.write_text(f"{before}\n{line}\n")
    try:
        yield
    finally:
        file.write_text(before)


if __name__ == "__main__":
    main()
