"""Learning rates, and what watches figures: numbers alone, for every framework.

Times count epochs from the start of training, with a fraction within an epoch.
"""

import math


def step_decay(time: float, every: int, factor: float) -> float:
    """Times `factor` after every `every` epochs."""
    return math.pow(factor, time // every)


def multi_step(time: float, milestones: list[int], factor: float) -> float:
    """Times `factor` at each of `milestones`."""
    return math.pow(factor, sum(time >= milestone for milestone in milestones))


def exponential(time: float, factor: float) -> float:
    """Times `factor` in every epoch."""
    return math.pow(factor, time)


def fraction(time: float, start: float, end: float) -> float:
    """How much of the way from `start` to `end` is gone: 0 before it, 1 behind it."""
    if time <= start:
        return 0.0
    return min((time - start) / (end - start), 1.0)


def polynomial(done: float, rate: float, minimum: float, power: float) -> float:
    """From `rate` down to `minimum`; with a power of 1 straight."""
    return minimum + (rate - minimum) * math.pow(1 - done, power)


def cosine(done: float, rate: float, minimum: float) -> float:
    """From `rate` down to `minimum` along half a cosine."""
    return minimum + (rate - minimum) * (1 + math.cos(math.pi * done)) / 2


def restart(time: float, every: float, growth: int) -> tuple[int, float]:
    """The round that a time is in, from 0, and how much of that round is gone."""
    number = 0
    while time >= every:
        time, every, number = time - every, every * growth, number + 1
    return number, max(time, 0.0) / every


def warm_up(time: float, epochs: float, start: float) -> float:
    """The factor of the first epochs, which rises from `start` to 1."""
    return start + (1 - start) * min(time / epochs, 1.0)


def hold_back(time: float, epochs: float, start: float) -> float:
    """The factor of the first epochs: `start`, then 1."""
    return start if time < epochs else 1.0


def one_cycle(
    step: int, steps: int, rate: float, rise: float, first: float, last: float
) -> float:
    """From `first` up to `rate` in a share `rise` of all steps, then down to `last`."""
    top = rise * steps - 1
    if step < top:
        return cosine(step / top, first, rate)
    return cosine((step - top) / (steps - 1 - top), rate, last)


def straight_cycle(
    step: int, steps: int, rate: float, rise: float, first: float, last: float
) -> float:
    """From `first` up to `rate` in a share `rise` of all steps, then down to `last`."""
    top = rise * steps - 1
    if step < top:
        return first + (rate - first) * step / top
    return rate + (last - rate) * (step - top) / (steps - 1 - top)


class Best:
    """The best value of a figure so far, and for how many epochs none was better.

    A value is better where it is so by more than `min_delta`; losses are better when
    lower, all else when higher.
    """

    def __init__(self, monitor: str, min_delta: float = 0.0) -> None:
        self.monitor = monitor
        self.min_delta = min_delta
        self.sign = -1 if monitor.endswith("loss") else 1
        self.best = -math.inf
        self.waited = 0

    def improves(self, figures: dict[str, float]) -> bool:
        """Whether an epoch's figures are the best so far."""
        value = self.sign * figures[self.monitor]
        better = value > self.best + self.min_delta
        self.best = value if better else self.best
        self.waited = 0 if better else self.waited + 1
        return better

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps of it."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint."""
        self.best = state["best"]
        self.waited = int(state["waited"])


class ReduceOnPlateau:
    """A factor for the rates, which becomes smaller when a figure does not improve.

    `factor` times what it was, down to `minimum`, after `patience` epochs in a row; for
    `cooldown` epochs behind that nothing is counted.
    """

    def __init__(
        self, best: Best, factor: float, patience: int, cooldown: int, minimum: float
    ) -> None:
        self.best = best
        self.factor = factor
        self.patience = patience
        self.cooldown = cooldown
        self.minimum = minimum
        self.scale = 1.0
        self.cooling = 0

    def update(self, figures: dict[str, float]) -> None:
        """Take note of an epoch's figures."""
        self.best.improves(figures)
        if self.cooling:
            self.cooling -= 1
            self.best.waited = 0
        elif self.best.waited >= self.patience:
            lower = max(self.scale * self.factor, self.minimum)
            self.scale = min(self.scale, lower)
            self.cooling = self.cooldown
            self.best.waited = 0

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps of it."""
        own = {"scale": self.scale, "cooling": self.cooling}
        return self.best.state_dict() | own

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint."""
        self.best.load_state_dict(state)
        self.scale = state["scale"]
        self.cooling = int(state["cooling"])
