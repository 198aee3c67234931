"""What a backend offers that trains: code for a recipe, and its own weight files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from cnnspec.graph import Graph
from cnnspec.lower.backend import CodeBackend, Precision, Weights

if TYPE_CHECKING:
    from cnnspec.lower.program import Program
    from cnnspec.spec.recipe.model import Recipe


class Step(NamedTuple):
    """What one training step made."""

    loss: float
    """Before the step, the mean over its images; without decay."""
    weights: dict[str, Any]
    """After the step, all parameters in canonical layout by their keys, running statistics too."""
    rate: float
    """The learning rate."""
    averages: dict[str, Any] | None = None
    """Where the recipe has running averages, those of the weights after the step, likewise."""


@runtime_checkable
class TrainingBackend(CodeBackend, Protocol):
    """A backend whose framework trains."""

    weights_suffix: str
    """Of its native weight files, `.pt`."""
    running_variance: Literal["biased", "unbiased"]
    """What a batch norm in training averages: the variance of a batch's n values, or n/(n − 1) times that."""

    def train_source(self, program: Program, recipe: Recipe) -> str:
        """The text of `train.py`, which imports what `model.py` and `data.py` define."""
        ...

    def write_weights(self, graph: Graph, weights: Weights, path: Path) -> None:
        """Write a native weight file, heads that exist in training only included, as `train.py --weights` takes it."""
        ...

    def read_weights(self, graph: Graph, path: Path) -> dict[str, Any]:
        """The arrays of a native weight file that `train.py` wrote, in canonical layout by their keys."""
        ...

    def trajectory(
        self,
        graph: Graph,
        weights: Weights,
        recipe: Recipe,
        batches: Sequence[tuple[Any, Any]],
        precision: Precision,
        steps_per_epoch: int,
    ) -> Iterator[Step]:
        """Train on `batches` of images (batch, channels, height, width) and classes, one step for each.

        The functions of the generated `train.py` do it, with dropout off. A schedule that reduces rates on a plateau
        watches the mean loss of each epoch's steps, whatever its monitor: nothing is evaluated here. Several may be
        under way at once.
        """
        ...
