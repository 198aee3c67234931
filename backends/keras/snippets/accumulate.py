# ruff: noqa: F821
"""Steps that take several batches; `LATE` is settled as in the loop that trains."""

import keras


class Gather(keras.optimizers.Optimizer):
    """Adds gradients up for another optimiser, whose loss scale they have."""

    def __init__(self, optimizer):
        super().__init__(0.0)
        self.scale_loss = optimizer.scale_loss

    def build(self, variables):
        super().build(variables)
        self.sums = self.add_optimizer_variables(variables, "sum")

    def update_step(self, gradient, variable, learning_rate):
        self.assign_add(self.sums[self._get_variable_index(variable)], gradient)


class Accumulated:
    """Adds to the gradients what its `gather` holds."""

    def build(self, variables):
        super().build(variables)
        self.gather = Gather(self)
        self.gather.build(variables)

    def apply(self, grads, trainable_variables=None):
        sums = self.gather.sums
        if LATE:
            sums = [sums[self._get_variable_index(v)] for v in trainable_variables]
        pairs = zip(grads, sums, strict=True)
        grads = [grad + device_part(gathered) for grad, gathered in pairs]
        super().apply(grads, trainable_variables)


def device_part(gathered):
    """What one device adds of what all have gathered."""
    if keras.backend.backend() != "tensorflow":
        return gathered
    import tensorflow as tf

    return gathered / tf.distribute.get_strategy().num_replicas_in_sync


class Scaled(Accumulated, keras.optimizers.LossScaleOptimizer):
    """Scales the loss, and gathers gradients as they are with that scale."""
