"""Trains in every backend side by side, and compares losses and all parameters after every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from cnnspec.graph import Graph
from cnnspec.graph.model import Node
from cnnspec.lower.backend import Precision
from cnnspec.ops import Maps
from cnnspec.train.backend import TrainingBackend
from cnnspec.verify.compare import SMALLEST_STEP, Comparison, compare, largest
from cnnspec.verify.plan import Plan
from cnnspec.verify.result import Check

FIRST: dict[Precision, float] = {"float64": 1e-8, "float32": 2e-5}
"""What may lie between two frameworks after the first step, as a part of the largest value.

Right ones come to 1e-14 in float64, and no mistake of meaning to less than 1e-7.
"""
LATER: dict[Precision, float] = {"float64": 1e-8, "float32": 1e-3}
"""The same after later steps: in float32, roundings grow from one to the next."""
SELF_NOISE = 10
"""It may also be so many times what the base departs from itself, when what differs must not matter.

That is each parameter's own departure; in float32 that of any of them, as it is chance which one a flipping ReLU moves
first. Where training is stable it is nothing in float64; in float32 it is much in deep networks.
"""
ASIDE: dict[Precision, int] = {"float64": 1, "float32": 10}
STARTS: dict[Precision, int] = {"float64": 1, "float32": 4}
"""How many roundings aside the base starts, and from how many places.

