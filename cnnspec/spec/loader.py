"""Reads a spec: the file and what it extends or uses, its parameters, then every section, with all mistakes at once."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cnnspec.diagnostics import Label, Report, Span, did_you_mean, nearest
from cnnspec.expr import Exhausted, ExprError, Value, evaluate, show
from cnnspec.ops import Maps, Shape
from cnnspec.source import Mapping, Node, Scalar, Sequence, locate
from cnnspec.spec.document import Changes, Spec
from cnnspec.spec.extends import read_extended
from cnnspec.spec.layers import (
    Block,
    Body,
)
from cnnspec.spec.libraries import read_blocks, read_libraries, recursive
from cnnspec.spec.locate import find
from cnnspec.spec.parameters import ParameterReader, Wrong, set_span
from cnnspec.spec.parser import Parser
from cnnspec.spec.problems import listed
from cnnspec.spec.sections import InputSection, PreprocessSection
from cnnspec.spec.values import describe, is_null
from cnnspec.spec.version import LANGUAGE, check_version
from cnnspec.spec.words import TOP_LEVEL

_NEEDED = {"cnnspec": LANGUAGE, "name": "my_net", "input": "{channels: 3, size: 224}", "layers": "[...]"}

_SURE = {
    "unknown-key", "unknown-op", "bad-value", "bad-name", "bad-layer", "two-kinds", "nested-structure", "bad-expression"
}  # fmt: skip
"""What is wrong with a file whatever it extends; the rest may be made good by what is inherited."""

_SIZE = "`size` is one number, or [height, width]"
_SIZE_HINTS = {"height": _SIZE, "width": _SIZE, "shape": "write `channels` and `size`, without the batch"}
_MAX_CHANNELS = 4  # of an image whose extents are in an order that is not said

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe
    from cnnspec.spec.transfer import Transfer


def load_spec(
    reference: str, overrides: Dict[str, Any], report: Report, *, transfer: Report | None = None
) -> Spec | None:
    """The spec at a path or of the zoo, with parameters set to `overrides` (text as on the command line, or values).

    A transfer section is read when it is asked for, or now if there is a report for what is wrong with it.

    Returns None where `report` got an error that leaves nothing to expand; other errors leave a spec that can still be
    expanded to find more.
    """
    path = find(reference, report)
    if path is None:
        return None
    files: list[Path] = []
    root = read_extended(path, _shown(path, reference), report, files)
    if root is None:
        return None
    if root.get("extends") and len(files) == 1:  # what it extends was not found
        own = Report()
        _Loader(root, own, files, partial=True).spec(overrides, own if transfer else None)
        report.extend(d for d in own.diagnostics if d.slug in _SURE)
        return None
    return _Loader(root, report, files).spec(overrides, transfer)


def _shown(path: Path, reference: str) -> str:
    return reference if Path(reference) == path else path.name


class _Loader(ParameterReader):
    """Reads the whole file; one that is `partial` says more elsewhere."""

    def __init__(self, root: Mapping, report: Report, files: list[Path], partial: bool = False) -> None:
        super().__init__(root, report, files)
        self.partial = partial
        self.set_channels = False

    def spec(self, overrides: Dict[str, Any], transfer: Report | None) -> Spec | None:
        root, report = self.root, self.report
        self._header()
        self.set_channels = "input.channels" in overrides
        params = self.params(overrides)
        blocks: dict[str, Block] = {}
        parser = Parser(report, self.known, blocks)
        let = parser.let(root.get("let"), frozenset(self.known))
        values = dict(params)
        parser.given = {name: values[name] for name in overrides if name in values}
        for name, arg in let.items():
            try:
                if not arg.broken:
                    values[name] = evaluate(arg.expr, values, self.meter)
            except ExprError as error:
                parser.expression_error(error, arg.node)
                if isinstance(error, Exhausted):
                    report.raise_errors()
        self.known |= let.keys()
        parser.globals = frozenset(self.known)
        parser.incomplete = not read_libraries(root.get("use"), blocks, self.files[0].parent, report) or self.partial
        parser.read_defaults(root.get("defaults"))
        read_blocks(root.get("blocks"), parser)
        size = self._input(values, overrides)
        layers = root.get("layers")
        scope = parser.globals | {"in_channels"}
        start = Span(root.span.source, root.span.start, root.span.start)
        body = Body([], root.span, True)
        if layers is not None:
            body = parser.body(layers, scope, named=True, inside="`layers`", owner=root.key("layers").span)
        outputs = []
        for name, (key, node) in self.mapping("outputs"):
            if output := parser.read_output(name, key, node, scope):
                outputs.append(output)
        spec = Spec(
            name=self.text("name") or self.files[0].stem,
            root=root,
            parser=parser,
            input=size or Maps(1, 1, 1),
            input_span=locate(root, ["input"]) if root.get("input") else start,
            params=params,
            values=values,
            let=let,
            blocks=blocks,
            body=body,
            outputs=outputs,
            cite=self.text("cite"),
            description=self.text("description"),
            files=self.files,
        )
        self._sections(spec, known_input=size is not None)
        if transfer:
            spec.read_transfer(transfer)
        return spec if size and layers is not None and not recursive(blocks, report) else None

    def _header(self) -> None:
        root, report = self.root, self.report
        meant = set()
        for key in root.entries:
            if key not in TOP_LEVEL:
                meant.add(nearest(key, TOP_LEVEL))
                report.add(
                    "unknown-key",
                    f"a spec has no section `{key[:60]}`",
                    root.key(key).span,
                    help=did_you_mean(key, TOP_LEVEL),
                )
        if root.get("cnnspec") is not None:
            check_version(root, report, "spec", self.top())
        missing = [key for key in _NEEDED if root.get(key) is None and key not in meant]
        for key in self.emptied.keys() & missing:
            report.add(
                "missing-key", f"`{key}` has no value", self.emptied[key], help=f"such as `{key}: {_NEEDED[key]}`"
            )
        if missing := [key for key in missing if key not in self.emptied]:
            example = ", ".join(f"`{key}: {_NEEDED[key]}`" for key in missing)
            report.add("missing-key", f"a spec needs {listed(missing)}", self.top(), help=f"such as {example}")

    def _input(self, values: dict[str, Value], overrides: Dict[str, Any]) -> Shape | None:
        node = self.root.get("input")
        if node is None:
            return None
        if not isinstance(node, Mapping):
            message = f"`input` is a mapping with `channels` and `size`, got {describe(node)}"
            self.report.add("bad-value", message, node.span, help=_as_input(node))
            return None
        section = self.section("input", InputSection, values, hints=_SIZE_HINTS)
        if section is None:
            return None
        for key in ("size", "channels"):
            given = overrides.get(f"input.{key}")
            if given is None:
                continue
            try:
                value = self.override(f"input.{key}", given)
            except Wrong:
                continue
            try:
                section = InputSection.model_validate(section.model_dump() | {key: value})
            except ValidationError:
                expected = "a whole number of at least 1" + (" or [height, width]" if key == "size" else "")
                self.report.add(
                    "bad-value",
                    f"`input.{key}`: expected {expected}, got {show(value)}",
                    set_span(f"input.{key}", given),
                )
        return Maps(section.channels, *section.size)

    def _sections(self, spec: Spec, known_input: bool) -> None:
        spec.preprocess = self.section("preprocess", PreprocessSection, spec.values)
        if known_input:
            self._channels(spec)
        spec.labels = self._labels()

        def read_transfer(report: Report) -> Transfer | None:
            from cnnspec.spec.transfer import keep_layers, read_transfer
            from cnnspec.spec.transfer_section import TransferSection

            loader = copy(self)
            loader.report = spec.parser.report = report
            section = loader.section("transfer", TransferSection, spec.values, keep=keep_layers)
            node = loader.root.get("transfer")
            return read_transfer(section, node, spec.parser) if section and isinstance(node, Mapping) else None

        spec.transfer_reader = read_transfer

        def read_recipe(report: Report, reference: str, changes: Changes) -> Recipe | None:
            from cnnspec.spec.recipe import load_recipe  # large models, of no use to what does not train

            loader = copy(self)
            loader.report = report
            return load_recipe(loader, spec, reference, changes)

        spec.recipe_reader = read_recipe

    def _channels(self, spec: Spec) -> None:
        """Means and deviations must fit the input's channels; what is inherited for others is left out."""
        section = self.root.get("preprocess")
        if spec.preprocess is None or not isinstance(section, Mapping):
            return
        channels = locate(self.root, ["input", "channels"])
        older = all(spec.newer(channels, key.span) for key, _ in section.entries.values())
        for key in ("mean", "std"):
            given = getattr(spec.preprocess, key)
            if isinstance(given, list) and len(given) != spec.input.channels:
                written = locate(self.root, ["preprocess", key])
                if self.set_channels or older:
                    spec.preprocess = None
                    self.report.add(
                        "preprocess-dropped",
                        f"the preprocessing is for another number of channels than {spec.input.channels}, and left out",
                        written if self.set_channels else channels,
                        related=[] if self.set_channels else [Label(written, f"`{key}` is for {len(given)}")],
                        help="write a `preprocess` section for these images, or `preprocess: null`",
                    )
                    return
                self.report.add(
                    "bad-value",
                    f"`{key}` has {len(given)} values, the input {spec.input.channels} channels",
                    written,
                )

    def _labels(self) -> list[str] | None:
        node = self.root.get("labels")
        if node is None or is_null(node):
            return None
        if not isinstance(node, Sequence):
            self.report.add("bad-value", f"`labels` is a list of names, got {describe(node)}", node.span)
            return None
        names = [item.text for item in node.items if isinstance(item, Scalar) and item.text]
        for item in node.items:
            if not isinstance(item, Scalar) or not item.text:
                self.report.add("bad-value", f"a label is text, got {describe(item)}", item.span)
        return names if len(names) == len(node.items) else None


def _as_input(node: Node) -> str:
    """Help for an input's shape that is written as a number or a list."""
    extents = [item.value for item in node.items if isinstance(item, Scalar)] if isinstance(node, Sequence) else []
    numbers = [n for n in extents if isinstance(n, int) and n > 0]
    if isinstance(node, Scalar) and isinstance(node.value, int):
        return "such as `{channels: 1, size: 28}`, of which `flatten` makes 784 values"
    if len(numbers) not in (2, 3) or len(numbers) < len(extents):
        return "such as `{channels: 3, size: 224}`"
    if len(numbers) == 2:
        numbers = [*numbers, numbers[1]] if numbers[0] <= _MAX_CHANNELS else [1, *numbers]
    channels, *size = numbers
    if channels > _MAX_CHANNELS >= size[1]:
        *size, channels = numbers
    return f"write `{{channels: {channels}, size: {size[0] if size[0] == size[1] else size}}}`"
