"""What backends are trained with to be compared: a recipe cut down to some steps, and its batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

import numpy as np

from cnnspec.diagnostics import Report
from cnnspec.graph import Graph
from cnnspec.ops import Vector
from cnnspec.spec.recipe import Recipe
from cnnspec.spec.recipe.schedule import Cosine, MultiStep, Polynomial, ReduceOnPlateau, Schedule
from cnnspec.spec.recipe.schedule import Step as StepDecay
from cnnspec.verify.sample import Array, batch, random

_FEWEST = 4  # images that go through a batch norm at once


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps of training by a `recipe`, which is the spec's `own` or the default one.

    Of each epoch, `steps_per_epoch` steps are made, and as many epochs as these `steps` fill. Where the recipe has more
    of them, the times of its schedule and of a transfer case shrink alike: `epochs` is how many it has.
    """

    recipe: Recipe
    """With as many epochs as are made, and small batches; without augmentation and metrics, in one precision."""
    own: bool
    steps: int
    steps_per_epoch: int
    epochs: int
    starts: tuple[int, ...] = ()
    """The epochs in which layers start to train."""

    @property
    def images(self) -> int:
        """How many a step takes."""
        return self.recipe.batch_size * self.recipe.gradient_accumulation

    def shrunk(self, graph: Graph) -> Graph:
        """The network, whose layers start to train at the times of this plan."""
        return replace(graph, starts={path: self._start(epoch) for path, epoch in graph.starts.items()})

    def _start(self, epoch: int) -> int:
        """When a layer starts to train: behind at least one epoch, and where it does so at all, ahead of the last."""
        if epoch > self.epochs or self.recipe.epochs >= self.epochs:
            return epoch
        before = round((epoch - 1) * self.recipe.epochs / self.epochs)
        return 1 + max(1, min(before, self.recipe.epochs - 1))

    def batches(self, graph: Graph, seed: int) -> Sequence[tuple[Any, Any]]:
        """Images and classes for every step, which depend on the seed alone."""
        count = self.images
        return [(_images(graph, count, seed, i), _classes(graph, count, seed, i)) for i in range(self.steps)]

    def describe(self) -> list[str]:
        """What there is to know about these steps, a sentence each."""
        recipe = self.recipe
        whose = f"by the recipe {recipe.name}" if recipe.name else "by the spec's recipe"
        if not self.own:
            whose = f"by the recipe {recipe.name}, as the spec has none"
        parts = f" in {recipe.gradient_accumulation} parts" if recipe.gradient_accumulation > 1 else ""
        steps = f"{self.steps} step{'s' * (self.steps != 1)} of {self.images} images{parts}"
        said = [f"{steps}, {self.steps_per_epoch} an epoch, {whose}"]
        if recipe.epochs < self.epochs:
            said.append(f"times of its schedule are those of {recipe.epochs} epochs in place of {self.epochs}")
        for epoch in self.starts:
            if (here := self._start(epoch)) != epoch:
                said.append(f"layers that start to train in epoch {epoch} do so in epoch {here} here")
        said.append("no dropout, no augmentation; running variances corrected for n/(n − 1)")
        return said


def plan(recipe: Recipe, own: bool, graph: Graph, steps: int) -> Plan:
    """How to train for a number of steps. Raises `SpecError` where the network has no classes to learn."""
    if not isinstance(graph.outputs[0].node.shape, Vector):
        report = Report()
        message = "what is trained has one output for each class, but the network's output has height and width"
        report.add("recipe-conflict", message, recipe.span())
        report.raise_errors()
    whole = min(recipe.epochs, max(1, steps // 2))
    per_epoch = ceil(steps / whole)
    epochs = ceil(steps / per_epoch)
    changes = {
        "epochs": epochs,
        "batch_size": min(recipe.batch_size, max(_FEWEST, batch(graph))),
        "augment": [],
        "metrics": [],
        "precision": "float32",
        "schedule": _shrunk(recipe.schedule, epochs / recipe.epochs) if epochs < recipe.epochs else recipe.schedule,
    }
    starts = tuple(sorted(set(graph.starts.values())))
    return Plan(recipe.model_copy(update=changes), own, steps, per_epoch, recipe.epochs, starts)


def _shrunk(schedule: Schedule, share: float) -> Schedule:
    """A schedule whose times are this share of what they were; what is counted in whole epochs is at least one."""

    def whole(time: int) -> int:
        return max(1, round(time * share))

    changes: dict[str, Any] = {}
    warm_up = 0.0
    if schedule.warmup:
        warm_up = schedule.warmup.epochs * share
        changes["warmup"] = schedule.warmup.model_copy(update={"epochs": warm_up})
    match schedule:
        case StepDecay(every=every):
            changes["every"] = whole(every)
        case MultiStep(milestones=milestones):
            changes["milestones"] = [whole(milestone) for milestone in milestones]
        case ReduceOnPlateau(patience=patience, cooldown=cooldown):
            changes |= {"patience": whole(patience), "cooldown": round(cooldown * share)}
        case Cosine(restarts=restarts) if restarts:
            changes["restarts"] = restarts.model_copy(update={"every": whole(restarts.every)})
        case Cosine(until=until) | Polynomial(until=until) if until:
            changes["until"] = max(whole(until), floor(warm_up) + 1)
    return schedule.model_copy(update=changes)


def _images(graph: Graph, count: int, seed: int, step: int) -> Array:
    return random(seed, f"training images {step}", (count, *graph.input.shape))


def _classes(graph: Graph, count: int, seed: int, step: int) -> Array:
    """Drawn from what is left of normal numbers behind the third decimal."""
    drawn = random(seed, f"training classes {step}", (count,)).astype(np.float64)
    classes = np.floor(np.abs(drawn) * 1000 * graph.outputs[0].node.shape.channels).astype(np.int64)
    return np.asarray(classes % graph.outputs[0].node.shape.channels)
