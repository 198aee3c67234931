"""What backends are trained with to be compared: a recipe cut down to some steps, and its batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from cnnspec.diagnostics import Report
from cnnspec.graph import Graph
from cnnspec.ops import Vector
from cnnspec.spec.recipe import Recipe
from cnnspec.spec.recipe.schedule import Schedule
from cnnspec.verify.sample import Array, batch, random

_FEWEST = 4  # images that go through a batch norm at once
_TIMES = ("every", "patience")


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps of training by a `recipe`, which is the spec's `own` or the default one.

    Of each epoch, `steps_per_epoch` steps are made, and as many epochs as these `steps` fill. Where the recipe has more
    of them, the times of its schedule shrink alike: `epochs` is how many it has.
    """

    recipe: Recipe
    """With as many epochs as are made, and small batches; without augmentation, in one precision."""
    own: bool
    steps: int
    steps_per_epoch: int
    epochs: int

    @property
    def images(self) -> int:
        """How many a step takes."""
        return self.recipe.batch_size * self.recipe.gradient_accumulation

    def batches(self, graph: Graph, seed: int) -> Sequence[tuple[Any, Any]]:
        """Images and classes for every step, which depend on the seed alone."""
        classes = graph.outputs[0].node.shape.channels
        return [
            (_images(graph, self.images, seed, i), _labels(classes, self.images, seed, i)) for i in range(self.steps)
        ]

    def describe(self) -> list[str]:
        """What there is to know about these steps, a sentence each."""
        recipe = self.recipe
        whose = f"by the recipe {recipe.name}" if recipe.name else "by the spec's recipe"
        if not self.own:
            whose = f"by the recipe {recipe.name}, as the spec has none"
        parts = f" in {recipe.gradient_accumulation} parts" if recipe.gradient_accumulation > 1 else ""
        made = f"{self.steps} step{'s' * (self.steps != 1)} of {self.images} images{parts}, {self.steps_per_epoch} an epoch"
        said = [f"{made}, {whose}"]
        if recipe.epochs < self.epochs:
            said.append(f"times of its schedule are those of {recipe.epochs} epochs in place of {self.epochs}")
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
        "precision": "float32",
        "schedule": _shrunk(recipe.schedule, epochs / recipe.epochs) if epochs < recipe.epochs else recipe.schedule,
    }
    return Plan(recipe.model_copy(update=changes), own, steps, per_epoch, recipe.epochs)


def _shrunk(schedule: Schedule, share: float) -> Schedule:
    """A schedule whose times are this share of what they were; what is counted in whole epochs is at least one."""

    def whole(time: int) -> int:
        return max(1, round(time * share))

    changes: dict[str, Any] = {name: whole(getattr(schedule, name)) for name in _TIMES if hasattr(schedule, name)}
    if hasattr(schedule, "milestones"):
        changes["milestones"] = [whole(milestone) for milestone in schedule.milestones]
    if hasattr(schedule, "cooldown"):
        changes["cooldown"] = round(schedule.cooldown * share)
    if schedule.warmup:
        changes["warmup"] = schedule.warmup.model_copy(update={"epochs": schedule.warmup.epochs * share})
    if getattr(schedule, "until", None) is not None:
        behind = floor(schedule.warmup.epochs * share) + 1 if schedule.warmup else 1
        changes["until"] = max(whole(schedule.until), behind)  # type: ignore[union-attr]
    if getattr(schedule, "restarts", None) is not None:
        restarts = schedule.restarts  # type: ignore[union-attr]
        changes["restarts"] = restarts.model_copy(update={"every": whole(restarts.every)})
    return schedule.model_copy(update=changes)


def _images(graph: Graph, count: int, seed: int, step: int) -> Array:
    return random(seed, f"training images {step}", (count, *graph.input.shape))


def _labels(classes: int, count: int, seed: int, step: int) -> Array:
    """Classes, drawn from what is left of normal numbers behind the third decimal."""
    drawn = random(seed, f"training labels {step}", (count,)).astype(np.float64)
    return (np.floor(np.abs(drawn) * 1000 * classes).astype(np.int64)) % classes
