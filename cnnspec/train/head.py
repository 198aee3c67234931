"""The head of a generated `train.py`: its imports, and what ends it while there is nothing to lose."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from cnnspec.spec.recipe import Recipe
from cnnspec.train.collect import merge_imports

_LOCAL = ("data", "model")
_NEEDED = ("import os", "import signal")
# An exception in the midst of an import is taken for one of the library's own, and swallowed.
_ENDS = """\
if __name__ == "__main__":  # before the first step there is nothing to keep
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(130))"""


def title(name: str, recipe: Recipe) -> str:
    """What the file does, in a line."""
    numbers = f"{recipe.optimizer.kind}, {recipe.epochs} epochs, {recipe.batch_size} images a batch"
    return f"Trains {name}: {recipe.description or numbers}"


def head(statements: Iterable[str]) -> list[str]:
    """Import statements in order; ahead of the libraries, which take seconds to come, signals are seen to."""
    standard, *others = "\n".join(merge_imports({*statements, *_NEEDED}, _LOCAL)).split("\n\n")
    return ["\n\n".join([standard, _ENDS, *others])]


def imported(name: str, other: str, texts: Iterable[str]) -> tuple[str, str]:
    """What imports the network, and what it is then called: `other` where one of the file's `texts` has its name."""
    taken: set[str] = set()
    for node in ast.walk(ast.parse("\n".join(texts))):
        match node:
            case ast.Name(id=found) | ast.arg(arg=found) | ast.FunctionDef(name=found) | ast.ClassDef(name=found):
                taken.add(found)
            case ast.alias(name=found, asname=own):
                taken.add(own or found.partition(".")[0])
    if name not in taken:
        return f"from model import {name}", name
    return f"from model import {name} as {other}", other
