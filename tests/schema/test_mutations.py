"""Every spec of the zoo, spoilt in one place: the schema refuses it if and only if cnnspec does.

That cnnspec refuses more is expected where the structure of one file does not tell: the schema cannot know
which names are blocks, what their arguments are called, or which options `defaults:` supplies.
"""

import copy
import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cnnspec.diagnostics import Diagnostic, Report
from cnnspec.ops import OPS
from cnnspec.source import plain, read_file
from cnnspec.spec.locate import zoo_folder
from cnnspec.spec.words import STRUCTURES

Check = Callable[[Any], list[Diagnostic]]
Place = tuple[str | int, ...]

ZOO = sorted(zoo_folder().glob("*.yaml"), key=lambda path: (path.stat().st_size, path.name))  # small ones first
SECTIONS = {"defaults", "blocks", "outputs", "preprocess", "transfer", "train", "cases", "features", "input"}
NAMING = {
    *OPS,
    "params",
    "let",
    "each",
    "rows",
    "blocks",
    "outputs",
    "args",
    "learning_rate",
    "unfreeze",
    "replace",
}
STRUCTURAL = {"unknown-key", "missing-key", "bad-layer", "two-kinds"}


def read(path: Path) -> Any:
    node = read_file(path, path.name, Report())
    assert node is not None
    return plain(node)


def keys(at: Any, place: Place = ()) -> Iterator[Place]:
    """The place of every key of a spec."""
    if isinstance(at, dict):
        for key, value in at.items():
            yield (*place, key)
            yield from keys(value, (*place, key))
    elif isinstance(at, list):
        for number, item in enumerate(at):
            yield from keys(item, (*place, number))


CHANGES = ("drop", "misspell")


def mutant(spec: Any, change: str, place: Place) -> Any:
    """The spec with one key dropped, or misspelt in its place."""
    spoilt = copy.deepcopy(spec)
    inner = spoilt
    for step in place[:-1]:
        inner = inner[step]
    last = str(place[-1])
    entries = list(inner.items())
    inner.clear()
    for key, value in entries:
        if key != last:
            inner[key] = value
        elif change == "misspell":
            inner[key + key[-1]] = value
    return spoilt


def shape(place: Place, spec: Any) -> tuple[str, ...]:
    """A key and what it stands in: two such places are judged alike, whichever network they are in."""
    inner, owner = spec, ""
    for step in place[:-1]:
        inner = inner[step]
        if isinstance(inner, dict):
            owner = next((key for key in inner if key in OPS or key in STRUCTURES), step if step in SECTIONS else owner)
    free = len(place) > 1 and place[-2] in NAMING
    return (owner, "a name" if free else str(place[-1]))


def judged(found: list[Diagnostic]) -> bool:
    """Whether one of the diagnostics is about what the schema knows."""
    for d in found:
        owner = re.match(r"`(\w+)` (needs|has no option)", d.message)
        block_option = owner and owner[2] == "has no option" and owner[1] not in {*OPS, *STRUCTURES}
        default_option = owner and owner[2] == "needs" and owner[1] in OPS
        if d.slug in STRUCTURAL and not block_option and not default_option:
            return True
    return False


def compare(validator: Draft202012Validator, check: Check, cases: list[tuple[str, Place, Any]]) -> int:
    """Judge the mutants twice; returns how many both refuse."""
    both = 0
    for change, place, spec in cases:
        found = check(spec)
        valid = validator.is_valid(spec)
        about = f"{change} {'.'.join(map(str, place))}: {[f'{d.slug}: {d.message}' for d in found]}"
        assert valid or found, f"the schema alone refuses: {about}"
        assert not (valid and judged(found)), f"cnnspec alone refuses: {about}"
        both += not valid
    return both


def test_new_places(validator: Draft202012Validator, check: Check) -> None:
    """Each kind of place once, in the first spec that has it."""
    seen: set[tuple[str, ...]] = set()
    cases = []
    for path in ZOO:
        spec = read(path)
        for change, place in product(CHANGES, keys(spec)):
            kind = (change, *shape(place, spec))
            if kind not in seen:
                seen.add(kind)
                cases.append((change, place, mutant(spec, change, place)))
    assert compare(validator, check, cases) > 100


@pytest.mark.slow
@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_every_place(validator: Draft202012Validator, check: Check, path: Path) -> None:
    spec = read(path)
    cases = [(change, place, mutant(spec, change, place)) for change, place in product(CHANGES, keys(spec))]
    assert compare(validator, check, cases) > 0
