"""Whether the sections of a recipe fit together, and with the network's input."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from cnnspec.diagnostics import Label, Report, did_you_mean
from cnnspec.ops import Maps
from cnnspec.spec.document import Spec
from cnnspec.spec.recipe.augment import (
    Cutout,
    Hue,
    Lighting,
    Mixup,
    RandomCrop,
    RandomResizedCrop,
    Saturation,
)
from cnnspec.spec.recipe.data import Fold
from cnnspec.spec.recipe.initializer import Orthogonal
from cnnspec.spec.recipe.model import Recipe
from cnnspec.spec.recipe.optimizer import Sgd
from cnnspec.spec.recipe.schedule import Cosine, MultiStep, Polynomial, ReduceOnPlateau, Step, Warmup
from cnnspec.spec.sections import PreprocessSection

Path = tuple[str | int, ...]


def check_sections(recipe: Recipe, spec: Spec, report: Report) -> None:
    """Report every contradiction, where it is written."""
    checks = _Checks(recipe, report)
    checks.optimizer()
    checks.schedule()
    checks.split()
    if isinstance(spec.input, Maps):
        checks.augment(spec.input)
        checks.pieces(spec.input, spec.preprocess or PreprocessSection())
    checks.metrics()
    checks.monitors()
    checks.initializers()


class _Checks:
    def __init__(self, recipe: Recipe, report: Report) -> None:
        self.recipe = recipe
        self.report = report

    def _conflict(self, message: str, path: Path, *, key: bool = False, other: Path = (), help: str = "") -> None:
        """Report a contradiction at `path`, or at its key, with `other` as the second place."""
        span = self.recipe.span
        related = [Label(span(*other), "")] if other else []
        self.report.add("recipe-conflict", message, span(*path, key=key), related=related, help=help)

    # ---- how a step is made

    def optimizer(self) -> None:
        """Options that need, or exclude, one another."""
        optimizer, here = self.recipe.optimizer, "optimizer"
        decays = optimizer.l2 or optimizer.decoupled_weight_decay
        if isinstance(optimizer, Sgd) and optimizer.nesterov and not optimizer.momentum:
            self._conflict("`nesterov` has no meaning without `momentum`", (here, "nesterov"), key=True)
        if optimizer.l2 and optimizer.decoupled_weight_decay:
            other = (here, "decoupled_weight_decay")
            self._conflict("a recipe has one decay, not both", (here, "l2"), key=True, other=other)
        if optimizer.exclude and not decays:
            self._conflict("`exclude` has no meaning without a decay", (here, "exclude"), key=True)

    # ---- time

    def schedule(self) -> None:
        """What the schedule does must happen before training ends, and after the warm-up."""
        schedule = self.recipe.schedule
        if schedule.warmup:
            self._warmup(schedule.warmup)
        if isinstance(schedule, Step):
            self._before_end("the first step", schedule.every, ("schedule", "step", "every"))
        if isinstance(schedule, MultiStep):
            self._milestones(schedule.milestones)
        if isinstance(schedule, Cosine | Polynomial):
            self._curve(schedule)
        if isinstance(schedule, Cosine) and schedule.restarts:
            path = ("schedule", "restarts", "every")
            start = schedule.warmup.epochs if schedule.warmup else 0  # rounds begin when it ends
            self._before_end("the first restart", start + schedule.restarts.every, path)

    def _warmup(self, warmup: Warmup) -> None:
        if warmup.epochs >= self.recipe.epochs:
            epochs = f"{warmup.epochs:g} epoch{'s' * (warmup.epochs != 1)}"
            self._late(f"a warm-up of {epochs} leaves none", ("schedule", "warmup", "epochs"))
        if warmup.shape == "constant" and not warmup.start:
            self._conflict(
                "a constant warm-up that starts at 0 trains nothing",
                ("schedule", "warmup", "shape"),
                help="give it a `start` between 0 and 1",
            )

    def _milestones(self, milestones: list[int]) -> None:
        path = ("schedule", "multi_step", "milestones")
        for i, (before, after) in enumerate(pairwise(milestones), 1):
            if after <= before:
                self._conflict(f"milestones increase, {after} comes after {before}", (*path, i))
        for i, milestone in enumerate(milestones):
            self._before_end("the milestone", milestone, (*path, i))

    def _curve(self, schedule: Cosine | Polynomial) -> None:
        until, path = schedule.until, ("schedule", "until")
        if until is None:
            return
        if until > self.recipe.epochs:
            self._late(f"epoch {until} never comes", path)
        if schedule.warmup and until <= schedule.warmup.epochs:
            message = f"the curve would end at {until}, before the warm-up does"
            self._conflict(message, path, other=("schedule", "warmup"))
        if isinstance(schedule, Cosine) and schedule.restarts:
            message = "with `restarts` the cosine goes on to the end of training"
            self._conflict(message, path, key=True, other=("schedule", "restarts"))

    def _before_end(self, what: str, time: float, path: Path) -> None:
        if time >= self.recipe.epochs:
            self._late(f"{what} after {time:g} epochs never comes", path)

    def _late(self, what: str, path: Path) -> None:
        self._conflict(f"{what}: training ends after {self.recipe.epochs}", path, other=("epochs",))

    # ---- images

    def split(self) -> None:
        """The fold is one of those that there are."""
        split = self.recipe.split
        if isinstance(split, Fold) and split.fold > split.folds:
            message = f"there is no fold {split.fold} of {split.folds}: they count from 1"
            self._conflict(message, ("split", "fold"), other=("split", "folds"))

    def augment(self, size: Maps) -> None:
        """The order of the steps, and what they need of the images."""
        steps = self.recipe.augment
        for i, step in enumerate(steps):
            path = ("augment", i, step.kind)
            if isinstance(step, RandomCrop | RandomResizedCrop) and i > 0:
                self._conflict(f"`{step.kind}` makes the input's size: it comes first, once", path, key=True)
            if isinstance(step, Mixup) and i < len(steps) - 1:
                self._conflict("`mixup` works on whole batches: it comes last, once", path, key=True)
            if isinstance(step, Lighting | Saturation | Hue) and size.channels != 3:
                message = f"`{step.kind}` is for colours, the input is {size}"
                self._conflict(message, path, key=True)
            if isinstance(step, RandomCrop) and step.shorter_side[0] < max(size.height, size.width):
                message = f"{step.shorter_side[0]} pixels are too few for a piece of {size}"
                self._conflict(message, (*path, "shorter_side"))
            if isinstance(step, Cutout) and step.size >= min(size.height, size.width):
                self._conflict(f"a square of {step.size} pixels hides an image of {size}", (*path, "size"))

    def pieces(self, size: Maps, preprocess: PreprocessSection) -> None:
        """A random piece shows at least half as much of an image's shorter side as evaluation does."""
        resize, crop = preprocess.resize, preprocess.crop
        if crop and not resize:
            return  # what evaluation leaves of an image is up to its size
        seen = min(1.0, min(crop) / min(resize)) if crop and resize else 1.0
        side = min(size.height, size.width)
        for i, step in enumerate(self.recipe.augment):
            if isinstance(step, RandomCrop) and (share := side / step.shorter_side[0]) < seen / 2:
                self.report.add(
                    "small-pieces",
                    f"a piece of {size} has {share:.0%} of an image's shorter side at most, evaluation sees {seen:.0%}",
                    self.recipe.span("augment", i, step.kind, "shorter_side"),
                    help=f"`{step.kind}: {round(side / seen)}` shows as much as evaluation does",
                )

    # ---- metrics and what watches them

    def metrics(self) -> None:
        """No metric twice."""
        seen: set[str] = set()
        for i, metric in enumerate(self.recipe.metrics):
            if metric.name in seen:
                self._conflict(f"`{metric.name}` is listed twice", ("metrics", i))
            seen.add(metric.name)

    def monitors(self) -> None:
        """A monitor is a number that there is."""
        recipe = self.recipe
        watched = ["loss", *(metric.name for metric in recipe.metrics if metric.is_number)]
        known = [prefix + name for prefix in ("validation_", "") for name in watched]
        for name, path in self._watching():
            if name not in known:
                self.report.add(
                    "unknown-name",
                    f"there is no `{name[:60]}` to monitor: {self._why(name)}",
                    recipe.span(*path),
                    help=did_you_mean(name.replace("val_", "validation_", 1), known),
                )
            elif name.startswith("validation_") and not recipe.validates:
                self._conflict(
                    f"`{name}` needs images to validate on",
                    path,
                    help="hold some out, `split: 0.1`, or monitor the training images",
                )

    def _watching(self) -> Iterator[tuple[str, Path]]:
        """What is monitored, and where that is said."""
        recipe = self.recipe
        if isinstance(recipe.schedule, ReduceOnPlateau):
            yield recipe.schedule.monitor, ("schedule", recipe.schedule.kind, "monitor")
        if recipe.early_stop:
            yield recipe.early_stop.monitor, ("early_stop", "monitor")
        if recipe.checkpoints.best:
            yield recipe.checkpoints.best, ("checkpoints", "best")

    def _why(self, name: str) -> str:
        kind = name.removeprefix("validation_")
        if any(metric.name == kind for metric in self.recipe.metrics):
            return "it is a table, not a number"
        return "a monitor is a loss or one of `metrics`"

    # ---- first weights

    def initializers(self) -> None:
        """A bias is no matrix."""
        section = self.recipe.initializers
        path: Path = ("initializers",)
        biases: list[tuple[object, Path]] = [(section.bias, (*path, "bias"))]
        for pattern, layer in section.layers.items():
            biases.append((layer.bias, (*path, "layers", pattern, "bias")))
        for initializer, place in biases:
            if isinstance(initializer, Orthogonal):
                self._conflict("`orthogonal` makes matrices, a bias is none", place)
