"""Weights under the names and in the layout of other frameworks' own networks: read and written, all or nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from math import prod
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np

from cnnspec.diagnostics import Diagnostic, Report
from cnnspec.graph import Graph
from cnnspec.graph.model import Node
from cnnspec.weights.check import replaced_keys
from cnnspec.weights.contract import contract, parameters
from cnnspec.weights.files import file_span
from cnnspec.weights.foreign import BadFile, Stored
from cnnspec.weights.keras_files import KerasLayer, read_keras, write_keras
from cnnspec.weights.keras_layout import CLASSES, SEPARABLE, from_keras, keras_shape, to_keras, variable_name
from cnnspec.weights.keras_order import keras_order
from cnnspec.weights.mapping import Array, Given, Weights
from cnnspec.weights.names import LayerNames, mapped_names, mapped_networks, own_names
from cnnspec.weights.torch_files import read_torch, write_torch

FORMATS = ("torchvision", "keras")

_PREFIXES = ("module.", "_orig_mod.")  # of every name, in PyTorch's parallel, averaged and compiled models
_AVERAGED = "n_averaged"
_KERAS_1 = {"conv2d": "convolution2d", "batch_normalization": "batchnormalization"}  # as what it published is called
_COUNTER = "num_batches_tracked"  # of PyTorch's batch norm, which its inference does not read
_SHOWN = 3


class _Target(NamedTuple):
    """A parameter and where it is stored: under `name`, with `shape`; `shown` is what the framework calls it."""

    key: str
    node: Node
    param: str
    name: str
    shape: tuple[int, ...]
    shown: str


class ForeignWeights(Weights):
    """The arrays of a framework's file in canonical layout, read when they are asked for.

    The file stays open until `close`, or until the end of a `with`.
    """

    def __init__(self, path: Path, format: str, targets: Iterable[_Target], found: Mapping[str, Stored]) -> None:
        self._targets = {target.key: target for target in targets}
        self._found = found
        self._path = path
        self._format = format
        self._stack = ExitStack()
        shapes = {key: target.node.params[target.param].shape for key, target in self._targets.items()}
        super().__init__(shapes, {"from": f"{format}:{path.name}"})

    def __getitem__(self, key: str) -> Array:
        target = self._targets[key]
        try:
            array = self._found[target.name].read()
        except BadFile as error:
            _refuse(self._path, error)
        if self._format == "keras":
            array = from_keras(target.node, target.param, array)
        with np.errstate(over="ignore"):  # an infinity is seen when weights are written
            return np.ascontiguousarray(array, np.float32)

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_foreign(graph: Graph, format: str, file: str | PathLike[str], *, training: bool = False) -> ForeignWeights:
    """The weights in a file of `format`, one of `FORMATS`, by the keys of `graph`.

    Its layers have the names of the framework's own network, or those of the code that is built from the spec. Heads
    that exist in training only may be missing, all at once, unless they are needed for `training`. Raises `SpecError`
    with one error for all that is missing, left over or of another shape, or for a file that cannot be read.

    Under a transfer case the file is of the original network, and what starts anew or is dropped is left out.
    """
    path = Path(file)
    _check_format(format)
    with ExitStack() as stack:
        try:
            _check_file(path)
            found = _Found(path, format, _limit(_original(graph)), stack)
        except BadFile as error:
            _refuse(path, error)
        except OSError as error:
            _refuse(path, BadFile(f"cannot be read: {error.strerror or error}"))
        mapped = mapped_names(_original(graph), format)
        found.strip([mapped[node.path] if mapped else node.path for node in _original(graph).nodes])
        names = mapped or own_names()
        if mapped and _fits(graph, format, own_names(), found):
            names = own_names()
        arrays = _kept(graph, names, found.under(names))
        targets = _sources(graph, format, names)
        if not training:
            targets = _needed(graph, targets, arrays)
        _check(graph, path, format, targets, arrays, has_map=mapped is not None)
        weights = ForeignWeights(path, format, targets, arrays)
        if found.unwrapped:
            message = f"`{path}` is read {found.unwrapped}"
            weights.warnings.append(Diagnostic("unwrapped-weights", message, file_span(path)))
        weights._stack = stack.pop_all()
        return weights


def write_foreign(graph: Graph, format: str, file: str | PathLike[str], weights: Mapping[str, Any]) -> None:
    """Write weights to a file of `format`, one of `FORMATS`, as the framework's own network loads it.

    Where no map has its names, those of the code that is built from the spec are written. Heads that exist in training
    only may be missing from the weights, all at once. Raises `SpecError`, and writes nothing, where anything else does.
    """
    path = Path(file)
    _check_format(format)
    names = mapped_names(graph, format) or own_names()
    arrays = weights if isinstance(weights, Weights) else Given(weights, {})
    given = {key: Stored(shape, lambda: None) for key, shape in arrays.shapes.items()}
    targets = {target.key: target for target in _targets(graph, format, names)}
    own = [t._replace(name=t.key, shown=t.key, shape=t.node.params[t.param].shape) for t in targets.values()]
    needed = _needed(graph, own, given)
    _check(graph, None, format, needed, given)
    kept = [targets[target.key] for target in needed]
    try:
        if format == "keras":
            write_keras(path, _keras_layers(graph, kept, names, arrays))
        else:
            write_torch(path, _state(kept, arrays))
    except BadFile as error:
        _refuse(path, error)
    except OSError as error:
        _refuse(path, BadFile(f"cannot be written: {error.strerror or error}"))


class _Found:
    """What a file holds, before it is known under which names."""

    def __init__(self, path: Path, format: str, limit: int, stack: ExitStack) -> None:
        self.layers = read_keras(path, limit, stack) if format == "keras" else None
        self.arrays, self.inside = read_torch(path) if format != "keras" else ({}, "")
        self.stripped = ""

    @property
    def unwrapped(self) -> str:
        """What was taken off the weights, where the file has them inside of something."""
        texts = [f"as the checkpoint that it is, of which `{self.inside}` is used"] if self.inside else []
        return " and ".join(texts + [f"without `{self.stripped}` before its names"] * bool(self.stripped))

    def strip(self, layers: list[str]) -> None:
        """Take off what every name begins with that a model in a wrapper has, unless `layers` have such names."""
        while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in self._names())), ""):
            if not self.arrays or any(layer.startswith(prefix) for layer in layers):
                return
            self.arrays = {name.removeprefix(prefix): self.arrays[name] for name in self._names()}
            self.stripped += prefix

    def _names(self) -> list[str]:
        """Of what a state dict holds, without the count of an averaged model."""
        return [name for name in self.arrays if name != _AVERAGED]

    def under(self, names: LayerNames) -> dict[str, Stored]:
        """Its arrays, where the numbers that Keras gave layers count from 0: they go on from model to model."""
        if self.layers is None:
            return self.arrays
        layers = dict(self.layers)
        for base in names.numbered:
            numbers = {}
            called = "|".join(map(re.escape, (base, _KERAS_1.get(base, base))))
            for name in layers:
                if match := re.fullmatch(rf"(?:{called})(?:_([0-9]{{1,9}}))?", name):
                    numbers[name] = int(match[1] or 0)
            ordered = sorted(numbers, key=numbers.__getitem__)
            taken = [layers.pop(name) for name in ordered]
            layers |= {f"{base}_{number}" if number else base: arrays for number, arrays in enumerate(taken)}
        return {f"{name}/{number}": array for name, arrays in layers.items() for number, array in enumerate(arrays)}


def _targets(graph: Graph, format: str, names: LayerNames) -> list[_Target]:
    """Where each parameter is stored. Nodes that are one layer of Keras share its list of arrays."""
    targets = []
    count: defaultdict[str, int] = defaultdict(int)
    for key, node, param in parameters(graph):
        layer = names[node.path]
        if format == "keras":
            name, shape = f"{layer}/{count[layer]}", keras_shape(node, param)
            shown = f"{layer}/{variable_name(node, param)}"
            count[layer] += 1
        else:
            name = shown = f"{layer}.{param}"
            shape = node.params[param].shape
        targets.append(_Target(key, node, param, name, shape, shown))
    return targets


def _original(graph: Graph) -> Graph:
    """The network whose file is read: as it was before a transfer."""
    return graph.transfer.original if graph.transfer else graph


def _sources(graph: Graph, format: str, names: LayerNames) -> list[_Target]:
    """Where the parameters are that are read: under a transfer, those of the original network that are still there."""
    targets = _targets(_original(graph), format, names)
    if graph.transfer is None:
        return targets
    gone = replaced_keys(graph)
    nodes = {node.path: node for node in graph.nodes}
    found = []
    for target in targets:
        if target.key not in gone:
            node = nodes[target.node.path]
            shape = keras_shape(node, target.param) if format == "keras" else node.params[target.param].shape
            found.append(target._replace(node=node, shape=shape))
    return found


def _kept(graph: Graph, names: LayerNames, arrays: dict[str, Stored]) -> dict[str, Stored]:
    """What a file of the original network holds beside the layers that start anew, or are dropped, and all below."""
    if graph.transfer is None:
        return arrays
    gone = replaced_keys(graph)
    layers: dict[bool, set[str]] = {False: set(), True: set()}
    for key, node, _ in parameters(graph.transfer.original):
        layers[key in gone].add(names[node.path])
    left_out = tuple(f"{layer}{end}" for layer in layers[True] - layers[False] for end in "./")
    own = not names.names
    return {
        name: array
        for name, array in arrays.items()
        if not (name.startswith(left_out) or (own and graph.transfer.starts_anew(name.replace("/", "."))))
    }


def _fits(graph: Graph, format: str, names: LayerNames, found: _Found) -> bool:
    """Whether these are the names that the file has."""
    arrays = _kept(graph, names, found.under(names))
    targets = _needed(graph, _sources(graph, format, names), arrays)
    return {target.name for target in targets} == arrays.keys() - _counters(targets)


def _needed(graph: Graph, targets: list[_Target], found: Mapping[str, Stored]) -> list[_Target]:
    """All of them, or if nothing of the heads for training is there, those of the network without them."""
    inference = contract(graph, training=False)
    if any(target.name in found for target in targets if target.key not in inference):
        return targets
    return [target for target in targets if target.key in inference]


def _counters(targets: list[_Target]) -> set[str]:
    """The names of the numbers that PyTorch counts batches with."""
    return {_counter(target) for target in targets if target.param == "running_mean"}


def _counter(target: _Target) -> str:
    return target.name.removesuffix("running_mean") + _COUNTER


def _limit(graph: Graph) -> int:
    """What a file may take in memory, in bytes: the parameters, what an optimiser keeps of them, in float64."""
    return 64_000_000 + 32 * sum(prod(param.shape) for param in contract(graph).values())


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}, only {' and '.join(FORMATS)}")


def _check_file(path: Path) -> None:
    if not path.is_file():  # a pipe would not end
        raise BadFile("is not a file" if path.exists() else "does not exist")


def _refuse(path: Path, error: BadFile) -> NoReturn:
    report = Report()
    report.add("bad-weight-file", f"`{path}` {error}", file_span(path), help=error.help)
    report.raise_errors()
    raise AssertionError("an error has been reported")


def _check(
    graph: Graph,
    path: Path | None,
    format: str,
    targets: Sequence[_Target],
    found: Mapping[str, Stored],
    *,
    has_map: bool = True,
) -> None:
    """One error for all that does not fit, with both sides' names; `path` is None where our own names are meant."""
    wanted = {target.name for target in targets}
    missing = [target for target in targets if target.name not in found]
    left_over = [name for name in found if name not in wanted]
    if path and format != "keras":
        counters = _counters(list(targets))
        left_over = [name for name in left_over if name not in counters]
    other = [target for target in targets if target.name in found and found[target.name].shape != target.shape]
    if not (missing or left_over or other):
        return
    what = [
        ("missing", len(missing), [_sides(target) for target in missing]),
        ("left over", len(left_over), [f"`{name[:80]}`" for name in left_over]),
        ("of another shape", len(other), [_shapes(target, found[target.name].shape) for target in other]),
    ]
    listed = "; ".join(f"{count} {kind}: {_listed(texts)}" for kind, count, texts in what if count)
    where = f"`{path}`" if path else "what is given"
    help = ""
    if not has_map and (missing or left_over):
        others = mapped_networks(graph, format)
        help = f"no name map has {graph.name}" + (f"; those for {format} are for {', '.join(others)}" if others else "")
    report = Report()
    at = file_span(path or Path("weights"))
    report.add("foreign-weights", f"{where} does not fit {graph.name}: {listed}", at, help=help)
    report.raise_errors()


