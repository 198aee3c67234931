"""The function of a generated `train.py` that says the learning rate of every step: the same for every framework."""

from __future__ import annotations

from typing import NamedTuple

from cnnspec.lower.python import literal
from cnnspec.spec.recipe.model import Recipe
from cnnspec.spec.recipe.schedule import (
    Cosine,
    Exponential,
    MultiStep,
    OneCycle,
    Polynomial,
    Schedule,
    Step,
    Warmup,
)

_SNIPPETS = "cnnspec.train.snippets.schedule"
_HEAD = '''\
def learning_rates(epochs: int, steps: int) -> list[float]:
    """The rate of every step, of which an epoch has `steps`."""'''


class Function(NamedTuple):
    """A function's text, and the snippets that it calls."""

    text: str
    wanted: tuple[str, ...]


def learning_rates(recipe: Recipe) -> Function:
    """The text of `learning_rates(epochs, steps)`, which uses a constant `LEARNING_RATE`.

    A schedule that watches figures starts from this table and multiplies it.
    """
    body = _Body(recipe.schedule)
    text = "\n".join([_HEAD, *("    " + line for line in body.lines())])
    return Function(text, tuple(f"{_SNIPPETS}:{name}" for name in body.wanted))


class _Body:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.wanted: list[str] = []

    def lines(self) -> list[str]:
        """The statements."""
        schedule = self.schedule
        if isinstance(schedule, OneCycle):
            return self._cycle(schedule)
        warmup = schedule.warmup
        whole = isinstance(schedule, Step | MultiStep) or getattr(schedule, "per", "step") == "epoch"
        rate = self._rate(warmup)
        if rate == ["rate = LEARNING_RATE"] and not warmup:
            return ["return [LEARNING_RATE] * (epochs * steps)"]
        body = ["time = step // steps" if whole else "time = step / steps"]
        body = body if len(rate) > 1 or "time" in rate[0] else []
        factor = self._warmup(warmup, "step / steps" if whole or not body else "time") if warmup else ""
        *before, last = rate
        if factor:
            body += [*before, last, f"rates.append(rate * {factor})"]
        else:
            body += [*before, f"rates.append({last.removeprefix('rate = ')})"]
        return ["rates = []", "for step in range(epochs * steps):", *("    " + line for line in body), "return rates"]

    def _rate(self, warmup: Warmup | None) -> list[str]:
        """Statements of which the last is `rate = …`."""
        match self.schedule:
            case Step(every=every, factor=factor):
                return [f"rate = LEARNING_RATE * {self._call('step_decay', 'time', every, factor)}"]
            case MultiStep(milestones=milestones, factor=factor):
                return [f"rate = LEARNING_RATE * {self._call('multi_step', 'time', milestones, factor)}"]
            case Exponential(factor=factor):
                return [f"rate = LEARNING_RATE * {self._call('exponential', 'time', factor)}"]
            case Polynomial(power=power, minimum=minimum, until=until):
                done = self._done(warmup, until)
                return [done, f"rate = {self._call('polynomial', 'done', 'LEARNING_RATE', minimum, power)}"]
            case Cosine(restarts=restarts, minimum=minimum) if restarts:
                start = f"time - {literal(warmup.epochs)}" if warmup else "time"
                found = self._call("restart", start, restarts.every, restarts.growth)
                top = f"LEARNING_RATE * {literal(restarts.decay)}**number" if restarts.decay != 1 else "LEARNING_RATE"
                number = "number" if restarts.decay != 1 else "_"
                return [f"{number}, done = {found}", f"rate = {self._call('cosine', 'done', top, minimum)}"]
            case Cosine(minimum=minimum, until=until):
                done = self._done(warmup, until)
                return [done, f"rate = {self._call('cosine', 'done', 'LEARNING_RATE', minimum)}"]
        return ["rate = LEARNING_RATE"]

    def _done(self, warmup: Warmup | None, until: int | None) -> str:
        start = warmup.epochs if warmup else 0.0
        return f"done = {self._call('fraction', 'time', start, 'epochs' if until is None else until)}"

    def _warmup(self, warmup: Warmup, time: str) -> str:
        shape = "warm_up" if warmup.shape == "linear" else "hold_back"
        return self._call(shape, time, warmup.epochs, warmup.start)

    def _cycle(self, schedule: OneCycle) -> list[str]:
        name = "one_cycle" if schedule.shape == "cosine" else "straight_cycle"
        self.wanted.append(name)
        first = f"LEARNING_RATE / {literal(schedule.initial_divisor)}"
        each = "for step in range(total)"
        made = f"{name}(step, total, LEARNING_RATE, {literal(schedule.rise)}, first, last)"
        line = f"{made} {each}"
        return [
            "total = epochs * steps",
            f"first = {first}",
            f"last = first / {literal(schedule.final_divisor)}",
            *(["return [", f"    {line}", "]"] if len(line) <= 80 else ["return [", f"    {made}", f"    {each}", "]"]),
        ]

    def _call(self, name: str, *args: object) -> str:
        self.wanted.append(name)
        shown = (arg if isinstance(arg, str) else _plain(arg) for arg in args)
        return f"{name}({', '.join(shown)})"


def _plain(value: object) -> str:
    return str(value) if isinstance(value, list) else literal(value)  # type: ignore[arg-type]
