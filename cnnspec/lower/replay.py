"""A program run in plain Python: the nodes that the printed code would make, to be compared with the graph.

Equal outputs are not enough to trust folding: a ReLU lost behind a ReLU changes nothing. Here every op is compared,
with its path, its attributes and what it reads.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from cnnspec.expr import Value, evaluate
from cnnspec.graph import Graph
from cnnspec.lower import program as p
from cnnspec.lower.ops import collapsed, sized
from cnnspec.lower.program import Program, Tensor


class Made(NamedTuple):
    """One op as the printed code makes it; `inputs` are paths."""

    path: str
    kind: str
    attrs: dict[str, Value]
    channels: int
    inputs: tuple[str, ...]


def replay(program: Program, **parameters: Value) -> list[Made]:
    """Every op that the program makes, in order; `parameters` are the network's, at their defaults unless given."""
    network = program.network
    env = {q.name: q.default for q in network.parameters} | parameters
    made: list[Made] = []
    _Run(made).definition(network, env, "", ["input"])
    return made


class Stretch(NamedTuple):
    """What one step of the network makes: the paths of its ops, and that of `output`, which may be its input's."""

    name: str
    output: Tensor
    paths: list[str]
    given: str


def stretches(program: Program) -> list[Stretch]:
    """What each of the network's own steps makes, without its further heads."""
    network = program.network
    heads = [head.call for head in program.heads]
    env = {q.name: q.default for q in network.parameters}
    for name, expr in network.lets:
        env[name] = evaluate(expr, env)
    tensors = dict.fromkeys(network.inputs, "input")
    found = []
    for step in network.steps:
        if isinstance(step, p.Call) and step in heads:
            continue
        made: list[Made] = []
        _Run(made).step(step, env, "", tensors)
        found.append(Stretch(_path(step, env, ""), step.output, [op.path for op in made], tensors[step.output]))
    return found


def differences(program: Program, graph: Graph) -> list[str]:
    """What the program makes otherwise than the graph says; nothing, if the folding is right."""
    ops = replay(program)
    made = {op.path: op for op in ops}
    found = [f"{path}: made {n} times" for path, n in Counter(op.path for op in ops).items() if n > 1]
    found += [f"{path}: not in the graph" for path in made.keys() - {node.path for node in graph.nodes}]
    for node in graph.nodes:
        kind, attrs = node.canonical()
        op = made.get(node.path)
        if op is None:
            found.append(f"{node.path}: missing")
            continue
        wanted = Made(
            node.path,
            kind,
            {name: collapsed(value) for name, value in attrs.items()},
            node.input_shapes[0].channels if sized(node) else 0,
            tuple(source.path for source in node.inputs),
        )
        if op != wanted:
            found.append(f"{op} instead of {wanted}")
    return found


class _Run:
    def __init__(self, made: list[Made]) -> None:
        self.made = made

    def definition(self, definition: p.Definition, env: dict[str, Value], base: str, inputs: list[str]) -> str:
        for name, expr in definition.lets:
            env[name] = evaluate(expr, env)
        given = dict(zip(definition.inputs, inputs, strict=True))
        self.steps(definition.steps, env, base, given)
        assert definition.output
        return given[definition.output]

    def steps(self, steps: list[p.Step], env: dict[str, Value], base: str, tensors: dict[Tensor, str]) -> None:
        for step in steps:
            self.step(step, env, base, tensors)

    def step(self, step: p.Step, env: dict[str, Value], base: str, tensors: dict[Tensor, str]) -> None:
        match step:
            case p.Layer():
                for op in step.ops:
                    self.op(op, env, base, tensors)
            case p.Call(definition=callee):
                args = {
                    q.name: evaluate(step.args[q.name], env) if q.name in step.args else q.default
                    for q in callee.parameters
                }
                inputs = [tensors[tensor] for tensor in step.inputs]
                tensors[step.output] = self.definition(callee, args, _path(step, env, base), inputs)
            case p.Repeat():
                at = _path(step, env, base)
                flow = tensors[step.input]
                count = evaluate(step.count, env)
                assert isinstance(count, int)
                for k in range(count):
                    tensors[step.carried] = flow
                    self.step(step.step, env | {step.variable: k}, at, tensors)
                    flow = tensors[step.step.output]
                tensors[step.output] = flow
            case p.Sequence(steps=inner):
                self.steps(inner, env, _path(step, env, base), tensors)
            case p.Branches():
                at = _path(step, env, base)
                self.steps([*step.branches, step.merge], env, at, tensors)
            case p.Residual():
                at = _path(step, env, base)
                self.steps(step.body, env, at, tensors)
                if step.shortcut:
                    source = step.inputs[-1] if not step.shortcut.inputs else step.shortcut.inputs[0]
                    if step.condition is None or evaluate(step.condition, env):
                        self.step(step.shortcut, env, at, tensors)
                        tensors[step.shortcut_output] = tensors[step.shortcut.output]
                    else:
                        tensors[step.shortcut_output] = tensors[source]
                self.step(step.add, env, at, tensors)
            case p.Optional():
                if evaluate(step.condition, env):
                    self.step(step.step, env, base, tensors)
                    tensors[step.output] = tensors[step.step.output]
                else:
                    tensors[step.output] = tensors[step.inputs[0]]

    def op(self, op: p.Op, env: dict[str, Value], base: str, tensors: dict[Tensor, str]) -> None:
        path = ".".join([*([base] if base else []), *(str(evaluate(part, env)) for part in op.path)])
        attrs = {name: evaluate(expr, env) for name, expr in op.attrs.items()}
        channels = evaluate(op.channels, env)
        assert isinstance(channels, int)
        self.made.append(Made(path, op.kind, attrs, channels, tuple(tensors[tensor] for tensor in op.inputs)))
        tensors[op.output] = path


def _path(step: p.Step, env: dict[str, Value], base: str) -> str:
    return ".".join([*([base] if base else []), *(str(evaluate(part, env)) for part in step.path)])
