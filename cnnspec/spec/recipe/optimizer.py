"""Optimisers. Their meaning is PyTorch's, written out here; every framework does exactly this.

In the formulas w is a weight, η the rate that the schedule gives, t counts steps from 1, and g is the
gradient: of the mean loss over all samples of the step, then clipped, then with l2·w added.
"""

from typing import Annotated, Literal

from pydantic import Field

from cnnspec.ops.fields import Fraction, Positive
from cnnspec.spec.recipe.fields import Betas, NonNegative
from cnnspec.spec.tagged import OneOf, Tagged

Undecayed = Literal["bias", "norm", "prelu"]


class _Optimizer(Tagged):
    """`learning_rate` is the rate that the schedule starts from; `one_cycle` rises to it.

    `exclude` lists what no decay touches: `bias` (of convolutions and dense layers), `norm` (scale and shift
    of norms), `prelu` (slopes).
    """

    main = "learning_rate"

    learning_rate: Positive
    exclude: list[Undecayed] = Field(default=[])


class _Decaying(_Optimizer):
    """Two decays pull weights towards 0; a recipe has one of them at most.

    `l2` adds l2·w to the gradient, after clipping. It is PyTorch's `weight_decay`, and the gradient of
    Keras's `regularizers.L2(l2 / 2)`; it is no part of the loss that is reported. `decoupled_weight_decay` d
    does w ← w − η·d·w before the step, beside the gradient, as Keras's `weight_decay` does.
    """

    l2: NonNegative = 0.0
    decoupled_weight_decay: NonNegative = 0.0


class Sgd(_Decaying):
    """Gradient descent with `momentum` μ: v ← μ·v + g from v = 0, then w ← w − η·v.

    With `nesterov`, w ← w − η·(g + μ·v) instead. η stands outside of v: a new rate acts on all of v at once.
    """

    kind = "sgd"

    momentum: Fraction = 0.0
    nesterov: bool = False


class Adam(_Decaying):
    """m ← β₁·m + (1 − β₁)·g and v ← β₂·v + (1 − β₂)·g², then w ← w − η·m̂ / (√v̂ + ε).

    m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ): `epsilon` ε is added after the correction. `betas` is [β₁, β₂].
    With `amsgrad`, v̂ is made of the largest v so far.
    """

    kind = "adam"

    betas: Betas = (0.9, 0.999)
    epsilon: Positive = 1e-8
    amsgrad: bool = False


class AdamW(_Optimizer):
    """`adam` with a decoupled decay: w ← w − η·`weight_decay`·w before each step.

    `betas`, `epsilon` and `amsgrad` are those of `adam`.
    """

    kind = "adamw"

    betas: Betas = (0.9, 0.999)
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    amsgrad: bool = False

    @property
    def l2(self) -> float:
        """None: the decay is decoupled."""
        return 0.0

    @property
    def decoupled_weight_decay(self) -> float:
        """`weight_decay`, by the name that it has elsewhere."""
        return self.weight_decay


class RmsProp(_Decaying):
    """v ← ρ·v + (1 − ρ)·g² with `rho` ρ, then w ← w − η·g / (√v + ε): `epsilon` ε is added outside the root.

    `centered` takes v − ḡ² for v, with ḡ ← ρ·ḡ + (1 − ρ)·g. With `momentum` μ, b ← μ·b + g / (√v + ε) and
    w ← w − η·b.
    """

    kind = "rmsprop"

    rho: Fraction = 0.99
    epsilon: Positive = 1e-8
    momentum: Fraction = 0.0
    centered: bool = False


class Adagrad(_Decaying):
    """s ← s + g², then w ← w − η·g / (√s + ε), with `epsilon` ε. s starts at `initial_accumulator`."""

    kind = "adagrad"

    initial_accumulator: NonNegative = 0.0
    epsilon: Positive = 1e-10


class Adadelta(_Decaying):
    """v ← ρ·v + (1 − ρ)·g², d = √(u + ε) / √(v + ε) · g, u ← ρ·u + (1 − ρ)·d², then w ← w − η·d.

    `rho` is ρ, `epsilon` ε; u and v start at 0.
    """

    kind = "adadelta"

    rho: Fraction = 0.9
    epsilon: Positive = 1e-6


class Adamax(_Decaying):
    """m ← β₁·m + (1 − β₁)·g and u ← max(β₂·u, |g| + ε), then w ← w − η/(1 − β₁ᵗ)·m/u.

    `betas` is [β₁, β₂], `epsilon` ε.
    """

    kind = "adamax"

    betas: Betas = (0.9, 0.999)
    epsilon: Positive = 1e-8


class Nadam(_Decaying):
    """`adam` with Nesterov's momentum, whose weight grows: μₜ = β₁·(1 − ½·0.96^(t·`momentum_decay`)).

    m, v and v̂ as in `adam`, then w ← w − η·[μₜ₊₁·m/(1 − μ₁⋯μₜ₊₁) + (1 − μₜ)·g/(1 − μ₁⋯μₜ)] / (√v̂ + ε).
    `betas` is [β₁, β₂], `epsilon` ε.
    """

    kind = "nadam"

    betas: Betas = (0.9, 0.999)
    epsilon: Positive = 1e-8
    momentum_decay: NonNegative = 0.004


Optimizer = Annotated[Sgd | Adam | AdamW | RmsProp | Adagrad | Adadelta | Adamax | Nadam, OneOf()]
