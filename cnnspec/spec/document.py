"""A spec, read and validated, with its parameters set: what expansion starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnnspec.diagnostics import Report, Span
from cnnspec.expr import Value
from cnnspec.ops import Shape
from cnnspec.source import Mapping, Node, Scalar
from cnnspec.spec.layers import Arg, Block, Body, OutputDef
from cnnspec.spec.parser import Parser

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe
    from cnnspec.spec.sections import PreprocessSection
    from cnnspec.spec.transfer import Transfer

Changes = dict[str, Node]
"""Sections by name."""


@dataclass(slots=True)
class Spec:
    """One network. `values` holds its parameters, as they are set, and what `let` makes of them."""

    name: str
    root: Mapping
    parser: Parser
    input: Shape
    input_span: Span
    params: dict[str, Value]
    values: dict[str, Value]
    let: dict[str, Arg]
    blocks: dict[str, Block]
    body: Body
    outputs: list[OutputDef]
    cite: str = ""
    description: str = ""
    preprocess: PreprocessSection | None = None
    labels: list[str] | None = None
    files: list[Path] = field(default_factory=list)
    recipe_reader: Callable[[Report, str, Changes], Recipe | None] = lambda report, reference, changes: None
    transfer_reader: Callable[[Report], Transfer | None] = lambda report: None
    _recipe: Recipe | None = None
    _transfer: Transfer | None = None
    _transfer_read: bool = False

    def newer(self, span: Span, other: Span) -> bool:
        """Whether `span` lies in a file that extends, directly or not, the one with `other`."""
        return _age(span, self.files) < _age(other, self.files)

    def read_recipe(self, report: Report, reference: str = "", changes: Changes | None = None) -> Recipe | None:
        """The training recipe of the `train` section, or the one called `reference`; what is wrong goes to `report`.

        `changes` are sections that take the place of its own. A recipe is read when it is asked for: what does not
        train need not pay for it, nor fail for its mistakes.
        """
        return self.recipe_reader(report, reference, changes or {})

    def with_sections(self, sections: Changes) -> Spec:
        """The same spec with other text for some of its sections; what was read from them stays."""
        entries = {key: (Scalar(key, key, node.span), node) for key, node in sections.items()}
        return replace(self, root=Mapping(self.root.entries | entries, self.root.span))

    def read_transfer(self, report: Report) -> Transfer | None:
        """The transfer section, read once, when it is asked for; what is wrong goes to `report`."""
        if not self._transfer_read:
            self._transfer_read = True
            self._transfer = self.transfer_reader(report)
        return self._transfer

    @property
    def transfer(self) -> Transfer | None:
        """The transfer section, if there is one. Raises `SpecError` with its mistakes."""
        report = Report()
        transfer = self.read_transfer(report)
        report.raise_errors()
        return transfer

    @property
    def recipe(self) -> Recipe | None:
        """The training recipe of the `train` section, if there is one. Raises `SpecError` with its mistakes."""
        if self._recipe is None:
            report = Report()
            self._recipe = self.read_recipe(report)
            report.raise_errors()
        return self._recipe


def _age(span: Span, files: list[Path]) -> int:
    """How many files lie over the one of `span`: -1 for what no file says, the command line's."""
    path = span.source.path
    return files.index(path.resolve()) if path and path.resolve() in files else -1
