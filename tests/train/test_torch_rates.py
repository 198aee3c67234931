"""Schedules: PyTorch's own where it has the same, formulas elsewhere; and what watches figures."""

import math
from pathlib import Path

import pytest

import cnnspec
from cnnspec.train.rates import learning_rates
from cnnspec.train.snippets.schedule import Best, ReduceOnPlateau

torch = pytest.importorskip("torch")

LINEAR = """\
cnnspec: 1
name: tiny
input: {channels: 1, size: 4}
layers: [flatten, {dense: 3, name: fc}]
"""
RATE, EPOCHS, STEPS = 0.4, 12, 5


def printed(tmp_path: Path, schedule: str, epochs: int = EPOCHS):
    """The function that a recipe of so many epochs has."""
    from cnnspec.train.collect import collect

    path = tmp_path / "tiny.yaml"
    recipe = f"schedule: {schedule}, optimizer: {{sgd: {RATE}}}, epochs: {epochs}, batch_size: 8"
    path.write_text(f"{LINEAR}train: {{{recipe}}}\n")
    made = learning_rates(cnnspec.load(str(path)).recipe)
    found = collect(made.wanted)
    space: dict = {"LEARNING_RATE": RATE}
    exec("\n\n".join([*found.imports, *found.values, *found.definitions, made.text]), space)
    return space["learning_rates"]


def table(tmp_path: Path, schedule: str, epochs: int = EPOCHS, steps: int = STEPS) -> list[float]:
    """The rates that the printed function gives."""
    return printed(tmp_path, schedule, epochs)(epochs, steps)


def of_torch(make, *, per_epoch: bool, steps: int = EPOCHS * STEPS) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    schedule = make(optimizer)
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if not per_epoch or (step + 1) % STEPS == 0:
            schedule.step()
    return rates


lr = torch.optim.lr_scheduler
TORCH = {
    "{step: 3, factor: 0.5}": (lambda o: lr.StepLR(o, 3, 0.5), True),
    "{multi_step: [2, 7]}": (lambda o: lr.MultiStepLR(o, [2, 7]), True),
    "{exponential: 0.9}": (lambda o: lr.ExponentialLR(o, 0.9), True),
    "{exponential: 0.9, per: step}": (lambda o: lr.ExponentialLR(o, 0.9 ** (1 / STEPS)), False),
    "{polynomial: 2, per: epoch}": (lambda o: lr.PolynomialLR(o, EPOCHS, 2), True),
    "{polynomial: {}}": (lambda o: lr.PolynomialLR(o, EPOCHS * STEPS, 1), False),
    "{cosine: {minimum: 0.1}}": (lambda o: lr.CosineAnnealingLR(o, EPOCHS * STEPS, 0.1), False),
    "{cosine: {per: epoch}}": (lambda o: lr.CosineAnnealingLR(o, EPOCHS), True),
    "{cosine: {restarts: {every: 2, growth: 2}}}": (
        lambda o: lr.CosineAnnealingWarmRestarts(o, 2 * STEPS, 2),
        False,
    ),
    "{one_cycle: {}}": (
        lambda o: lr.OneCycleLR(o, RATE, EPOCHS * STEPS, cycle_momentum=False),
        False,
    ),
    "{one_cycle: {shape: linear, rise: 0.4, initial_divisor: 10, final_divisor: 100}}": (
        lambda o: lr.OneCycleLR(
            o, RATE, EPOCHS * STEPS, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100,
            cycle_momentum=False,
        ),
        False,
    ),
    "{constant: {}}": (lambda o: lr.ConstantLR(o, 1.0, 1), False),
}  # fmt: skip


@pytest.mark.parametrize("schedule", TORCH)
def test_rates_are_those_of_torch(schedule, tmp_path):
    make, per_epoch = TORCH[schedule]
    found = table(tmp_path, schedule)
    assert found == pytest.approx(of_torch(make, per_epoch=per_epoch), rel=1e-9, abs=1e-12)


FORMULAS = {
    "{constant: {warmup: {epochs: 2, start: 0.1}}}": lambda t: RATE * (0.1 + 0.9 * min(t / 2, 1)),
    "{constant: {warmup: {epochs: 1.5, start: 0.1, shape: constant}}}": lambda t: RATE * (0.1 if t < 1.5 else 1),
    "{step: 3, factor: 0.5, warmup: 2}": lambda t: RATE * 0.5 ** (t // 3) * min(t / 2, 1),
    "{cosine: {warmup: 3, until: 9, minimum: 0.1}}": lambda t: (
        (0.1 + 0.3 * (1 + math.cos(math.pi * min(max((t - 3) / 6, 0), 1))) / 2) * min(t / 3, 1)
    ),
    "{polynomial: 2, until: 6, minimum: 0.1}": lambda t: 0.1 + 0.3 * (1 - min(t / 6, 1)) ** 2,
    "{cosine: {restarts: {every: 4, decay: 0.5}}}": lambda t: (
        RATE * 0.5 ** (t // 4) * (1 + math.cos(math.pi * (t % 4) / 4)) / 2
    ),
}


@pytest.mark.parametrize("schedule", FORMULAS)
def test_rates_are_their_formula(schedule, tmp_path):
    expected = [FORMULAS[schedule](step / STEPS) for step in range(EPOCHS * STEPS)]
    assert table(tmp_path, schedule) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("schedule", ["{cosine: {warmup: 2}}", "{polynomial: {warmup: 2}}"])
def test_no_more_epochs_than_the_warm_up_has(schedule, epochs, tmp_path):
    """As `train.py --epochs` may ask for; a recipe may not."""
    found = printed(tmp_path, schedule)(epochs, STEPS)
    assert found == pytest.approx([RATE * step / STEPS / 2 for step in range(epochs * STEPS)])


@pytest.mark.parametrize(("patience", "cooldown"), [(1, 0), (3, 0), (2, 2)])
def test_a_plateau_is_that_of_torch_with_one_epoch_more(patience, cooldown):
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.5, 0.5, 0.5, 0.49999, 0.5, 0.6, 0.6, 0.6, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    theirs = lr.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=1e-4, threshold_mode="abs", cooldown=cooldown,
        min_lr=0.03,
    )  # fmt: skip
    ours = ReduceOnPlateau(Best("loss", 1e-4), 0.5, patience, cooldown, 0.03 / RATE)
    scales = set()
    for loss in losses:
        theirs.step(loss)
        state = ours.state_dict()
        ours = ReduceOnPlateau(Best("loss", 1e-4), 0.5, patience, cooldown, 0.03 / RATE)
        ours.load_state_dict(state)  # as a resumed run does
        ours.update({"loss": loss})
        assert ours.scale * RATE == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        scales.add(ours.scale)
    assert len(scales) > 2


def test_a_figure_improves_by_more_than_its_delta():
    accuracy = Best("validation_accuracy", 0.1)
    assert [accuracy.improves({"validation_accuracy": v}) for v in (0.1, 0.15, 0.3, math.nan, 0.2)] == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert (accuracy.best, accuracy.waited) == (0.3, 2)
    loss = Best("loss")
    assert [loss.improves({"loss": v}) for v in (1.0, 1.0, 0.5)] == [True, False, True]
