"""Runs every backend on the same weights and images, and compares what it computes with the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnnspec.diagnostics import Report, SpecError
from cnnspec.graph import Graph
from cnnspec.graph.model import Node
from cnnspec.lower.backend import (
    Backend,
    CodeBackend,
    MissingDependency,
    Precision,
    backend,
    backends,
    check_support,
    limit,
)
from cnnspec.train.backend import TrainingBackend
from cnnspec.verify.compare import (
    RELATIVE,
    ROUNDED_GRADIENT,
    SELF_ERROR,
    SMALLEST_GRADIENT,
    Comparison,
    compare,
    largest,
    tolerance,
)
from cnnspec.verify.plan import Plan
from cnnspec.verify.result import Check, Verification
from cnnspec.verify.sample import Sample, random, sample
from cnnspec.verify.training import training_checks
from cnnspec.weights.check import given_weights
from cnnspec.weights.finite import warn_of_odd

TRUTH = "reference"
"""The backend that the others are compared with."""
MEANING = "torch"
"""The one whose optimisers are what a recipe means: the others' training is compared with its, where it is asked."""
NOT_GROWING = frozenset(
    ["relu", "relu6", "hard_tanh", "sigmoid", "tanh", "max_pool", "global_max_pool", "concat", "flatten"]
)
"""Kinds whose output is no farther off than their inputs are."""
Gradients = dict[str, Any]
"""Arrays in canonical layout by parameter path."""
PRECISIONS: tuple[Precision, ...] = ("float64", "float32")


def verify(
    graph: Graph,
    weights: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    only: Sequence[str] | None = None,
    precisions: Sequence[Precision] = PRECISIONS,
    training: Plan | None = None,
) -> Verification:
    """Compare backends on images that `seed` makes, and on weights that it makes too unless they are given.

    `only` names the backends; without it, all are asked that are installed. Gradients are compared where `precisions`
    has float64, training where there is a plan of it. Raises `ValueError` where fewer than two are asked that train;
    `MissingDependency` where one that is named is not installed, or none is; `SpecError` where the weights are not the
    network's, or a backend lacks one of its ops.
    """
    asked, left_out = choose(only)
    trainers = _trainers(asked, only) if training else []
    report = Report()
    if weights is not None:
        given = given_weights(weights, graph, report)
        if not report.failed:
            warn_of_odd(given)
    for one in asked:
        check_support(graph, one.name, one.kinds, report)
    report.raise_errors()
    drawn = sample(graph, backends()[TRUTH].load().apply, seed, weights)
    found = Verification(graph, seed, len(drawn.images), [], left_out, training)
    for node in graph.nodes:
        if not np.isfinite(drawn.outputs[node.path]).all():  # nothing behind it can be compared
            return replace(found, not_finite=node)
    with np.errstate(all="ignore"):  # an infinity is reported where it is compared
        differentiating = _differentiating(asked, graph) if "float64" in precisions else []
        cotangents = _cotangents(graph, drawn, seed)
        checks: list[Check] = []
        gradients: dict[str, Gradients | Exception] = {}
        for one in asked:
            for precision in (each for each in precisions if each in one.precisions):
                wanted = one in differentiating and precision == "float64"
                check, gradient = _run(one, graph, drawn, precision, cotangents if wanted else None)
                checks.append(check)
                if gradient is not None:
                    gradients[one.name] = gradient
        checks += _gradients(differentiating, gradients, graph, drawn, cotangents, seed)
        if training:
            checks += _training(trainers, training, graph, drawn, seed, precisions)
    return replace(found, checks=checks)


def verifiable() -> list[str]:
    """The backends that can be compared with the reference, by name."""
    return [name for name in backends() if name != TRUTH]


def choose(only: Sequence[str] | None) -> tuple[list[Backend], dict[str, str]]:
    """The backends to ask, and the extras of those that are left out."""
    if only is not None:
        return [backend(name) for name in dict.fromkeys(only)], {}
    asked: list[Backend] = []
    missing: dict[str, MissingDependency] = {}
    for name in verifiable():
        try:
            asked.append(backend(name))
        except MissingDependency as error:
            missing[name] = error
    if not asked:
        raise next(iter(missing.values()))
    return asked, {name: error.extra for name, error in missing.items()}


