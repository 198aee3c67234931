"""Reads a spec: the file and what it extends or uses, its parameters, then every section, with all mistakes at once."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cnnspec.diagnostics import Report, Source, Span, did_you_mean, nearest
from cnnspec.expr import ExprError, Value, evaluate, show
from cnnspec.ops import Maps, Shape
from cnnspec.source import Mapping, Scalar, Sequence, locate
from cnnspec.spec.document import Spec
from cnnspec.spec.extends import read_extended
from cnnspec.spec.layers import (
    Block,
    Body,
)
from cnnspec.spec.libraries import read_blocks, read_libraries, recursive
from cnnspec.spec.locate import find
from cnnspec.spec.parameters import ParameterReader, Wrong
from cnnspec.spec.parser import Parser
from cnnspec.spec.problems import listed
from cnnspec.spec.sections import InputSection, PreprocessSection, TransferSection
from cnnspec.spec.transfer import keep_layers, read_transfer
from cnnspec.spec.values import describe, is_null
from cnnspec.spec.version import LANGUAGE, check_version
from cnnspec.spec.words import TOP_LEVEL

_NEEDED = {"cnnspec": LANGUAGE, "name": "my_net", "input": "{channels: 3, size: 224}", "layers": "[...]"}

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe


def load_spec(reference: str, overrides: Dict[str, Any], report: Report) -> Spec | None:
    """The spec at a path or of the zoo, with parameters set to `overrides` (text as on the command line, or values).

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
    loader = _Loader(root, report, files)
    return loader.spec(overrides)


def _shown(path: Path, reference: str) -> str:
    return reference if Path(reference) == path else path.name


class _Loader(ParameterReader):
    """Reads the whole file."""

    other_channels = False  # than the file says

    def spec(self, overrides: Dict[str, Any]) -> Spec | None:
        root, report = self.root, self.report
        self._header()
        self.other_channels = "input.channels" in overrides
        params = self.params(overrides)
        blocks: dict[str, Block] = {}
        parser = Parser(report, self.known, blocks)
        let = parser.let(root.get("let"), frozenset(self.known))
        values = dict(params)
        for name, arg in let.items():
            try:
                if not arg.broken:
                    values[name] = evaluate(arg.expr, values)
            except ExprError as error:
                parser.expression_error(error, arg.node)
        self.known |= let.keys()
        parser.globals = frozenset(self.known)
        parser.incomplete = not read_libraries(root.get("use"), blocks, self.files[0].parent, report)
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
        self._sections(spec)
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
        section = self.section("input", InputSection, values)
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
                source = Source("--set", f"input.{key}={given}")
                expected = "a whole number of at least 1" + (" or [height, width]" if key == "size" else "")
                self.report.add(
                    "bad-value",
                    f"`input.{key}`: expected {expected}, got {show(value)}",
                    Span(source, len(key) + 7, len(source.text)),
                )
        return Maps(section.channels, *section.size)

    def _sections(self, spec: Spec) -> None:
        spec.preprocess = self.section("preprocess", PreprocessSection, spec.values)
        self._channels(spec)
        spec.labels = self._labels()
        transfer = self.section("transfer", TransferSection, spec.values, keep=keep_layers)
        node = self.root.get("transfer")
        if transfer is not None and isinstance(node, Mapping):
            spec.transfer = read_transfer(transfer, node, spec.parser)

        def read_recipe(report: Report, reference: str) -> Recipe | None:
            from cnnspec.spec.recipe import load_recipe  # large models, of no use to what does not train

            loader = copy(self)
            loader.report = report
            return load_recipe(loader, spec, reference)

        spec.recipe_reader = read_recipe

    def _channels(self, spec: Spec) -> None:
        """Means and deviations must fit the input's channels."""
        if spec.preprocess is None:
            return
        for key in ("mean", "std"):
            given = getattr(spec.preprocess, key)
            if isinstance(given, list) and len(given) != spec.input.channels:
                if self.other_channels:
                    spec.preprocess = None
                    self.report.add(
                        "preprocess-dropped",
                        f"the preprocessing is for another number of channels than {spec.input.channels}, and left out",
                        locate(self.root, ["preprocess", key]),
                    )
                    return
                self.report.add(
                    "bad-value",
                    f"`{key}` has {len(given)} values for {spec.input.channels} channels",
                    locate(self.root, ["preprocess", key]),
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
