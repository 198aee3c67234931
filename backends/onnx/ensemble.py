"""`cnnspec ensemble`: several exported files as one, which gives the mean of their probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import file_digest, sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cnnspec.backends.onnx.files import LIMIT, Written, write_model
from cnnspec.backends.onnx.lowering import BATCH, PROBABILITIES
from cnnspec.backends.onnx.metadata import LABELS, MEMBERS, PREPROCESS, SHA256, SPEC, VERSION
from cnnspec.backends.onnx.model import Call, Model, Tensor, Value
from cnnspec.backends.onnx.predict import refuse
from cnnspec.backends.onnx.reading import BadModel, Bytes, read_model
from cnnspec.diagnostics import Report
from cnnspec.source import Mapping as Tree
from cnnspec.source import Node, Scalar, read_text
from cnnspec.spec.text import tree_text

_OF_IMAGES = ("cnnspec", "name", "input", "preprocess", "params", "let", "labels")
_OF_DATA = ("data", "split")


@dataclass
class _Member:
    path: Path
    model: Model
    values: dict[str, Bytes]
    hashes: dict[str, str]

    @property
    def labels(self) -> list[str] | None:
        labels: list[str] | None = self._json(LABELS)
        return labels

    @property
    def probabilities(self) -> str:
        """`Sigmoid` where each class has a probability of its own, else `Softmax`, whose classes share one."""
        makers = {call.output: call for call in self.model.nodes}
        call = makers.get(self.model.outputs[0].name)
        while call and call.op in ("Mean", "Cast", "Flatten", "Identity", "Reshape"):  # an ensemble's members are alike
            call = makers.get(call.inputs[0])
        return "Sigmoid" if call and call.op == "Sigmoid" else "Softmax"

    @property
    def preprocess(self) -> dict[str, Any]:
        return self._json(PREPROCESS) or {}

    def _json(self, key: str) -> Any:
        try:
            return json.loads(self.model.metadata.get(key, "null"))
        except ValueError:
            refuse("bad-model", f"`{self.path}` has metadata that cannot be read: {key}", self.path)


def ensemble(paths: Sequence[Path], target: Path, limit: int = LIMIT) -> Written:
    """Write a file that takes what its members take, and gives the mean of their probabilities.

    Layers and weights that several members have alike, from the input on, are there once. Weights are read a piece at
    a time, and lie in a file of their own beyond `limit` bytes. Raises `SpecError`, before anything is written, where
    the members are no exports of networks that classify the same images alike.
    """
    with ExitStack() as files:
        members = [_read(path, files) for path in paths]
        for member in members[1:]:
            if difference := _difference(members[0], member):
                refuse("bad-ensemble", f"`{members[0].path}` and `{member.path}` differ in {difference}", member.path)
        return write_model(_merged(members), target, limit)


def _read(path: Path, files: ExitStack) -> _Member:
    if not path.is_file():
        refuse("no-file", f"`{path}` {'is not a file' if path.exists() else 'does not exist'}", path)
    help = "export it with `cnnspec export`"
    try:
        model, values, others = read_model(path, files)
    except BadModel as error:
        refuse("bad-model", f"`{path}` {error}", path, help)
    if VERSION not in model.metadata:
        refuse("bad-model", f"`{path}` has none of cnnspec's metadata", path, help)
    if len(model.outputs[0].shape) != 2:
        refuse("bad-model", f"`{path}` gives maps and no classes", path)
    if model.outputs[0].shape[1] == 1 and model.outputs[0].name != PROBABILITIES:
        refuse("bad-model", f"`{path}` gives one score, and not one for each class", path)
    hashes = {"sha256": _hash(path)}
    for other in others:  # one, as the exporter writes them
        hashes["data_sha256"] = _hash(other)
    return _Member(path, model, values, hashes)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


# ---- whether they fit together


def _difference(first: _Member, other: _Member) -> str:
    """In what two networks differ that must be the same; empty if they can be averaged."""
    given, given_other = first.model.inputs[0], other.model.inputs[0]
    classes, classes_other = first.model.outputs[0].shape[1], other.model.outputs[0].shape[1]
    if classes != classes_other:
        return f"their classes: {classes} and {classes_other}"
    if first.labels != other.labels:
        return f"their labels: {_labels(first.labels, other.labels)}"
    if first.probabilities != other.probabilities:
        return f"what their probabilities are: those of {first.probabilities} and of {other.probabilities}"
    if given != given_other:
        return f"what they take: {_shown(given)}, and {_shown(given_other)}"
    if first.preprocess != other.preprocess:
        keys = sorted(first.preprocess.keys() | other.preprocess.keys())
        keys = [key for key in keys if first.preprocess.get(key) != other.preprocess.get(key)]
        both = [f"{key} {first.preprocess.get(key)} and {other.preprocess.get(key)}" for key in keys]
        return f"their preprocessing: {', '.join(both)}"
    return ""


def _labels(first: list[str] | None, other: list[str] | None) -> str:
    if first is None or other is None:
        return "one of them has none"
    index = next(i for i, pair in enumerate(zip(first, other, strict=True)) if pair[0] != pair[1])
    return f"class {index} is {first[index]!r} and {other[index]!r}"


def _shown(value: Value) -> str:
    return f"`{value.name}` of {value.dtype} {'×'.join(map(str, value.shape))}"


# ---- one network of all


def _merged(members: Sequence[_Member]) -> Model:
    first = members[0].model
    merger = _Merger(Model(first.name))
    results = tuple(merger.add(member, f"{number}/") for number, member in enumerate(members, 1))
    model = merger.model
    model.nodes.append(Call("Mean", "mean", results, PROBABILITIES, {}))
    model.inputs = first.inputs[:1]
    model.outputs = [Value(PROBABILITIES, "float32", (BATCH, first.outputs[0].shape[1]))]
    model.metadata = _described(members)
    model.producer_version = model.metadata[VERSION]
    return model


class _Merger:
    """Adds networks to one model. `known` has what is there already, by all that it is."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.known: dict[Any, str] = {}

    def add(self, member: _Member, prefix: str) -> str:
        """Add a network, its names behind `prefix`, and return the value of its probabilities."""
        model, output = member.model, member.model.outputs[0].name
        names = {model.inputs[0].name: model.inputs[0].name, "": ""}  # inputs that are left out have no name
        tensors = {tensor.name: tensor for tensor in model.tensors}
        for call in _needed(model.nodes, output):
            for name in call.inputs:
                if name in tensors and name not in names:
                    names[name] = self.tensor(tensors[name], member.values[name], prefix)
                elif name not in names:
                    refuse("bad-model", f"`{member.path}` has no value `{name[:60]}`", member.path)
            inputs = tuple(names[name] for name in call.inputs)
            names[call.output] = self.call(call, inputs, prefix)
        if output not in names:
            refuse("bad-model", f"`{member.path}` does not compute its output", member.path)
        if output == PROBABILITIES:
            return names[output]
        return self.call(Call("Softmax", "Softmax", (), "Softmax", {"axis": 1}), (names[output],), prefix)

    def call(self, call: Call, inputs: tuple[str, ...], prefix: str) -> str:
        key = (call.op, inputs, tuple(sorted(call.attributes.items(), key=lambda item: item[0])))
        if key not in self.known:
            output = self.known[key] = prefix + call.output
            self.model.nodes.append(Call(call.op, prefix + call.name, inputs, output, call.attributes))
        return self.known[key]

    def tensor(self, tensor: Tensor, content: Bytes, prefix: str) -> str:
        digest = sha256()
        for piece in content.pieces():
            digest.update(piece)
        key = (tensor.dtype, tensor.shape, digest.digest())
        if key not in self.known:
            self.known[key] = prefix + tensor.name
            self.model.tensors.append(tensor._replace(name=prefix + tensor.name))
        return self.known[key]