def _sides(target: _Target) -> str:
    return f"`{target.shown}`" + (f" for `{target.key}`" if target.shown != target.key else "")


def _shapes(target: _Target, shape: tuple[int, ...]) -> str:
    return f"{_sides(target)} is {_by(shape)} and not {_by(target.shape)}"


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[:8])) or "a number"


def _listed(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _state(targets: list[_Target], weights: Weights) -> dict[str, Any]:
    """The arrays as PyTorch has them, and a count of batches, which is not known, for each batch norm."""
    state: dict[str, Any] = {}
    for target in targets:
        state[target.name] = np.ascontiguousarray(weights[target.key])
        if target.param == "running_var":
            state[target.name.removesuffix("running_var") + _COUNTER] = np.zeros((), np.int64)
    return state


def _keras_layers(graph: Graph, targets: list[_Target], names: LayerNames, weights: Weights) -> list[KerasLayer]:
    """The layers in the order of Keras's model."""
    by_layer: defaultdict[str, list[_Target]] = defaultdict(list)
    for target in targets:
        by_layer[names[target.node.path]].append(target)
    layers = []
    for name in dict.fromkeys(names[node.path] for node in keras_order(graph, sums_reversed=names.sums_reversed)):
        if parts := by_layer.get(name):
            kinds = list(dict.fromkeys(target.node.op.kind for target in parts))
            kind = CLASSES[kinds[0]] if len(kinds) == 1 else SEPARABLE
            arrays = {
                _variable(target, kind): to_keras(target.node, target.param, weights[target.key]) for target in parts
            }
            layers.append(KerasLayer(name, kind, arrays))
    return layers


def _variable(target: _Target, kind: str) -> str:
    name = target.shown.rpartition("/")[2]
    if kind == SEPARABLE and name == "kernel":
        return "depthwise_kernel" if target.node.op.kind == "depthwise_conv" else "pointwise_kernel"
    return name
