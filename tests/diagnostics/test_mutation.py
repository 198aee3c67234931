"""Networks of the zoo, damaged at random: whatever comes of it, it is a list of located mistakes, soon.

A mutation works on the text (lines, tokens, characters, indentation) or on the tree (values, keys, subtrees). The same
examples every time, so that a failure is one of the change at hand.
"""

from __future__ import annotations

import copy
import math
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import fast_yaml
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from located import WellFormed

import cnnspec
from cnnspec.diagnostics import Diagnostic, Source, Span, SpecError
from cnnspec.spec.locate import zoo_folder

EXAMPLES = 1100  # of each of the two kinds
SECONDS = 10
LAYERS = 3000  # more than any network of the zoo has; mutations of `repeat` should not take the time of 100,000

DEEP = [
    "googlenet_torchvision", "inception_resnet_v2", "inception_v2", "inception_v3", "inception_v3_keras", "inception_v4",
    "resnet101", "resnet101_keras", "resnet152", "resnet152_keras", "resnet50_keras", "se_resnet50", "xception",
]  # fmt: skip
"""They take most of the time; the default run has most of their families."""
NAMES = [
    pytest.param([name for name in cnnspec.zoo() if name not in DEEP], id="zoo"),
    pytest.param(DEEP, id="deep", marks=pytest.mark.slow),
]

_SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # shrinking takes minutes; the failing text is in the message
    suppress_health_check=list(HealthCheck),
)


@cache
def text_of(name: str) -> str:
    return (zoo_folder() / f"{name}.yaml").read_text()


# ---- the text

_TOKENS = re.compile(r"[\w$.]+|[ \t]+|\n|.")
_JUNK = [
    *"{}[]:,-#&*!|>'\"%@`?~$\\\t\0\x07\x85\u2028é×🦊",
    "\r\n",
    "- ",
    ": ",
    "$x",
    "${x}",
    "<<: ",
    "---\n",
    "*a ",
    "&a ",
]

TextEdit = Callable[[str, float, str], str]


def _cut(pieces: list[str], at: float) -> int:
    return min(int(at * len(pieces)), len(pieces) - 1)


def _on_pieces(split: Callable[[str], list[str]], change: Callable[[list[str], int, str], None]) -> TextEdit:
    def edit(text: str, at: float, junk: str) -> str:
        pieces = split(text)
        if pieces:
            change(pieces, _cut(pieces, at), junk)
        return "".join(pieces)

    return edit


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _delete(pieces: list[str], i: int, junk: str) -> None:
    del pieces[i]


def _duplicate(pieces: list[str], i: int, junk: str) -> None:
    pieces.insert(i, pieces[i])


def _swap(pieces: list[str], i: int, junk: str) -> None:
    pieces[i], pieces[i - 1] = pieces[i - 1], pieces[i]


def _replace(pieces: list[str], i: int, junk: str) -> None:
    pieces[i] = junk


def _insert(pieces: list[str], i: int, junk: str) -> None:
    pieces.insert(i, junk)


def _indent(pieces: list[str], i: int, junk: str) -> None:
    pieces[i] = " " + pieces[i]


def _outdent(pieces: list[str], i: int, junk: str) -> None:
    pieces[i] = pieces[i].removeprefix("  ")


def _truncate(pieces: list[str], i: int, junk: str) -> None:
    del pieces[i:]


TEXT_EDITS: list[TextEdit] = [
    *(
        _on_pieces(split, change)
        for split in (_lines, _TOKENS.findall, list)
        for change in (_delete, _duplicate, _swap)
    ),
    *(_on_pieces(split, change) for split in (_TOKENS.findall, list) for change in (_replace, _insert)),
    *(_on_pieces(_lines, change) for change in (_indent, _outdent, _truncate)),
]

text_mutations = st.lists(
    st.tuples(st.sampled_from(TEXT_EDITS), st.floats(0, 1, exclude_max=True), st.sampled_from(_JUNK)),
    min_size=1,
    max_size=4,
)

# ---- the tree

