"""A recipe's optimiser as Keras code: Keras's own where its arguments reach the meaning, or a subclass."""

from __future__ import annotations

from typing import NamedTuple, assert_never

from cnnspec.lower.python import Code, Group, assigned, call, lines, literal
from cnnspec.spec.recipe.model import GlobalNorm, ParameterNorm, Recipe, Value
from cnnspec.spec.recipe.optimizer import Adadelta, Adagrad, Adam, Adamax, AdamW, Nadam, RmsProp, Sgd
from cnnspec.train.phases import Phases

SNIPPETS = "cnnspec.backends.keras.snippets"
_CLIPS = {GlobalNorm: "ClipGlobalNorm", ParameterNorm: "ClipParameterNorm", Value: "ClipValue"}
_MODULES = {"Accumulated": "accumulate"} | dict.fromkeys(("Averaged", "Counted", "Decayed", "Multiplied"), "layers")
_EXCLUDED = {"bias": ("bias",), "norm": ("beta", "gamma"), "prelu": ("alpha",)}


class Printed(NamedTuple):
    """Classes and functions, and the snippets that they use."""

    parts: tuple[str, ...]
    wanted: tuple[str, ...]
    call: Code = ""
    """What makes the optimiser, within the function that makes the model."""


def optimizer_text(recipe: Recipe, phases: Phases | None = None) -> Printed:
    """`make_optimizer(model)`, and a class that joins what this recipe, and a transfer case, adds to an optimiser."""
    optimizer = recipe.optimizer
    base, arguments = _own(recipe)
    wanted = [] if "." in base else [f"{SNIPPETS}.optimizers:{base}"]
    mixins, values = _additions(recipe, phases)
    parts = []
    if mixins or values:
        wanted += (f"{SNIPPETS}.{_MODULES.get(mixin, 'optimizers')}:{mixin}" for mixin in mixins)
        parts.append(_joined([*mixins, base], values, optimizer.kind))
        base = "Optimizer"
    if optimizer.decoupled_weight_decay:
        arguments.append(f"weight_decay={literal(optimizer.decoupled_weight_decay)}")
    if recipe.ema:
        arguments += ["use_ema=True", f"ema_momentum={literal(recipe.ema.decay)}"]
    made = call(base, "LEARNING_RATE", *arguments)
    body: list[str] = []
    names = [name for kind in sorted(optimizer.exclude) for name in _EXCLUDED[kind]]
    scales = recipe.precision == "mixed_float16"
    if names or scales:
        body += lines(assigned("optimizer", made), 4)
    if names:
        test = f"v.name == {literal(names[0])}" if len(names) == 1 else "v.name in undecayed"
        if len(names) > 1:
            body.append(f"    undecayed = {literal(tuple(names))}")
        body += [
            f"    kept = [v for v in model.trainable_variables if {test}]",
            "    optimizer.exclude_from_weight_decay(kept)",
        ]
    if scales:
        scaler = "keras.optimizers.LossScaleOptimizer"
        if recipe.gradient_accumulation > 1:
            scaler = "Scaled"
            wanted.append(f"{SNIPPETS}.accumulate:Scaled")
        body.append(f"    return {scaler}(optimizer, 2.0**16)")
    elif names:
        body.append("    return optimizer")
    else:
        return Printed(tuple(parts), tuple(wanted), made)
    given = "model: keras.Model" if names else ""
    head = f"def make_optimizer({given}) -> keras.Optimizer:"
    parts.append("\n".join([head, '    """The optimiser that updates the weights."""', *body]))
    return Printed(tuple(parts), tuple(wanted), f"make_optimizer({'model' if names else ''})")


def _own(recipe: Recipe) -> tuple[str, list[str]]:
    """The class without additions, and its arguments; those that are Keras's defaults are left out."""
    given: list[tuple[str, float, float]]
    match recipe.optimizer:
        case Sgd(momentum=momentum, nesterov=nesterov):
            given = [("momentum", momentum, 0.0), ("nesterov", nesterov, False)]
            base = "Sgd" if momentum else "keras.optimizers.SGD"
        case Adam(betas=betas, epsilon=epsilon, amsgrad=amsgrad) | AdamW(betas=betas, epsilon=epsilon, amsgrad=amsgrad):
            given = [*_moments(betas, epsilon), ("amsgrad", amsgrad, False)]
            base = "Adam"
        case RmsProp(rho=rho, epsilon=epsilon, momentum=momentum, centered=centered):
            given = [("rho", rho, 0.9), ("momentum", momentum, 0.0), ("epsilon", epsilon, 1e-7)]
            given.append(("centered", centered, False))
            base = "RmsProp"
        case Adagrad(initial_accumulator=initial, epsilon=epsilon):
            given = [("initial_accumulator_value", initial, 0.1), ("epsilon", epsilon, 1e-7)]
            base = "Adagrad"
        case Adadelta(rho=rho, epsilon=epsilon):
            given = [("rho", rho, 0.95), ("epsilon", epsilon, 1e-7)]
            base = "keras.optimizers.Adadelta"
        case Adamax(betas=betas, epsilon=epsilon):
            given, base = _moments(betas, epsilon), "Adamax"
        case Nadam(betas=betas, epsilon=epsilon):
            given, base = _moments(betas, epsilon), "Nadam"
        case unknown:
            assert_never(unknown)
    return base, [f"{name}={literal(value)}" for name, value, default in given if value != default]


def _moments(betas: tuple[float, float], epsilon: float) -> list[tuple[str, float, float]]:
    return [("beta_1", betas[0], 0.9), ("beta_2", betas[1], 0.999), ("epsilon", epsilon, 1e-7)]


def _additions(recipe: Recipe, phases: Phases | None) -> tuple[list[str], list[str]]:
    """Mixins, the outermost first, and the attributes that they read."""
    optimizer, mixins, values = recipe.optimizer, [], []
    if recipe.gradient_accumulation > 1 and recipe.precision != "mixed_float16":
        mixins.append("Accumulated")
    if phases and phases.unfreeze:
        mixins += ["Averaged"] if recipe.ema else []
        mixins += ["Counted"] if isinstance(optimizer, Adam | AdamW | Adamax | Nadam) else []
    if phases and phases.factors:
        mixins += ["Multiplied", "Decayed"] if optimizer.decoupled_weight_decay else ["Multiplied"]
    if recipe.clip:
        mixins.append(_CLIPS[type(recipe.clip)])
        values.append(f"maximum = {literal(recipe.clip.maximum)}")
    if optimizer.l2:
        mixins.append("L2")
        values.append(f"l2 = {literal(optimizer.l2)}")
    if isinstance(optimizer, Nadam):
        values.append(f"momentum_decay = {literal(optimizer.momentum_decay)}")
    return mixins, values


def _joined(bases: list[str], values: list[str], kind: str) -> str:
    head = lines(Group("class Optimizer(", tuple(bases), "):"))
    doc = f'    """What this recipe does in a step: {kind} and what comes before it."""'
    return "\n".join([*head, doc, *(["", *(f"    {value}" for value in values)] if values else [])])
