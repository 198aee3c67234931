"""Learning-rate schedules: what becomes of the optimiser's learning rate in the course of time.

Time is counted in epochs from the start of training. `per: step` changes the rate at every step: with n steps
in an epoch, step k (from 0) has the rate of time k/n. `per: epoch` keeps it within an epoch: all its steps
have the rate of the time at which it starts. A step is one update of the weights.
"""

from typing import Annotated, Literal

from pydantic import Field

from cnnspec.ops.fields import Count, Fraction, Positive
from cnnspec.spec.recipe.fields import NonNegative, Share, Whole
from cnnspec.spec.tagged import OneOf, Section, Tagged

Per = Literal["epoch", "step"]


class Warmup(Section):
    """The first `epochs` of training, at lower rates: each step's is the schedule's, times a factor.

    Its `shape` is `linear`, from `start` up to 1: start + (1 − start)·time/epochs; or `constant`, `start`
    until it jumps to 1.
    """

    main = "epochs"

    epochs: Positive
    start: Fraction = 0.0
    shape: Literal["linear", "constant"] = "linear"


class _Schedule(Tagged):
    """`warmup` lowers the rates of the first epochs; time counts from the start of training even so."""

    warmup: Warmup | None = None


class Constant(_Schedule):
    """The same rate throughout."""

    kind = "constant"


class Step(_Schedule):
    """Times `factor` after every `every` epochs: factor^⌊time/every⌋."""

    kind = "step"
    main = "every"

    every: Count
    factor: Positive = 0.1


class MultiStep(_Schedule):
    """Times `factor` at each of `milestones`: at 30, the 31st epoch is the first with the new rate."""

    kind = "multi_step"
    main = "milestones"

    milestones: list[Count] = Field(min_length=1)
    factor: Positive = 0.1


class Exponential(_Schedule):
    """Times `factor` in every epoch: factor^time."""

    kind = "exponential"
    main = "factor"

    factor: Share
    per: Per = "epoch"


class Polynomial(_Schedule):
    """From the learning rate η down to `minimum`: minimum + (η − minimum)·(1 − p)^`power`.

    p rises evenly from 0, when the warm-up ends, to 1 at the time `until`: the end of training, unless it is
    given. Afterwards the rate stays. A `power` of 1 is a straight line.
    """

    kind = "polynomial"
    main = "power"

    power: Positive = 1.0
    minimum: NonNegative = 0.0
    until: Count | None = None
    per: Per = "step"


class Restarts(Section):
    """The cosine anew, first after `every` epochs; each round is `growth` times as long as the last.

    Rounds begin when the warm-up ends. The highest rate of each round is `decay` times that of the last.
    """

    main = "every"

    every: Count
    growth: Count = 1
    decay: Annotated[float, Field(gt=0, le=1, description="A number above 0, up to 1.")] = 1.0


class Cosine(_Schedule):
    """From the learning rate η down to `minimum` along half a cosine: minimum + (η − minimum)(1 + cos πp)/2.

    p rises evenly from 0, when the warm-up ends, to 1 at the time `until`: the end of training, unless it is
    given. Afterwards the rate stays. With `restarts`, p rises from 0 to 1 in every round, up to the end of
    training.
    """

    kind = "cosine"

    minimum: NonNegative = 0.0
    until: Count | None = None
    restarts: Restarts | None = None
    per: Per = "step"


class OneCycle(Tagged):
    """Up to the learning rate η and down again over all of training, step by step, without a `warmup`.

    Of T steps, counted from 0, the first has the rate η/`initial_divisor`, step `rise`·T − 1 has η, and the
    last, T − 1, has η/`initial_divisor`/`final_divisor`; between them the rate follows half a cosine, or a
    straight line (`shape: linear`). Momentum stays as it is.
    """

    kind = "one_cycle"

    rise: Share = 0.3
    initial_divisor: Annotated[float, Field(ge=1, allow_inf_nan=False, description="A number of at least 1.")] = 25.0
    final_divisor: Annotated[float, Field(ge=1, allow_inf_nan=False, description="A number of at least 1.")] = 1e4
    shape: Literal["cosine", "linear"] = "cosine"

    @property
    def warmup(self) -> None:
        """None: the rise takes its place."""


class ReduceOnPlateau(_Schedule):
    """Times `factor`, down to `minimum`, when `monitor` has not improved for `patience` epochs in a row.

    It improves where it is better than its best so far by more than `min_delta`. For `cooldown` epochs after
    a reduction nothing is counted. Patience is that of `early_stop`: PyTorch counts one epoch less for the
    same.
    """

    kind = "reduce_on_plateau"

    monitor: str = "validation_loss"
    factor: Share = 0.1
    patience: Count = 10
    min_delta: NonNegative = 1e-4
    cooldown: Whole = 0
    minimum: NonNegative = 0.0


Schedule = Annotated[
    Constant | Step | MultiStep | Exponential | Polynomial | Cosine | OneCycle | ReduceOnPlateau, OneOf()
]