A ReLU or a pool that flips moves the weights as far after one rounding as after ten, but ten times as seldom, and ten
times a start that flips nothing is next to nothing. It is also chance when and what they flip. In float64 none does.
"""

Values = dict[str, tuple[Node, Any]]


def training_checks(
    asked: Sequence[TrainingBackend],
    plan: Plan,
    graph: Graph,
    weights: Mapping[str, Any],
    seed: int,
    precisions: Iterable[Precision],
    rounded: bool = False,
) -> Iterator[Check]:
    """Compare all others with the last one that is asked.

    With `rounded`, frameworks have some numbers in float32 even in float64, which then has the tolerances of float32.
    """
    *others, base = asked
    for precision in precisions:
        bounds: Precision = "float32" if rounded else precision
        yield from _Race(others, base, plan, graph, weights, seed, precision, bounds).checks()


class _Race:
    """Backends that take the same steps in one precision; nothing of a step is kept when all have taken the next."""

    def __init__(
        self,
        others: Sequence[TrainingBackend],
        base: TrainingBackend,
        plan: Plan,
        graph: Graph,
        weights: Mapping[str, Any],
        seed: int,
        precision: Precision,
        bounds: Precision,
    ) -> None:
        self.base = base
        self.others = others
        self.plan = plan
        self.graph = graph = plan.shrunk(graph)
        self.weights = {key: np.asarray(weights[key]) for key in weights}
        self.batches = plan.batches(graph, seed)
        self.precision: Precision = precision
        self.bounds: Precision = bounds
        self.nodes = {f"{node.path}.{name}": node for node in reversed(graph.nodes) for name in node.params}
        self.noise: dict[str, float] = {}
        self.top_loss = 0.0

    def checks(self) -> list[Check]:
        """What each of the others comes to."""
        per_step = 1 + len(self.nodes) * (2 if self.plan.recipe.ema else 1)
        total = self.plan.steps * per_step
        checks = [Check(f.name, self.precision, "training", self.base.name, total) for f in self.others]
        runs = [self._values(found, self.precision) for found in self.others]
        own = self._values(self.base, self.precision)
        noises = self._noises()
        found: list[list[Comparison]] = [[] for _ in checks]
        for step in range(1, self.plan.steps + 1):
            try:
                expected = next(own)
                disturbed = [next(values) for values in noises]
            except Exception as error:
                return [replace(check.failed(error), backend=self.base.name, against=check.backend) for check in checks]
            bounds = self._bounds(step, expected, disturbed)
            for i, values in enumerate(runs):
                if checks[i].error:
                    continue
                try:
                    found[i] += _compared(step, next(values), expected, bounds)
                except Exception as error:  # of whatever kind: the others can still be compared
                    checks[i] = checks[i].failed(error)
            if not all(np.isfinite(array).all() for _, array in expected.values()):
                break
        return [replace(check, comparisons=made) for check, made in zip(checks, found, strict=True)]

    def _values(
        self, found: TrainingBackend, precision: Precision, weights: Mapping[str, Any] | None = None
    ) -> Iterator[Values]:
        """What is compared after every step, in the order in which a mistake spreads."""
        given = self.weights if weights is None else weights
        variances = _Variances(self.graph, given, self.plan) if found.running_variance == "unbiased" else None
        plan, first = self.plan, self.graph.outputs[0].node
        steps = found.trajectory(self.graph, given, plan.recipe, self.batches, precision, plan.steps_per_epoch)
        for step in steps:
            arrays = variances.biased(step.weights) if variances else step.weights
            values: Values = {"loss": (first, np.asarray(step.loss))}
            values |= {key: (node, arrays[key]) for key, node in self.nodes.items()}
            if step.averages is not None:
                averages = step.averages | {key: arrays[key] for key in (variances.keys if variances else ())}
                values |= {f"average of {key}": (node, averages[key]) for key, node in self.nodes.items()}
            yield values

    def _noises(self) -> list[Iterator[Values]]:
        """Runs of the base in which what differs must not matter."""
        precision = self.precision
        starts = (self._aside(ASIDE[precision], seed) for seed in range(STARTS[precision]))
        runs = [self._values(self.base, precision, weights) for weights in starts]
        return runs if precision == "float64" else [*runs, self._values(self.base, "float64")]

    def _aside(self, roundings: int, seed: int) -> dict[str, Any]:
        """The weights, each off by so many roundings or none."""
        generator = np.random.default_rng(seed)
        eps = roundings * np.finfo(self.precision).eps
        factors = {key: 1 + generator.integers(-1, 2, array.shape) * eps for key, array in self.weights.items()}
        return {key: (self.weights[key] * factor).astype(self.precision) for key, factor in factors.items()}

    def _bounds(self, step: int, expected: Values, disturbed: Sequence[Values]) -> dict[str, _Bound]:
        """The size of everything, and how far from it others may lie."""
        sizes = {name: largest(array) for name, (_, array) in expected.items()}
        trained = [sizes[key] for key, node in self.nodes.items() if node.params[key.rpartition(".")[2]].trainable]
        floor = SMALLEST_STEP * max(trained, default=0.0)
        self.top_loss = max(self.top_loss, sizes["loss"])
        scales = {name: max(size, floor) for name, size in sizes.items()} | {"loss": self.top_loss}
        part = (FIRST if step == 1 else LATER)[self.bounds]
        for name, (_, array) in expected.items():
            apart = max(largest(values[name][1], array) for values in disturbed)
            noise = SELF_NOISE * apart / scales[name] if scales[name] else 0.0
            self.noise[self._of(name)] = max(self.noise.get(self._of(name), 0.0), noise)
        parts = {of: max(part, noise) for of, noise in self.noise.items()}
        return {name: _Bound(scale, scale * parts[self._of(name)]) for name, scale in scales.items()}

    def _of(self, name: str) -> str:
        """Whose noise is the measure."""
        return name if name == "loss" or self.bounds == "float64" else "parameters"


class _Bound(NamedTuple):
    scale: float
    allowed: float


def _compared(step: int, values: Values, expected: Values, bounds: Mapping[str, _Bound]) -> Iterator[Comparison]:
    for name, (node, array) in expected.items():
        scale, allowed = bounds[name]
        if not np.isfinite(array).all():
            problem = "training comes to values that are not finite in both: a lower rate may help"
            yield Comparison(name, node, float("inf"), scale, allowed, problem, step)
        else:
            yield compare(name, node, values[name][1], array, scale, allowed)._replace(step=step)


class _Variances:
    """Running variances as they would be if every batch had added its variance as it is, not times n/(n − 1)."""

    def __init__(self, graph: Graph, weights: Mapping[str, Any], plan: Plan) -> None:
        self.keys: dict[str, tuple[float, float]] = {}
        """By the key, how much of it a step keeps, and (n − 1)/n."""
        self.first: dict[str, int] = {}
        """By the key, the step from which on it moves, from 0."""
        self.step = 0
        first = graph.first_epochs()
        for node in graph.nodes:
            if node.op.kind == "batch_norm" and (epoch := first.get(node.path)):
                shape = node.shape
                pixels = shape.height * shape.width if isinstance(shape, Maps) else 1
                count = plan.recipe.batch_size * pixels
                keep = float(dict(node.canonical().attrs)["momentum"]) ** plan.recipe.gradient_accumulation
                self.keys[f"{node.path}.running_var"] = keep, (count - 1) / count
                self.first[f"{node.path}.running_var"] = (epoch - 1) * plan.steps_per_epoch
        self.before = {key: np.asarray(weights[key], np.float64) for key in self.keys}
        self.made = dict(self.before)

    def biased(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters after the next step, with running variances as said."""
        self.step += 1
        for key, (keep, part) in self.keys.items():
            if self.step <= self.first[key]:  # it is frozen
                continue
            now = np.asarray(weights[key], np.float64)
            self.made[key] = keep * self.made[key] + (now - keep * self.before[key]) * part
            self.before[key] = now
        return {**weights, **self.made}
