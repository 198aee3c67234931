"""Layers that do not train as others do."""

import keras
from keras import ops

FROZEN: list[str] = []
UNFREEZE: dict[int, list[str]] = {}
RATE_FACTORS: dict[str, float] = {}


def layers_in(model: keras.Model, names: list[str]) -> list[keras.Layer]:
    """The layers of these names, and those of which such a one is made."""
    starts = tuple(f"{name}-" for name in names)
    return [layer for layer in model.layers if f"{layer.name}-".startswith(starts)]


def freeze(model: keras.Model) -> None:
    """Keep the frozen layers as they are, running statistics of norms too."""
    for layer in layers_in(model, FROZEN):
        layer.trainable = False


def unfreeze(epoch: int, *models: keras.Model) -> None:
    """Keep layers as they are until they start to train; epochs count from 1."""
    for start, names in UNFREEZE.items():
        for layer in layers_in(models[0], names):
            layer.trainable = epoch >= start
    if epoch in UNFREEZE:
        for model in models:  # what was compiled has other layers in it
            model.make_train_function(force=True)


def rate_factor(path: str) -> float:
    """How many times the rate a weight takes."""
    for name, factor in RATE_FACTORS.items():
        if path.startswith((f"{name}-", f"{name}/")):
            return factor
    return 1.0


class Multiplied:
    """Takes each weight's rate times a factor."""

    def build(self, variables):
        super().build(variables)
        self.factors = [rate_factor(variable.path) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        factor = self.factors[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype) * factor
        super().update_step(gradient, variable, rate)


class Decayed:
    """Has weights decay at rates of their own."""

    def _apply_weight_decay(self, variables):
        pass  # each with its rate, below

    def update_step(self, gradient, variable, learning_rate):
        if self._use_weight_decay(variable):
            share = ops.cast(learning_rate, variable.dtype) * self.weight_decay
            self.assign_sub(variable, variable * share)
        super().update_step(gradient, variable, learning_rate)


class Counted:
    """Counts the steps of each weight, which begin when it starts to train."""

    def build(self, variables):
        super().build(variables)
        self.counts = [
            self.add_variable((), dtype=variable.dtype, name="count")
            for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        self.assign_add(self.counts[self._get_variable_index(variable)], 1)
        super().update_step(gradient, variable, learning_rate)


class Averaged:
    """Puts averages in place of the weights that train by now, and of no others."""

    def finalize_variable_values(self, var_list):
        every = self._trainable_variables
        kept = [(each, ops.copy(each)) for each in every if not each.trainable]
        super().finalize_variable_values(every)
        for variable, value in kept:
            variable.assign(value)