def trainers(names: Sequence[str]) -> list[str]:
    """Those of these backends that train."""
    known = backends()
    return [name for name in names if isinstance(known[name].load(), TrainingBackend)]


def _trainers(asked: Sequence[Backend], only: Sequence[str] | None) -> list[TrainingBackend]:
    """Those that are asked and train. Raises `MissingDependency` where another one has to be installed first."""
    found = [each for each in asked if isinstance(each, TrainingBackend)]
    if len(found) < 2 and only is None:
        for name in trainers(verifiable()):
            backend(name)
    if len(found) < 2:
        raise ValueError(f"training is compared between two backends, of {' and '.join(trainers(verifiable()))}")
    return found


def _tried(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives, or the exception that it raised: of whatever kind, the other backends can be compared."""
    try:
        return function(*arguments)
    except (SpecError, MissingDependency):
        raise
    except Exception as error:
        return error


def _run(
    found: Backend, graph: Graph, drawn: Sample, precision: Precision, cotangents: Mapping[str, Any] | None
) -> tuple[Check, Gradients | Exception | None]:
    """All layers that the backend shows, against the reference; and the gradients, of the same model, if asked for."""
    inference = graph.inference()
    check = Check(found.name, precision, "outputs", TRUTH, len(inference.nodes))
    if reason := _lacking(found, inference, precision):
        return replace(check, skipped=reason), None
    runner = _tried(found.runner, graph, drawn.weights, precision)
    if isinstance(runner, Exception):
        return check.failed(runner), None if cotangents is None else runner
    outputs = _tried(runner.outputs, drawn.images)
    if isinstance(outputs, Exception):
        check = check.failed(outputs)
    else:
        check = _outputs(check, found, inference, drawn, outputs)
    return check, None if cotangents is None else _tried(runner.gradients, drawn.images, cotangents)


def _outputs(check: Check, found: Backend, inference: Graph, drawn: Sample, outputs: Mapping[str, Any]) -> Check:
    precision = check.precision
    if missing := {o.node.path for o in inference.outputs} - outputs.keys():
        return check.failed(f"shows no output `{min(missing)}`")
    if unknown := outputs.keys() - {node.path for node in inference.nodes}:
        return check.failed(f"shows `{min(unknown)}`, which is no layer of the network")
    rounded = _rounded(found, inference, precision)
    allowed: dict[int, float] = {}
    comparisons = []
    for node in inference.nodes:
        allowed[node.index] = _allowed(node, drawn, "float32" if node.index in rounded else precision, allowed)
        if node.path in outputs:
            comparisons.append(_layer(node, outputs[node.path], drawn, allowed[node.index]))
    return replace(check, comparisons=comparisons)


def _lacking(found: Backend, graph: Graph, precision: Precision) -> str:
    """The first layer that the framework cannot run."""
    for node in graph.nodes:
        if limit(found, node.canonical(), precision) == "lacking":
            return f"the framework of {found.name} has no kernel here for `{node.path}`"
    return ""


def _rounded(found: Backend, graph: Graph, precision: Precision) -> set[int]:
    """The layers that the framework computes with numbers in float32, and those behind them, by index."""
    rounded: set[int] = set()
    for node in graph.nodes:
        if limit(found, node.canonical(), precision) == "rounded" or any(i.index in rounded for i in node.inputs):
            rounded.add(node.index)
    return rounded


def _allowed(node: Node, drawn: Sample, precision: Precision, before: Mapping[int, float]) -> float:
    """How far a layer's output may depart; what passes errors on as they are may depart as its inputs may."""
    own = tolerance(precision, largest(drawn.outputs[node.path]), drawn.self_errors[node.path])
    inherited = [before.get(i.index, 0.0) for i in node.inputs] if node.canonical().kind in NOT_GROWING else []
    return max([own, *inherited])


def _layer(node: Node, found: Any, drawn: Sample, allowed: float) -> Comparison:
    expected = drawn.outputs[node.path]
    return compare(node.path, node, found, expected, largest(expected), allowed)


def _differentiating(asked: Sequence[Backend], graph: Graph) -> list[CodeBackend]:
    """The backends whose gradients can be compared in float64; none where there is nothing to compare."""
    found = [one for one in asked if isinstance(one, CodeBackend) and "float64" in one.precisions]
    found = [one for one in found if not _lacking(one, graph, "float64")]
    return found if len(found) > 1 and _owners(graph) else []


def _owners(graph: Graph) -> dict[str, Node]:
    """The layer of every parameter that trains by its key, from the output back, as gradients go."""
    return {
        f"{node.path}.{name}": node
        for node in reversed(graph.nodes)
        if node.path not in graph.frozen
        for name, param in node.params.items()
        if param.trainable
    }


def _cotangents(graph: Graph, drawn: Sample, seed: int) -> dict[str, Any]:
    return {
        path: random(seed, f"cotangent {path}", (len(drawn.images), *shape)).astype(np.float64)
        for path, shape in {output.node.path: output.node.shape for output in graph.outputs}.items()
    }


def _gradient(
    found: CodeBackend, graph: Graph, weights: Mapping[str, Any], images: Any, cotangents: Mapping[str, Any]
) -> Gradients:
    return found.runner(graph, weights, "float64").gradients(images, cotangents)


def _gradients(
    asked: Sequence[CodeBackend],
    results: Mapping[str, Gradients | Exception],
    graph: Graph,
    drawn: Sample,
    cotangents: Mapping[str, Any],
    seed: int,
) -> Iterable[Check]:
    """The gradients of every parameter in float64: those of the last backend are what the others' are compared with."""
    if not asked:
        return
    owners = _owners(graph)
    *others, base = asked
    expected = results[base.name]
    rounded = any(limit(f, node.canonical(), "float64").startswith("rounded") for f in asked for node in graph.nodes)
    part = ROUNDED_GRADIENT if rounded else RELATIVE["float64"]
    unit = 2.0**-21 if rounded else 2.0**-49  # some roundings of float32, or of float64
    nudged: Gradients | Exception | None = None  # what roundings make of these very gradients
    for found in others:
        check = Check(found.name, "float64", "gradients", base.name, len(owners))
        if isinstance(expected, Exception):
            yield replace(check, backend=base.name, against=found.name).failed(expected)
            return
        result = results[found.name]
        if isinstance(result, Exception):
            yield check.failed(result)
        elif lacking := [
            (n, k) for n, g in ((found.name, result), (base.name, expected)) for k in owners if k not in g
        ]:
            yield check.failed("cannot be compared: {} has no gradient of `{}`".format(*lacking[0]))
        else:
            floor = SMALLEST_GRADIENT * max(largest(expected[key]) for key in owners)
            scales = {key: max(largest(expected[key]), floor) for key in owners}
            comparisons = [
                compare(key, node, result[key], expected[key], scales[key], part * scales[key])
                for key, node in owners.items()
            ]
            if not all(c.agrees for c in comparisons):
                if nudged is None:
                    nudge = 1 + unit * random(seed, "nudge", drawn.images.shape).astype(np.float64)
                    nudged = _tried(_gradient, base, graph, drawn.weights, drawn.images * nudge, cotangents)
                if isinstance(nudged, dict):
                    noise = {key: SELF_ERROR * largest(nudged[key], expected[key]) for key in owners}
                    comparisons = [c._replace(tolerance=max(c.tolerance, noise[c.name])) for c in comparisons]
            yield replace(check, comparisons=comparisons)


def _training(
    asked: Sequence[TrainingBackend],
    plan: Plan,
    graph: Graph,
    drawn: Sample,
    seed: int,
    precisions: Sequence[Precision],
) -> Iterator[Check]:
    """Losses and parameters after every step, in each precision in which all frameworks can run the network."""
    *others, base = sorted(asked, key=lambda found: found.name == MEANING)
    for precision in precisions:
        lacking = [reason for found in asked if (reason := _lacking(found, graph, precision))]
        if lacking:
            for found in others:
                yield Check(found.name, precision, "training", base.name, plan.steps, skipped=lacking[0])
            continue
        rounded = any(limit(found, node.canonical(), precision) for found in asked for node in graph.nodes)
        yield from training_checks([*others, base], plan, graph, drawn.weights, seed, [precision], rounded)
