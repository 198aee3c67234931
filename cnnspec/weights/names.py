"""What a framework's own networks call the layers of ours: name maps, kept in `weights/` beside the specs.

A map names the networks that it is for, and lists rules, `pattern: name`. Every rule is tried on every layer, from the
top, and renames those that match it whole; the next rules see the new name. A layer that no rule renames has one name
on both sides. In a pattern `<x>` is any text. In a name it is that text, `<x+1>` a number and one more, `<#>` the
number of the layer among those that the rule renames, and `<_#>` that number as Keras adds it to what it has to name
itself: nothing, then `_1`, `_2`. `sums: reversed` says that the network's sums have their terms the other way round,
which nothing but the order of its layers shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cnnspec.diagnostics import Report
from cnnspec.graph import Graph, build_graph
from cnnspec.source import Mapping, Node, Scalar, Sequence, read_file
from cnnspec.spec.loader import load_spec
from cnnspec.spec.locate import zoo_folder
from cnnspec.weights.contract import contract

_HOLE = re.compile(r"<(_?#|[a-z]+)([+-]\d+)?>")


@dataclass(frozen=True, slots=True)
class LayerNames:
    """What each layer is called; `numbered` holds the names that Keras numbers as it goes, without the number."""

    names: dict[str, str]
    numbered: frozenset[str] = field(default_factory=frozenset)
    sums_reversed: bool = False

    def __getitem__(self, path: str) -> str:
        return self.names.get(path, path)


def own_names() -> LayerNames:
    """The layers' paths: how the code that is built from a spec calls them."""
    return LayerNames({})


def mapped_names(graph: Graph, framework: str) -> LayerNames | None:
    """The names that `framework`'s own network has; None where there is no map for this one.

    A map for a spec that this one extends, or is a copy of, will do. Raises `SpecError` for a map that cannot be read.
    """
    report = Report()
    for file in (*graph.spec.files, *_copied(graph)):
        for path in sorted(file.parent.glob(f"weights/*.{framework}.yaml")):
            root = read_file(path, path.name, report)
            report.raise_errors()
            if file.stem in _networks(root):
                return replace(_apply(_rules(root, report), graph), sums_reversed=_has_reversed_sums(root))
    return None


def _copied(graph: Graph) -> Iterator[Path]:
    """The network of the zoo that has this one's name, if it has the same layers."""
    file = zoo_folder().resolve() / f"{graph.spec.name}.yaml"
    if file in graph.spec.files or not file.is_file():
        return
    report = Report()
    spec = load_spec(str(file), {}, report)
    other = build_graph(spec, report) if spec else None
    if other and contract(other).keys() == contract(graph).keys():
        yield file


def mapped_networks(graph: Graph, framework: str) -> list[str]:
    """The networks that there are maps for, beside this one and in the zoo."""
    folders = dict.fromkeys(file.parent for file in graph.spec.files)
    maps = [path for folder in folders for path in folder.glob(f"weights/*.{framework}.yaml")]
    return sorted(name for path in maps for name in _networks(read_file(path, path.name, Report())))


def _networks(root: Node | None) -> list[str]:
    networks = root.get("networks") if isinstance(root, Mapping) else None
    return [item.text for item in networks.items if isinstance(item, Scalar)] if isinstance(networks, Sequence) else []


def _has_reversed_sums(root: Node | None) -> bool:
    sums = root.get("sums") if isinstance(root, Mapping) else None
    return isinstance(sums, Scalar) and sums.text == "reversed"


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    name: str

    def rename(self, match: re.Match[str], number: int) -> str:
        def fill(hole: re.Match[str]) -> str:
            what, plus = hole.groups()
            if what == "#":
                return str(number)
            if what == "_#":
                return f"_{number}" if number else ""
            return str(int(match[what]) + int(plus)) if plus else match[what]

        return _HOLE.sub(fill, self.name)


def _rules(root: Node | None, report: Report) -> list[_Rule]:
    layers = root.get("layers") if isinstance(root, Mapping) else None
    if not isinstance(layers, Mapping):
        assert root, "what is read without an error is a tree"
        report.add("bad-value", "a name map has `layers`, a mapping from patterns to names", root.span)
        report.raise_errors()
        return []
    rules = list(_read_rules(layers, report))
    report.raise_errors()
    return rules


def _read_rules(layers: Mapping, report: Report) -> Iterator[_Rule]:
    for pattern, (key, name) in layers.entries.items():
        if not isinstance(name, Scalar) or not name.text:
            report.add("bad-value", f"the name for `{pattern}` is text", name.span)
            continue
        counted = {what for what, plus in _HOLE.findall(name.text) if plus}
        known = {what for what, _ in _HOLE.findall(pattern)}
        if unknown := {what for what, _ in _HOLE.findall(name.text)} - known - {"#", "_#"}:
            report.add("bad-value", f"`{pattern}` has no `<{min(unknown)}>`", name.span)
        elif not (known.isdisjoint({"#", "_#"}) and _is_once(pattern)):
            report.add("bad-value", "a pattern has holes of different names, and no `<#>`", key.span)
        else:
            yield _Rule(_compile(pattern, counted), name.text)


def _is_once(pattern: str) -> bool:
    holes = [what for what, _ in _HOLE.findall(pattern)]
    return len(holes) == len(set(holes)) and not any(plus for _, plus in _HOLE.findall(pattern))


def _compile(pattern: str, counted: set[str]) -> re.Pattern[str]:
    """The pattern; what is `counted` on in the name has to be a number."""
    text, end = "", 0
    for hole in _HOLE.finditer(pattern):
        text += re.escape(pattern[end : hole.start()])
        text += f"(?P<{hole[1]}>{'[0-9]+' if hole[1] in counted else '.+?'})"
        end = hole.end()
    return re.compile(text + re.escape(pattern[end:]))


def _apply(rules: list[_Rule], graph: Graph) -> LayerNames:
    names = {node.path: node.path for node in graph.nodes}
    for rule in rules:
        number = 0
        for path, name in names.items():
            if match := rule.pattern.fullmatch(name):
                names[path] = rule.rename(match, number)
                number += 1
    numbered = frozenset(rule.name.removesuffix("<_#>") for rule in rules if rule.name.endswith("<_#>"))
    return LayerNames(names, numbered)
