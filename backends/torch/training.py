"""What the generated `train.py` does, run here: its functions step by step, and its files of weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cnnspec.backends.torch.run import build, key
from cnnspec.backends.torch.state_dict import read_state, write_state
from cnnspec.graph import Graph
from cnnspec.lower.backend import Precision, Weights
from cnnspec.lower.execute import importable, run_text
from cnnspec.lower.fold import fold
from cnnspec.spec.recipe.schedule import ReduceOnPlateau
from cnnspec.train.backend import Step

if TYPE_CHECKING:
    from cnnspec.lower.program import Program
    from cnnspec.spec.recipe.model import Recipe


def write_weights(graph: Graph, weights: Weights, path: Path) -> None:
    """Write a state dict of the network in training."""
    write_state(path, {key(name): weights[name] for name in _names(graph)})


def read_weights(graph: Graph, path: Path) -> dict[str, Any]:
    """The arrays of a state dict that `train.py` wrote."""
    state, _ = read_state(path)
    return {name: state[key(name)].read() for name in _names(graph)}


def _names(graph: Graph) -> list[str]:
    return [f"{node.path}.{name}" for node in graph.nodes for name in node.params]


def trajectory(
    graph: Graph,
    weights: Weights,
    recipe: Recipe,
    batches: Sequence[tuple[Any, Any]],
    precision: Precision,
    steps_per_epoch: int,
) -> Iterator[Step]:
    """Train on `batches`, each of which is a whole step.

    A schedule that reduces rates on a plateau watches the mean loss of each epoch's steps: nothing is evaluated here.
    """
    import torch

    program = fold(graph)
    dtype = getattr(torch, precision)
    model: Any = build(program, _source(program), weights, dtype)
    code = load(program, recipe)
    optimizer = code.make_optimizer(model)
    device = torch.device("cpu")
    watched = _plateau(code, recipe)
    loss_function = _loss(code, recipe, batches, graph.outputs[0].node.shape.channels)
    rates = code.learning_rates(max(recipe.epochs, ceil(len(batches) / steps_per_epoch)), steps_per_epoch)
    average = None
    if recipe.ema:
        average = code.AveragedModel(model, multi_avg_fn=code.get_ema_multi_avg_fn(recipe.ema.decay))
        optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
    epoch: list[float] = []
    for step, (images, labels) in enumerate(batches):
        if not epoch:
            _begin(code, model, 1 + step // steps_per_epoch)
        rate = rates[step] * (watched.scale if watched else 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        batch = torch.tensor(images).to(dtype).permute(0, 2, 3, 1).numpy(), torch.tensor(labels).numpy()
        parts: Any = batch
        if recipe.gradient_accumulation > 1:
            size = recipe.batch_size
            parts = [(batch[0][i : i + size], batch[1][i : i + size]) for i in range(0, len(labels), size)]
        scaler = [torch.amp.GradScaler("cpu")] if recipe.precision == "mixed_float16" else []
        with default_dtype(dtype):
            sums = code.train_step(model, loss_function, optimizer, *scaler, parts, 1 / len(labels), device)
        loss = float(sums[0]) / len(labels)
        epoch.append(loss)
        if len(epoch) == steps_per_epoch:
            if watched:
                watched.update({watched.best.monitor: sum(epoch) / len(epoch)})
            epoch = []
        averages = _arrays(average.module, graph) if average else None
        yield Step(loss, _arrays(model, graph), rate, averages)


def _begin(code: ModuleType, model: Any, epoch: int) -> None:
    """Make a model ready for an epoch, without dropout."""
    import torch

    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.eval()
    if hasattr(code, "freeze"):
        code.freeze(model)
    if hasattr(code, "unfreeze"):
        code.unfreeze(model, epoch)


def _arrays(model: Any, graph: Graph) -> dict[str, Any]:
    """Copies of all parameters, by their keys."""
    state = model.state_dict()
    return {name: state[key(name)].detach().clone().numpy() for name in _names(graph)}


@contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """PyTorch's default type, in which an optimiser keeps numbers of its own, as Nadam's product of momenta."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _source(program: Program) -> str:
    from cnnspec.backends.torch import BACKEND

    return BACKEND.source(program)


def load(program: Program, recipe: Recipe) -> ModuleType:
    """The generated `train.py` as a module, whose `data` is empty."""
    from cnnspec.backends.torch.train import train_source

    text = train_source(program, recipe)
    name = f"<cnnspec {program.name} train torch>"
    module = ModuleType("cnnspec_generated_train")
    module.__file__ = str(Path("train.py").absolute())
    network = ModuleType("model")
    run_text(_source(program), f"<cnnspec {program.name} torch>", network.__dict__)
    data = ModuleType("data")
    for wanted in ("CLASSES", "Batch", "Data", "DataError", "Features", "Part", "batches", "features", "load_data"):
        setattr(data, wanted, ())
    with importable(model=network, data=data):
        run_text(text, name, module.__dict__)
    return module


def _loss(code: ModuleType, recipe: Recipe, batches: Sequence[tuple[Any, Any]], classes: int) -> Any:
    """The loss function; balanced weights are those of all labels in `batches`."""
    import numpy as np
    import torch

    smoothing = recipe.loss.label_smoothing
    weights = recipe.loss.class_weights
    if weights is None:
        return torch.nn.CrossEntropyLoss(reduction="sum", label_smoothing=smoothing)
    labels = np.concatenate([labels for _, labels in batches])
    return code.WeightedCrossEntropy(
        torch.tensor(code.balanced(labels, classes) if weights == "balanced" else weights, dtype=torch.float64),
        smoothing,
    )


def _plateau(code: ModuleType, recipe: Recipe) -> Any:
    """What reduces rates on a plateau of the loss, if the recipe has it."""
    schedule = recipe.schedule
    if not isinstance(schedule, ReduceOnPlateau):
        return None
    least = schedule.minimum / recipe.optimizer.learning_rate
    best = code.Best("loss", schedule.min_delta)
    return code.ReduceOnPlateau(best, schedule.factor, schedule.patience, schedule.cooldown, least)