_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 10**6, 2**31, 10**30, -(10**18), 0.5, -0.0, 1e-300, 1e308, math.nan, math.inf,
    "", " ", "relu", "conv", "none", "auto", "same", "half", "previous", "input", "required", "ünïcode", "🦊", "a.b", "1/255",
    "a" * 2000, "$", "$i", "$classes", "$classes * 2", "$classes / 0", "$in_channels", "$nothing", "max($classes, $i)",
    "$classes[0]", "-" * 290 + "$i", "layer$i", "no", "0x10", "1_000", "2024-01-01", "!!int 3",
    [], {}, [[]], [{}], [1, 2], [0, 0], [1, 2, 3], ["$i", 2], ["relu", "relu"], {"conv": 8, "kernel": 3}, {"a": {}}, {"": 1},
    [{"conv": 8, "kernel": 3}], [{"residual": {"body": ["relu"]}}], {"batch_norm": {"momentum": 0.1}}, [["relu"]],
]  # fmt: skip
_KEYS = [
    "conv",
    "kernel",
    "layers",
    "name",
    "from",
    "repeat",
    "if",
    "first",
    "residual",
    "x",
    "",
    "$i",
    "🦊",
    "a.b",
    "1",
    "<<",
]

Tree = Any
TreeEdit = Callable[[Tree, list[tuple[Any, Any]], int, int, Any], None]


def _places(tree: Tree) -> Iterator[tuple[Any, Any]]:
    """Every container and key or index below `tree`."""
    todo = [tree]
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            yield node, key
            if isinstance(node[key], dict | list):
                todo.append(node[key])


def _set(tree: Tree, places: list[tuple[Any, Any]], i: int, j: int, value: Any) -> None:
    node, key = places[i]
    node[key] = copy.deepcopy(value)


def _remove(tree: Tree, places: list[tuple[Any, Any]], i: int, j: int, value: Any) -> None:
    node, key = places[i]
    del node[key]


def _rename(tree: Tree, places: list[tuple[Any, Any]], i: int, j: int, value: Any) -> None:
    node, key = places[i]
    if isinstance(node, dict):
        entries = [(_KEYS[j % len(_KEYS)] if k == key else k, v) for k, v in node.items()]
        node.clear()
        node.update(entries)


def _alias(tree: Tree, places: list[tuple[Any, Any]], i: int, j: int, value: Any) -> None:
    """The same subtree in a second place; inside itself too."""
    (node, key), (other, other_key) = places[i], places[j % len(places)]
    node[key] = other[other_key]


def _move(tree: Tree, places: list[tuple[Any, Any]], i: int, j: int, value: Any) -> None:
    (node, key), (other, other_key) = places[i], places[j % len(places)]
    node[key], other[other_key] = other[other_key], node[key]


def _wrap(tree: Tree, places: list[tuple[Any, Any]], i: int, j: int, value: Any) -> None:
    node, key = places[i]
    node[key] = [node[key]] if j % 2 else {_KEYS[j % len(_KEYS)]: node[key]}


def _repeat(tree: Tree, places: list[tuple[Any, Any]], i: int, j: int, value: Any) -> None:
    node, key = places[i]
    if isinstance(node, list):
        node.extend([node[key]] * 3)


TREE_EDITS: list[TreeEdit] = [_set, _set, _set, _remove, _rename, _alias, _move, _wrap, _repeat]

tree_mutations = st.lists(
    st.tuples(
        st.sampled_from(TREE_EDITS), st.floats(0, 1, exclude_max=True), st.integers(0, 10**4), st.sampled_from(_VALUES)
    ),
    min_size=1,
    max_size=3,
)


def mutate_tree(name: str, mutations: list[tuple[TreeEdit, float, int, Any]]) -> str:
    tree = fast_yaml.load(text_of(name))
    for edit, at, other, value in mutations:
        places = list(_bounded_places(tree))
        if places:
            edit(tree, places, int(at * len(places)), other, value)
    return fast_yaml.dump(tree, width=100)


def _bounded_places(tree: Tree) -> Iterator[tuple[Any, Any]]:
    """As many places as a tree that contains itself should show."""
    for number, place in enumerate(_places(tree)):
        if number > 5000:
            return
        yield place


