"""`make_optimizer` of a generated `train.py`: an optimiser of PyTorch's, which is the meaning of the recipe's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cnnspec.graph import Graph
from cnnspec.lower.python import Code, assigned, call, lines, literal, named, returned
from cnnspec.spec.recipe.model import Recipe
from cnnspec.spec.recipe.optimizer import (
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Nadam,
    Optimizer,
    RmsProp,
    Sgd,
)
from cnnspec.train.rates import Function

_NORMS = "nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm"
_SNIPPETS = "cnnspec.backends.torch.snippets"
_HEAD = "def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:"


def make_optimizer(graph: Graph, recipe: Recipe, factors: bool = False, late: bool = False) -> Function:
    """The text of `make_optimizer(model)` for a network, which uses a constant `LEARNING_RATE`.

    With `factors`, parameters are parted by what their rates are multiplied by; with `late`, some train later.
    """
    optimizer = recipe.optimizer
    name, options, native = _native(optimizer)
    decay = optimizer.l2 or optimizer.decoupled_weight_decay
    beside = bool(optimizer.decoupled_weight_decay) and not native  # the decay, as a hook
    key = "decay" if beside else "weight_decay"
    text = [_HEAD]
    parameters: Code = "model.parameters()"
    normed = any(node.op.role == "norm" and node.params for node in graph.nodes)
    exclude = _excluded(graph, optimizer.exclude, normed)
    if decay and exclude:
        text.append('    """The optimiser; what no decay touches is a group of its own."""')
        text += _groups(exclude, normed)
        decayed = f'{{"params": decayed, "{key}": {literal(decay)}}}'
        rest = '{"params": rest, "decay": 0.0}' if beside else '{"params": rest}'
        text += ["    groups: list[dict[str, Any]] = [", f"        {decayed},", f"        {rest},", "    ]"]
        parameters = "groups"
    else:
        text.append('    """The optimiser, with a rate that the schedule replaces."""')
        if beside:
            parameters = f'[{{"params": list(model.parameters()), "decay": {literal(decay)}}}]'
        elif decay:
            options = {**options, "weight_decay": literal(decay)}
        if factors and not beside:
            parameters = '[{"params": list(model.parameters())}]'
    if factors:
        parameters = call("by_factor", "model", parameters)
    mixed = late and isinstance(optimizer, Sgd) and optimizer.momentum  # of which some have none yet: PyTorch fails
    if recipe.precision != "mixed_float16" and isinstance(optimizer, Sgd | Adam | AdamW | Adagrad) and not mixed:
        options["fused"] = "True"  # the scaler of 16-bit gradients asks a fused one to skip steps, past all hooks
    shown: list[Code] = [parameters, "LEARNING_RATE", *(named(key, value) for key, value in options.items())]
    made = call(f"torch.optim.{name}", *shown)
    wanted = [f"{_SNIPPETS}.layers:by_factor"] if factors else []
    if not beside:
        return Function("\n".join([*text, *lines(returned(made), 4)]), tuple(wanted))
    text += lines(assigned("optimizer", made), 4)
    text += ["    optimizer.register_step_pre_hook(decay_weights)", "    return optimizer"]
    return Function("\n".join(text), (f"{_SNIPPETS}.steps:decay_weights", *wanted))


def _excluded(graph: Graph, exclude: Collection[str], normed: bool) -> set[str]:
    """What no decay touches, of that which a network has; one that is `normed` has norms with parameters."""
    others = [node for node in graph.nodes if node.op.role != "norm"]
    has = {
        "norm": normed,
        "bias": any("bias" in node.params for node in others),
        "prelu": any(node.op.kind == "prelu" for node in others),
    }
    return {kind for kind in exclude if has[kind]}


def _groups(exclude: Collection[str], normed: bool) -> list[str]:
    """Statements that fill the lists `decayed` and `rest`."""
    tests = []
    if "norm" in exclude:
        tests += ["norm", *(['name == "bias"'] if "bias" in exclude else [])]
    elif "bias" in exclude and normed:
        tests.append('(name == "bias" and not norm)' if "prelu" in exclude else 'name == "bias" and not norm')
    elif "bias" in exclude:
        tests.append('name == "bias"')
    if "prelu" in exclude:
        tests.append("isinstance(module, nn.PReLU)")
    norm = [f"        norm = isinstance(module, {_NORMS})"] if normed and {"norm", "bias"} & set(exclude) else []
    each = [
        "        for name, parameter in module.named_parameters(recurse=False):",
        f"            excluded = {' or '.join(tests)}",
        "            (rest if excluded else decayed).append(parameter)",
    ]
    whole = [
        f"        chosen = rest if {' or '.join(tests)} else decayed",
        "        chosen.extend(module.parameters(recurse=False))",
    ]
    return [
        "    decayed: list[nn.Parameter] = []",
        "    rest: list[nn.Parameter] = []",
        "    for module in model.modules():",
        *norm,
        *(each if "bias" in exclude else whole),
    ]


def _native(optimizer: Optimizer) -> tuple[str, dict[str, Any], bool]:
    """The class, its options, and whether its own `weight_decay` is the recipe's."""
    coupled = not optimizer.decoupled_weight_decay
    match optimizer:
        case Sgd(momentum=momentum, nesterov=nesterov):
            return "SGD", _given(momentum=(momentum, 0.0), nesterov=(nesterov, False)), coupled
        case Adam(betas=betas, epsilon=epsilon, amsgrad=amsgrad) | AdamW(betas=betas, epsilon=epsilon, amsgrad=amsgrad):
            decoupled = bool(optimizer.decoupled_weight_decay) or isinstance(optimizer, AdamW)
            options = _given(betas=(betas, (0.9, 0.999)), eps=(epsilon, 1e-8), amsgrad=(amsgrad, False))
            if decoupled and (not optimizer.decoupled_weight_decay or optimizer.exclude):
                options["weight_decay"] = "0.0"  # its default is none that a recipe has
            return "AdamW" if decoupled else "Adam", options, True
        case RmsProp(rho=rho, epsilon=epsilon, momentum=momentum, centered=centered):
            options = _given(alpha=(rho, 0.99), eps=(epsilon, 1e-8), momentum=(momentum, 0.0))
            return "RMSprop", options | _given(centered=(centered, False)), coupled
        case Adagrad(initial_accumulator=start, epsilon=epsilon):
            return "Adagrad", _given(initial_accumulator_value=(start, 0.0), eps=(epsilon, 1e-10)), coupled
        case Adadelta(rho=rho, epsilon=epsilon):
            return "Adadelta", _given(rho=(rho, 0.9), eps=(epsilon, 1e-6)), coupled
        case Adamax(betas=betas, epsilon=epsilon):
            return "Adamax", _given(betas=(betas, (0.9, 0.999)), eps=(epsilon, 1e-8)), coupled
        case Nadam(betas=betas, epsilon=epsilon, momentum_decay=decay):
            options = _given(betas=(betas, (0.9, 0.999)), eps=(epsilon, 1e-8), momentum_decay=(decay, 0.004))
            if not coupled:
                options["decoupled_weight_decay"] = "True"
            return "NAdam", options, True


def _given(**options: tuple[Any, Any]) -> dict[str, Any]:
    """The options that differ from PyTorch's defaults."""
    return {name: literal(value) for name, (value, default) in options.items() if value != default}
