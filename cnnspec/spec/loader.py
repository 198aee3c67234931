"""Reads a spec: the file and what it extends or uses, its parameters, then every section, with all mistakes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Dict
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from cnnspec.diagnostics import Report, Source, Span, did_you_mean, nearest
from cnnspec.expr import ExprError, UnknownValue, Value, evaluate, parse, show, variables
from cnnspec.ops import Maps, Shape
from cnnspec.ops.fields import MAX
from cnnspec.source import Mapping, Node, Scalar, Sequence, locate, read_file, read_value
from cnnspec.spec.document import Spec
from cnnspec.spec.layers import (
    Block,
    BlockLayer,
    Body,
    BranchesLayer,
    Layer,
    ResidualLayer,
    StageLayer,
    TableLayer,
)
from cnnspec.spec.locate import find, name_beside
from cnnspec.spec.parser import Parser
from cnnspec.spec.problems import listed
from cnnspec.spec.sections import InputSection, PreprocessSection, TransferSection
from cnnspec.spec.transfer import keep_layers, read_transfer
from cnnspec.spec.values import describe, expression_span, is_null
from cnnspec.spec.version import LANGUAGE, check_version

TOP_LEVEL = (
    "cnnspec", "name", "cite", "description", "extends", "use", "input", "params", "let", "defaults", "blocks", "layers",
    "outputs", "preprocess", "labels", "transfer", "train",
)  # fmt: skip
_MERGED = ("params", "let", "blocks", "outputs", "defaults", "input", "preprocess", "transfer")
_NEEDED = {"cnnspec": LANGUAGE, "name": "my_net", "input": "{channels: 3, size: 224}", "layers": "[...]"}
_MAX_EXTENDS = 16
_M = TypeVar("_M", bound=BaseModel)

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
    root = _read_extended(path, _shown(path, reference), report, files)
    if root is None:
        return None
    loader = _Loader(root, report, files)
    return loader.spec(overrides)


def _shown(path: Path, reference: str) -> str:
    return reference if Path(reference) == path else path.name


# ---- files


def _read_extended(path: Path, name: str, report: Report, files: list[Path], span: Span | None = None) -> Mapping | None:
    """The tree of a file, merged over the one that it extends."""
    real = path.resolve()
    if real in files:
        at = span or Span(Source(name, ""), 0, 0)
        chain = " → ".join(p.stem for p in [*files[files.index(real) :], real])
        report.add("cyclic-extends", f"specs extend each other in a circle: {chain}", at)
        return None
    if len(files) >= _MAX_EXTENDS:
        report.add("cyclic-extends", f"more than {_MAX_EXTENDS} specs extend one another", span or Span(Source(name, ""), 0, 0))
        return None
    files.append(real)
    root = read_file(path, name, report)
    if root is None:
        return None
    if not isinstance(root, Mapping):
        report.add("bad-value", f"a spec is a mapping, this is {describe(root)}", root.span, help="it starts with `cnnspec: 1`")
        return None
    extends = root.get("extends")
    if extends is None:
        return root
    if not isinstance(extends, Scalar) or not extends.text:
        report.add("bad-value", f"`extends` names one spec, got {describe(extends)}", extends.span)
        return None
    base_path = find(extends.text, report, relative_to=path.parent, span=extends.span)
    if base_path is None:
        return None
    base = _read_extended(base_path, name_beside(base_path, extends), report, files, extends.span)
    return None if base is None else _merge(base, root)


def _merge(base: Mapping, over: Mapping) -> Mapping:
    """`over` on top of `base`: sections by key, defaults by kind and option; null takes a section away."""
    entries = {k: v for k, v in base.entries.items() if k not in ("name", "cite", "description", "extends")}
    for key, (key_node, value) in over.entries.items():
        below = entries.get(key, (None, None))[1]
        if is_null(value) or (below and is_null(below)):
            pass
        elif key == "train" and below:
            value = _merge_train(below, value)
        elif key in _MERGED and isinstance(value, Mapping) and isinstance(below, Mapping):
            value = _merge_entries(below, value, deep=key == "defaults")
        entries[key] = (key_node, value)
    return Mapping(entries, over.span)


def _merge_entries(base: Mapping, over: Mapping, deep: bool) -> Mapping:
    entries = dict(base.entries)
    for key, (key_node, value) in over.entries.items():
        below = entries.get(key, (None, None))[1]
        if deep and isinstance(value, Mapping) and isinstance(below, Mapping):
            value = _merge_entries(below, value, deep=False)
        if is_null(value) and key in entries:
            del entries[key]
        else:  # null that takes nothing away is judged as any value: it may be a misspelt key
            entries[key] = (key_node, value)
    return Mapping(entries, over.span)


def _merge_train(base: Node, over: Node) -> Node:
    """Changes to a recipe; another recipe takes its place. Nulls stay: they remove what its file says."""
    if isinstance(base, Scalar):
        base = Mapping({"recipe": (base, base)}, base.span)
    if not isinstance(base, Mapping) or not isinstance(over, Mapping) or "recipe" in over.entries:
        return over
    return Mapping(base.entries | over.entries, over.span)


# ---- sections


class _Wrong(Exception):
    """This value cannot be used; the reason is in the report."""


class _Loader:
    def __init__(self, root: Mapping, report: Report, files: list[Path]) -> None:
        # null takes a section away, one that is not inherited too
        kept = {k: entry for k, entry in root.entries.items() if k not in TOP_LEVEL or not is_null(entry[1])}
        self.root = Mapping(kept, root.span)
        self.emptied = {k: key.span for k, (key, value) in root.entries.items() if k in TOP_LEVEL and is_null(value)}
        self.known: set[str] = set()  # variables of the whole spec, those without a value too
        self.report = report
        self.files = files

    def spec(self, overrides: Dict[str, Any]) -> Spec | None:
        root, report = self.root, self.report
        self._header()
        params = self._params(overrides)
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
        parser.incomplete = not self._libraries(blocks)
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
        for name, (key, node) in self._mapping("outputs"):
            if output := parser.read_output(name, key, node, scope):
                outputs.append(output)
        spec = Spec(
            name=self._text("name") or self.files[0].stem, root=root, parser=parser, input=size or Maps(1, 1, 1),
            input_span=locate(root, ["input"]) if root.get("input") else start, params=params, values=values, blocks=blocks,
            body=body, outputs=outputs, cite=self._text("cite"), description=self._text("description"), files=self.files,
        )  # fmt: skip
        self._sections(spec)
        return spec if size and layers is not None and not _recursive(blocks, report) else None

    def _top(self) -> Span:
        """Where to say that something is missing: the first key of the file."""
        key = self.root.entries.get("cnnspec") or next(iter(self.root.entries.values()), None)
        return key[0].span if key else self.root.span

    def _header(self) -> None:
        root, report = self.root, self.report
        meant = set()
        for key in root.entries:
            if key not in TOP_LEVEL:
                meant.add(nearest(key, TOP_LEVEL))
                report.add(
                    "unknown-key", f"a spec has no section `{key[:60]}`", root.key(key).span, help=did_you_mean(key, TOP_LEVEL)
                )
        if root.get("cnnspec") is not None:
            check_version(root, report, "spec", self._top())
        missing = [key for key in _NEEDED if root.get(key) is None and key not in meant]
        for key in self.emptied.keys() & missing:
            report.add("missing-key", f"`{key}` has no value", self.emptied[key], help=f"such as `{key}: {_NEEDED[key]}`")
        if missing := [key for key in missing if key not in self.emptied]:
            example = ", ".join(f"`{key}: {_NEEDED[key]}`" for key in missing)
            report.add("missing-key", f"a spec needs {listed(missing)}", self._top(), help=f"such as {example}")

    def _text(self, key: str) -> str:
        node = self.root.get(key)
        if node is None or is_null(node):
            return ""
        if not isinstance(node, Scalar) or (key == "name" and not node.text.strip()):
            self.report.add("bad-value", f"`{key}`: expected text, got {describe(node)}", node.span)
            return ""
        if key == "name" and not all(c.isalnum() or c in "-_." for c in node.text):
            self.report.add(
                "bad-name", f"`{node.text[:60]}` cannot be a network's name", node.span,
                help="letters, digits, `-`, `_` and `.`: files are called after it",
            )  # fmt: skip
        return node.text

    def _mapping(self, key: str) -> Iterable[tuple[str, tuple[Scalar, Node]]]:
        node = self.root.get(key)
        if node is None or is_null(node):
            return ()
        if not isinstance(node, Mapping):
            self.report.add("bad-value", f"`{key}` is a mapping, got {describe(node)}", node.span)
            return ()
        return node.entries.items()

    # ---- parameters

    def _params(self, overrides: Dict[str, Any]) -> dict[str, Value]:
        parser = Parser(self.report, (), {})
        values: dict[str, Value] = {}
        required: dict[str, Scalar] = {}
        for name, (key, node) in self._mapping("params"):
            if not parser.check_variable(name, key.span, ()):
                continue
            self.known.add(name)
            if isinstance(node, Scalar) and node.text == "required" and not node.quoted:
                required[name] = key
                continue
            with suppress(_Wrong):
                values[name] = self._constant(node, f"the parameter `{name}`")
        for name, given in overrides.items():
            if name in ("input.size", "input.channels"):
                continue
            if name not in self.known:
                source = Source("--set", f"{name}={given}")
                self.report.add(
                    "unknown-param", f"`{self._text('name')}` has no parameter `{name[:60]}`", Span(source, 0, len(name)),
                    help=did_you_mean(name, [*self.known, "input.size", "input.channels"]),
                )  # fmt: skip
                continue
            required_key = required.pop(name, None)
            try:
                value = self._override(name, given)
            except _Wrong:
                continue
            if required_key is None and name in values and not _alike(values[name], value):
                source = Source("--set", f"{name}={given}")
                self.report.add(
                    "bad-value", f"`{name}` is {show(values[name])} in the spec, {show(value)} is of another type",
                    Span(source, len(name) + 1, len(source.text)),
                )  # fmt: skip
                continue
            values[name] = value
        for name, key in required.items():
            self.report.add("missing-param", f"the parameter `{name}` has no default", key.span, help=f"give it one, or set it: `--set {name}=…`")
        return values

    def _override(self, name: str, given: Any) -> Value:
        """The value of one `--set`. Raises `_Wrong` where it has none."""
        if not isinstance(given, str):
            return _frozen(given)
        before = len(self.report.diagnostics)
        node = read_value(given, f"--set {name}", self.report)
        if node is None or len(self.report.diagnostics) > before:
            raise _Wrong
        return self._constant(node, f"`--set {name}`")

    def _constant(self, node: Node, what: str) -> Value:
        """A plain value: nothing that depends on a variable. Raises `_Wrong` where it is something else."""
        if isinstance(node, Mapping):
            self.report.add("bad-value", f"{what} is a value or a list, got a mapping", node.span)
            raise _Wrong
        if isinstance(node, Sequence):
            return tuple(self._constant(item, what) for item in node.items)
        if isinstance(node.value, str) and "$" in node.value:
            self.report.add(
                "bad-value", f"{what} cannot depend on other values", node.span, help="put what follows from parameters into `let:`"
            )
            raise _Wrong
        return node.value

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
                value = self._override(f"input.{key}", given)
            except _Wrong:
                continue
            try:
                section = InputSection.model_validate(section.model_dump() | {key: value})
            except ValidationError as error:
                source = Source("--set", f"input.{key}={given}")
                expected = "a whole number of at least 1" + (" or [height, width]" if key == "size" else "")
                self.report.add("bad-value", f"`input.{key}`: expected {expected}, got {show(value)}", Span(source, len(key) + 7, len(source.text)))
                del error
        return Maps(section.channels, *section.size)

    # ---- blocks of other files

    def _libraries(self, blocks: dict[str, Block]) -> bool:
        """`use:`, blocks from other files, read with those files' own defaults; whether all could be read."""
        node = self.root.get("use")
        if node is None or is_null(node):
            return True
        complete = True
        items = node.items if isinstance(node, Sequence) else [node]
        for item in items:
            complete = self._library(item, blocks) and complete
        return complete

    def _library(self, item: Node, blocks: dict[str, Block]) -> bool:
        """Add the blocks of one library; whether there are any."""
        if not isinstance(item, Scalar) or not item.text:
            self.report.add("bad-value", f"`use` lists files or libraries of the zoo, got {describe(item)}", item.span)
            return False
        source = item.span.source.path
        folder = source.parent if source else self.files[0].parent
        path = find(item.text, self.report, relative_to=folder, span=item.span, within="blocks")
        library = read_file(path, name_beside(path, item), self.report) if path else None
        if library is None:
            return False
        if not isinstance(library, Mapping) or not isinstance(library.get("blocks"), Mapping):
            self.report.add("bad-value", f"`{item.text}` has no `blocks`", item.span)
            return False
        own: dict[str, Block] = {}
        parser = Parser(self.report, (), own)
        parser.read_defaults(library.get("defaults"))
        read_blocks(library.get("blocks"), parser)
        blocks.update(own)
        return True

    # ---- sections that pydantic validates

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
                self.report.add(
                    "bad-value", f"`{key}` has {len(given)} values for {spec.input.channels} channels",
                    locate(self.root, ["preprocess", key]),
                )  # fmt: skip

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

    def section(
        self,
        name: str,
        model: type[_M],
        values: Dict[str, Value],
        keep: Callable[[tuple[str | int, ...]], bool] = lambda path: False,
    ) -> _M | None:
        """A section of the file validated by `model`, with expressions replaced by their values."""
        node = self.root.get(name)
        if node is None or is_null(node):
            return None
        return self.validate(node, self.root.key(name).span, name, model, values, keep)

    def validate(
        self,
        node: Node,
        key: Span,
        name: str,
        model: type[_M],
        values: Dict[str, Value],
        keep: Callable[[tuple[str | int, ...]], bool] = lambda path: False,
        hints: Dict[str, str] = {},
    ) -> _M | None:
        """`node` as `model`; mistakes are reported, where they stand, with `hints` about names from elsewhere."""
        from cnnspec.spec.problems import report_invalid

        before = len(self.report.diagnostics)
        try:
            data = self._resolved(node, values, keep, ())
        except UnknownValue:
            return None
        if len(self.report.diagnostics) > before:
            return None
        try:
            return TypeAdapter(model).validate_python(data)
        except ValidationError as error:

            def place(loc: tuple[str | int, ...], of_key: bool) -> Span:
                if not loc and of_key:
                    return key
                return locate(node, loc, key=of_key)

            report_invalid(
                error, self.report, place, what=f"`{name}`", known=lambda loc: _known_keys(model, loc), hints=hints
            )
            return None

    def _resolved(
        self,
        node: Node,
        values: Dict[str, Value],
        keep: Callable[[tuple[str | int, ...]], bool],
        path: tuple[str | int, ...],
    ) -> Any:
        """Plain data, expressions evaluated; where `keep` says so, the tree itself."""
        if keep(path):
            return None if is_null(node) else node
        if isinstance(node, Sequence):
            return [self._resolved(item, values, keep, (*path, i)) for i, item in enumerate(node.items)]
        if isinstance(node, Mapping):
            return {k: self._resolved(v, values, keep, (*path, k)) for k, (_, v) in node.entries.items()}
        if not isinstance(node.value, str) or "$" not in node.value:
            return node.value
        try:
            expr = parse(node.value)
            for ref in variables(expr):
                if ref.name not in self.known:
                    raise ExprError(
                        "unknown-variable", f"`${ref.name}` is not known here", ref.start, ref.end, did_you_mean(ref.name, self.known)
                    )  # fmt: skip
            return _thawed(evaluate(expr, values))
        except UnknownValue:
            raise
        except ExprError as error:
            self.report.add(error.slug, error.message, expression_span(error, node), help=error.help)
            return None


