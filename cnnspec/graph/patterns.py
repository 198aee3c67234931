"""Layers by their paths, looked up by patterns.

A pattern is a path whose components may contain `*`, `?` and `[...]`; it covers the layers that it matches and
everything below them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import cached_property

from cnnspec.graph.model import Node
from cnnspec.graph.scope import MAX_PATH

MAX_MATCHES = 2_000_000
_COMPILING = 20  # what reading a character of a pattern costs, in matches
_WILD = re.compile(r"[*?[]")


class TooMany(Exception):
    """The patterns and the paths are too many to compare."""


class _Branch:
    """What lies below one path: the next components, and all layers."""

    __slots__ = ("below", "layers")

    def __init__(self) -> None:
        self.below: dict[str, _Branch] = {}
        self.layers: list[str] = []


class Paths:
    """The paths of `nodes` as a tree, in which a pattern is compared once with what many layers share."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._root = _Branch()
        self._left = MAX_MATCHES
        for node in nodes:
            at = self._root
            for step in node.path.split("."):
                if step not in at.below:
                    at.below[step] = _Branch()
                at = at.below[step]
                at.layers.append(node.path)

    def matching(self, pattern: str) -> set[str]:
        """The layers that `pattern` covers. Raises `TooMany` where all patterns together ask for too much."""
        if len(pattern) > MAX_PATH:  # no path is that long
            return set()
        found = [self._root]
        for step in pattern.split("."):
            found = self._next(found, step)
        self._spend(sum(len(branch.layers) for branch in found))
        return {path for branch in found for path in branch.layers}

    def below(self, roots: Iterable[str]) -> set[str]:
        """The layers at these paths, and below them."""
        covered: set[str] = set()
        for root in roots:
            found = [self._root]
            for step in root.split("."):
                found = [branch.below[step] for branch in found if step in branch.below]
            covered.update(path for branch in found for path in branch.layers)
        return covered

    @cached_property
    def tops(self) -> set[str]:
        """Paths of one component or two."""
        return {top for first, at in self._root.below.items() for top in (first, *(f"{first}.{n}" for n in at.below))}

    def _next(self, found: list[_Branch], step: str) -> list[_Branch]:
        """What the component `step` of a pattern leads to."""
        if not _WILD.search(step):
            self._spend(len(found))
            return [branch.below[step] for branch in found if step in branch.below]
        self._spend(_COMPILING * len(step) + sum(len(branch.below) for branch in found))
        matches = re.compile(translate(step)).match
        return [below for branch in found for name, below in branch.below.items() if matches(name)]

    def _spend(self, matches: int) -> None:
        self._left -= matches
        if self._left < 0:
            raise TooMany(f"comparing these patterns with the layers' paths takes more than {MAX_MATCHES:,} steps")
