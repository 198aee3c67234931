"""Whether the sections of a recipe fit together, and with the network's input."""

from __future__ import annotations

from collections.abc import Iterator

from cnnspec.diagnostics import Label, Report, did_you_mean
from cnnspec.spec.document import Spec
from cnnspec.spec.recipe.augment import Cutout, Hue, Lighting, Mixup, RandomCrop, RandomResizedCrop, Saturation
from cnnspec.spec.recipe.initializer import Orthogonal
from cnnspec.spec.recipe.model import Recipe
from cnnspec.spec.recipe.optimizer import Sgd
from cnnspec.spec.recipe.schedule import Cosine, MultiStep, Polynomial, ReduceOnPlateau, Step, Warmup


def check_sections(recipe: Recipe, spec: Spec, report: Report) -> None:
    """Report every contradiction, where it is written."""
    _Checks(recipe, spec, report).run()


class _Checks:
    def __init__(self, recipe: Recipe, spec: Spec, report: Report) -> None:
        self.recipe = recipe
        self.spec = spec
        self.report = report

    def run(self) -> None:
        self._optimizer()
        self._schedule()
        self._augment()
        self._metrics()
        self._monitors()
        self._initializers()

    def _conflict(self, message: str, *path: str | int, key: bool = False, other: tuple[str, ...] = (), help: str = "") -> None:
        """Report a contradiction at `path`, with `other` as the second place."""
        related = [Label(self.recipe.span(*other), "")] if other else []
        self.report.add("recipe-conflict", message, self.recipe.span(*path, key=key), related=related, help=help)

    # ---- steps of the optimiser

    def _optimizer(self) -> None:
        optimizer = self.recipe.optimizer
        if isinstance(optimizer, Sgd) and optimizer.nesterov and not optimizer.momentum:
            self._conflict("`nesterov` has no meaning without `momentum`", "optimizer", "nesterov", key=True)
        if optimizer.l2 and optimizer.decoupled_weight_decay:
            self._conflict(
                "`l2` and `decoupled_weight_decay` are two ways to decay, a recipe has one", "optimizer", "l2", key=True,
                other=("optimizer", "decoupled_weight_decay"),
            )  # fmt: skip
        if optimizer.exclude and not (optimizer.l2 or optimizer.decoupled_weight_decay):
            self._conflict("`exclude` has no meaning without a decay", "optimizer", "exclude", key=True)

    # ---- time

    def _schedule(self) -> None:
        schedule = self.recipe.schedule
        if schedule.warmup:
            self._warmup(schedule.warmup)
        if isinstance(schedule, Step):
            self._before_end(schedule.every, "the first step comes", "schedule", "step", "every")
        if isinstance(schedule, MultiStep):
            self._milestones(schedule.milestones)
        if isinstance(schedule, Cosine | Polynomial):
            self._curve(schedule)
        if isinstance(schedule, Cosine) and schedule.restarts:
            if schedule.until is not None:
                self._conflict(
                    "with `restarts` the cosine goes on to the end of training, not `until`", "schedule", "until", key=True,
                    other=("schedule", "restarts"),
                )  # fmt: skip
            self._before_end(schedule.restarts.every, "the first restart comes", "schedule", "restarts", "every")

    def _warmup(self, warmup: Warmup) -> None:
        if warmup.epochs >= self.recipe.epochs:
            self._late(f"a warm-up of {warmup.epochs:g} epochs", "schedule", "warmup", "epochs")
        if warmup.shape == "constant" and not warmup.start:
            self._conflict(
                "a constant warm-up with `start` 0 trains nothing", "schedule", "warmup", "shape",
                help="give it a `start` between 0 and 1",
            )  # fmt: skip

    def _milestones(self, milestones: list[int]) -> None:
        for i, (before, after) in enumerate(zip(milestones, milestones[1:], strict=False), 1):
            if after <= before:
                self._conflict(f"milestones increase, {after} comes after {before}", "schedule", "multi_step", "milestones", i)
        for i, milestone in enumerate(milestones):
            self._before_end(milestone, "the milestone comes", "schedule", "multi_step", "milestones", i)

    def _curve(self, schedule: Cosine | Polynomial) -> None:
        until = schedule.until
        if until is None:
            return
        if until > self.recipe.epochs:
            self._late(f"`until` {until}", "schedule", "until")
        if schedule.warmup and until <= schedule.warmup.epochs:
            self._conflict(
                f"`until` {until} is not after the warm-up", "schedule", "until", other=("schedule", "warmup")
            )

    def _before_end(self, time: int, what: str, *path: str | int) -> None:
        if time >= self.recipe.epochs:
            self._late(f"{what} after {time} epochs, which", *path)

    def _late(self, what: str, *path: str | int) -> None:
        self._conflict(f"{what} does not fit into {self.recipe.epochs} epochs", *path, other=("epochs",))

    # ---- images

    def _augment(self) -> None:
        size = self.spec.input
        height, width, channels = size.height, size.width, size.channels
        steps = self.recipe.augment
        for i, step in enumerate(steps):
            here = ("augment", i, step.kind)
            if isinstance(step, RandomCrop | RandomResizedCrop) and i > 0:
                self._conflict(f"`{step.kind}` makes the input's size, so it comes first, and once", *here, key=True)
            if isinstance(step, Mixup) and i < len(steps) - 1:
                self._conflict("`mixup` works on whole batches, so it comes last, and once", *here, key=True)
            if isinstance(step, RandomCrop) and step.shorter_side[0] < max(height, width):
                self._conflict(
                    f"a shorter side of {step.shorter_side[0]} pixels leaves no piece of the input's {height}×{width}",
                    *here, "shorter_side",
                )  # fmt: skip
            if isinstance(step, Lighting | Saturation | Hue) and channels != 3:
                self._conflict(f"`{step.kind}` is for colours, the input has {channels} channel{'s' * (channels != 1)}", *here, key=True)
            if isinstance(step, Cutout) and step.size >= min(height, width):
                self._conflict(f"a square of {step.size} pixels hides an image of {height}×{width}", *here, "size")

    # ---- metrics and what watches them

    def _metrics(self) -> None:
        seen: set[str] = set()
        for i, metric in enumerate(self.recipe.metrics):
            if metric.name in seen:
                self._conflict(f"`{metric.name}` is listed twice", "metrics", i)
            seen.add(metric.name)

    def _monitors(self) -> None:
        recipe = self.recipe
        watched = ["loss", *(metric.name for metric in recipe.metrics if metric.is_number)]
        known = [prefix + name for prefix in ("validation_", "") for name in watched]
        for name, path in self._watching():
            if name not in known:
                brought = name.replace("val_", "validation_", 1)
                self.report.add(
                    "unknown-name", f"there is no `{name[:60]}` to monitor: {self._why(name)}",
                    recipe.span(*path), help=did_you_mean(brought, known),
                )  # fmt: skip
            elif name.startswith("validation_") and not recipe.split and not recipe.data.validates:
                self._conflict(
                    f"`{name}` needs images to validate on", *path,
                    help="hold some out, `split: {validation: 0.1}`, or monitor the training images",
                )  # fmt: skip

    def _watching(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """What is monitored, and where that is said."""
        recipe = self.recipe
        if isinstance(recipe.schedule, ReduceOnPlateau):
            yield recipe.schedule.monitor, ("schedule", "monitor")
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

    def _initializers(self) -> None:
        initializers = self.recipe.initializers
        if isinstance(initializers.bias, Orthogonal):
            self._conflict("`orthogonal` is for weights, a bias is no matrix", "initializers", "bias")
        for pattern, layer in initializers.layers.items():
            if isinstance(layer.bias, Orthogonal):
                self._conflict("`orthogonal` is for weights, a bias is no matrix", "initializers", "layers", pattern, "bias")