def read_blocks(node: Node | None, parser: Parser) -> None:
    """`blocks:`, signatures first, so that they may use each other in any order."""
    if node is None or is_null(node):
        return
    if not isinstance(node, Mapping):
        parser.report.add("bad-value", f"`blocks` is a mapping from names to definitions, got {describe(node)}", node.span)
        return
    read: list[tuple[Block, Mapping]] = []
    for name, (key, definition) in node.entries.items():
        block = parser.signature(name, key, definition)
        if block and isinstance(definition, Mapping):
            parser.blocks[name] = block
            read.append((block, definition))
    for block, definition in read:
        parser.fill(block, definition)


def _recursive(blocks: dict[str, Block], report: Report) -> bool:
    """Whether blocks use themselves, directly or through others; reported at the use that closes the circle."""
    found = False
    done: set[str] = set()
    for start in blocks:
        path: list[str] = []
        todo: list[tuple[str, Span | None, bool]] = [(start, None, False)]
        while todo:
            name, span, leave = todo.pop()
            if leave:
                path.pop()
                done.add(name)
                continue
            if name in path:
                assert span
                circle = " → ".join([*path[path.index(name) :], name])
                report.add("recursive-block", f"a block cannot contain itself: {circle}", span)
                found = True
                continue
            if name in done:
                continue
            path.append(name)
            todo.append((name, span, True))
            todo += [(used, at, False) for used, at in _uses(blocks[name].body) if used in blocks]
    return found