def _needed(nodes: Sequence[Call], output: str) -> list[Call]:
    """The nodes that lead to an output, in their order: other heads are left out."""
    wanted = {output}
    found = []
    for call in reversed(nodes):
        if call.output in wanted:
            wanted.update(call.inputs)
            found.append(call)
    return found[::-1]


# ---- what it says of itself


def _described(members: Sequence[_Member]) -> dict[str, str]:
    """The metadata: of images and classes as every member has it, and those of each member that are its own."""
    given = members[0].model.metadata
    text = _common_spec([member.model.metadata.get(SPEC, "") for member in members])
    entries = {VERSION: version("cnnspec"), SPEC: text, SHA256: sha256(text.encode()).hexdigest()}
    entries |= {key: given[key] for key in (PREPROCESS, LABELS) if key in given}
    own = [
        {"file": str(member.path), "name": member.model.name, **member.hashes, **_own(member.model.metadata)}
        for member in members
    ]
    return entries | {MEMBERS: json.dumps(own, ensure_ascii=False)}


def _own(metadata: Mapping[str, str]) -> dict[str, str]:
    shared = (PREPROCESS, LABELS)
    return {key.removeprefix("cnnspec."): value for key, value in metadata.items() if key not in shared}


def _common_spec(texts: Sequence[str]) -> str:
    """A spec without layers: the images that all members take, and the data where these are the same."""
    roots = [read_text(text, "the spec of a member", Report()) for text in texts]
    first = roots[0]
    if not isinstance(first, Tree):
        return ""
    entries = {key: entry for key, entry in first.entries.items() if key in _OF_IMAGES}
    trained: list[dict[str, tuple[Scalar, Node]]] = []
    for root in roots:
        train = root.get("train") if isinstance(root, Tree) else None
        trained.append(train.entries if isinstance(train, Tree) else {})
    common: dict[str, tuple[Scalar, Node]] = {}
    for key in _OF_DATA:
        written = {tree_text(Tree({key: found[key]}, first.span)) if key in found else "" for found in trained}
        if len(written) > 1 and key == "data":
            break
        if len(written) == 1 and key in trained[0]:
            common[key] = trained[0][key]
    if common:
        entries["train"] = (Scalar("train", "train", first.span), Tree(common, first.span))
    return tree_text(Tree(entries, first.span))