# ---- what must hold


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def diagnose(text: str, path: Path) -> list[Diagnostic]:
    """The mistakes in `text`; a text without any must have a summary."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with time_limit(SECONDS):
        found = cnnspec.check(path)
        if not any(d.severity == "error" for d in found):
            cnnspec.load(path).summary().to_json()
    return found


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnnspec.graph.scope.MAX_LAYERS", LAYERS)
        patch.setattr(sys.modules["cnnspec.graph.expand"], "MAX_LAYERS", LAYERS)  # the package hides it by a function
        yield tmp_path_factory.mktemp("mutation") / "spec.yaml"


def hold(text: str, scratch: Path, well_formed: WellFormed) -> None:
    try:
        well_formed(diagnose(text, scratch))
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n----\n{text[:20_000]}") from error


@pytest.mark.parametrize("names", NAMES)
@given(data=st.data(), mutations=text_mutations)
@_SETTINGS
def test_damaged_text(
    names: list[str], scratch: Path, well_formed: WellFormed, data: st.DataObject, mutations: list[Any]
) -> None:
    text = text_of(data.draw(st.sampled_from(names)))
    for edit, at, junk in mutations:
        text = edit(text, at, junk)
    hold(text, scratch, well_formed)


@pytest.mark.parametrize("names", NAMES)
@given(data=st.data(), mutations=tree_mutations)
@_SETTINGS
def test_damaged_tree(
    names: list[str], scratch: Path, well_formed: WellFormed, data: st.DataObject, mutations: list[Any]
) -> None:
    hold(mutate_tree(data.draw(st.sampled_from(names)), mutations), scratch, well_formed)


_SETTINGS_GIVEN = [
    "", " ", "0", "-1", "1", "3", "1.5", "1e999", ".nan", "true", "null", "relu", "required", "[1, 2", "[]", "[1, 2, 3]",
    "[[1], 2]", "{a: 1}", "$classes", "$", "a: b", "*x", "!!int 3", "\0", "\n", "é", "9" * 30, "9" * 500, "a" * 10_000,
]  # fmt: skip
_NAMES_GIVEN = ["classes", "depths", "input.size", "input.channels", "input", "nothing", "", "x" * 300, "a=b", "\n"]


@given(
    st.sampled_from(cnnspec.zoo()),
    st.dictionaries(st.sampled_from(_NAMES_GIVEN), st.sampled_from(_SETTINGS_GIVEN), min_size=1, max_size=2),
    st.sampled_from(["", "small_similar", "nothing", "\x1b"]),
)
@settings(_SETTINGS, max_examples=300)
def test_any_settings(scratch: Path, well_formed: WellFormed, name: str, given: dict[str, str], case: str) -> None:
    found: list[Diagnostic] = []
    with time_limit(SECONDS):
        try:
            cnnspec.load(name, params=given, transfer=case).summary().to_json()
        except SpecError as error:
            found = error.diagnostics or pytest.fail("an error without a reason")
    well_formed(found)


# ---- the guards can fail


def test_time_limit_rings() -> None:
    with pytest.raises(TimeoutError), time_limit(0.05):
        while True:
            pass


def test_exceptions_are_failures(scratch: Path, well_formed: WellFormed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnnspec, "check", lambda _: 1 // 0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        hold("name: x", scratch, well_formed)


def test_mutations_do_damage(scratch: Path) -> None:
    """The two tests above must not pass because nothing was wrong."""
    broken = 0
    for k in range(50):
        text = text_of("resnet18")
        for edit in (TEXT_EDITS[k % len(TEXT_EDITS)], TEXT_EDITS[7 * k % len(TEXT_EDITS)]):
            text = edit(text, k / 50, _JUNK[k % len(_JUNK)])
        broken += bool(diagnose(text, scratch))
    for k in range(50):
        edits = [(TREE_EDITS[k % len(TREE_EDITS)], k / 50, 31 * k, _VALUES[k % len(_VALUES)])]
        broken += bool(diagnose(mutate_tree("resnet18", edits), scratch))
    assert broken > 50


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 9)])
def test_span_outside_of_its_source_is_a_failure(well_formed: WellFormed, start: int, end: int) -> None:
    with pytest.raises(AssertionError):
        well_formed([Diagnostic("bad-value", "wrong", Span(Source("spec.yaml", "abcd"), start, end))])