def _uses(body: Body) -> Iterable[tuple[str, Span]]:
    """The blocks that the layers of a body call, and where."""
    for layer in body.layers:
        yield from _layer_uses(layer)


def _layer_uses(layer: Layer) -> Iterable[tuple[str, Span]]:
    if isinstance(layer, BlockLayer):
        yield layer.kind, layer.key
    elif isinstance(layer, TableLayer):
        yield layer.block, layer.key
    elif isinstance(layer, StageLayer):
        yield from _uses(layer.do)
    elif isinstance(layer, BranchesLayer):
        for branch in layer.branches.values():
            yield from _uses(branch)
    elif isinstance(layer, ResidualLayer):
        yield from _uses(layer.body)
        if isinstance(layer.shortcut, Body):
            yield from _uses(layer.shortcut)


def _known_keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The names that the section's model allows at a location: what an unknown one may have been meant to be."""
    found: set[str] = set()

    def visit(schema: Any, rest: tuple[str | int, ...], definitions: Any) -> None:
        if "$ref" in schema:
            visit(definitions[schema["$ref"].rpartition("/")[2]], rest, definitions)
        for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            visit(option, rest, definitions)
        if not rest:
            found.update(schema.get("properties", ()))
            return
        step, *after = rest
        if isinstance(step, str) and step in schema.get("properties", ()):
            visit(schema["properties"][step], tuple(after), definitions)
        elif isinstance(step, str) and isinstance(schema.get("additionalProperties"), dict):
            visit(schema["additionalProperties"], tuple(after), definitions)
        elif isinstance(step, int) and "items" in schema:
            visit(schema["items"], tuple(after), definitions)

    schema = model.model_json_schema(by_alias=True)
    visit(schema, loc, schema.get("$defs", {}))
    return sorted(found)


def _alike(default: Value, value: Value) -> bool:
    """Whether a parameter may be changed from one to the other."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int) and abs(value) <= MAX
    if isinstance(default, float):
        return isinstance(value, int | float)
    return type(default) is type(value)


def _frozen(value: Any) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a parameter is a number, text, true, false or a list of them, not {type(value).__name__}")


def _thawed(value: Value) -> Any:
    return [_thawed(item) for item in value] if isinstance(value, tuple) else value
