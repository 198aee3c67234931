"""Optimisers as PyTorch and the papers have them, where Keras has them otherwise."""

import keras
from keras import ops

# What a generated file has not: an option's lines are there where the recipe has it on.
AMSGRAD = CENTERED = LATE = MOMENTUM = NESTEROV = True


class Sgd(keras.optimizers.SGD):
    """Momentum outside of which the rate stands: a new rate acts on all of it."""

    def update_step(self, gradient, variable, learning_rate):
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * velocity + gradient)
        if NESTEROV:
            velocity = gradient + self.momentum * velocity
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * velocity)


class Adam(keras.optimizers.Adam):
    """Adam as published: epsilon is added after the correction of the bias."""

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        if not LATE:
            step = ops.cast(self.iterations + 1, variable.dtype)
        if LATE:
            step = ops.convert_to_tensor(self.counts[index])
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        if AMSGRAD:
            largest = self._velocity_hats[index]
            self.assign(largest, ops.maximum(largest, v))
            v = largest
        root = ops.sqrt(v / (1 - self.beta_2**step)) + self.epsilon
        rate = ops.cast(learning_rate, variable.dtype) / (1 - self.beta_1**step)
        self.assign_sub(variable, rate * m / root)


class RmsProp(keras.optimizers.RMSprop):
    """RMSprop that adds epsilon outside of the root, and the rate to the momentum."""

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        mean = self._velocities[index]
        self.assign_add(mean, (ops.square(gradient) - mean) * (1 - self.rho))
        if CENTERED:
            average = self._average_gradients[index]
            self.assign_add(average, (gradient - average) * (1 - self.rho))
            mean = mean - ops.square(average)
        step = gradient / (ops.sqrt(mean) + self.epsilon)
        if MOMENTUM:
            velocity = self._momentums[index]
            self.assign(velocity, self.momentum * velocity + step)
            step = velocity
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * step)


class Adagrad(keras.optimizers.Adagrad):
    """Adagrad that adds epsilon outside of the root."""

    def update_step(self, gradient, variable, learning_rate):
        total = self._accumulators[self._get_variable_index(variable)]
        self.assign_add(total, ops.square(gradient))
        step = gradient / (ops.sqrt(total) + self.epsilon)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * step)


class Adamax(keras.optimizers.Adamax):
    """Adamax that adds epsilon to the gradients of which it takes the largest."""

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, largest = self._m[index], self._u[index]
        if not LATE:
            step = ops.cast(self.iterations + 1, variable.dtype)
        if LATE:
            step = ops.convert_to_tensor(self.counts[index])
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        size = ops.abs(gradient) + self.epsilon
        self.assign(largest, ops.maximum(self.beta_2 * largest, size))
        rate = ops.cast(learning_rate, variable.dtype) / (1 - self.beta_1**step)
        self.assign_sub(variable, rate * m / largest)


class Nadam(keras.optimizers.Adam):
    """Adam with Nesterov's momentum, which grows at a rate of `momentum_decay`."""

    momentum_decay: float

    def build(self, variables):
        super().build(variables)
        self.products = [
            self.add_variable((), "ones", variable.dtype, name="product")
            for variable in variables
        ]

    def momentum(self, step):
        """The weight of the momentum at a step."""
        return self.beta_1 * (1 - 0.5 * 0.96 ** (step * self.momentum_decay))

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        product = self.products[index]
        if not LATE:
            step = ops.cast(self.iterations + 1, variable.dtype)
        if LATE:
            step = ops.convert_to_tensor(self.counts[index])
        now, then = self.momentum(step), self.momentum(step + 1)
        self.assign(product, product * now)
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        root = ops.sqrt(v / (1 - self.beta_2**step)) + self.epsilon
        ahead = then * m / (1 - product * then)
        ahead = ahead + (1 - now) * gradient / (1 - product)
        self.assign_sub(
            variable, ops.cast(learning_rate, variable.dtype) * ahead / root
        )


class L2:
    """Adds `l2` times a weight to its gradient, after clipping."""

    l2: float

    def update_step(self, gradient, variable, learning_rate):
        if self._use_weight_decay(variable):
            gradient = gradient + self.l2 * variable
        super().update_step(gradient, variable, learning_rate)


class ClipGlobalNorm:
    """Shortens all gradients together to a norm of `maximum`."""

    maximum: float

    def apply(self, grads, trainable_variables=None):
        norm = ops.sqrt(sum(ops.sum(ops.square(grad)) for grad in total(grads)))
        factor = ops.minimum(1.0, self.maximum / (norm + 1e-6))
        super().apply([grad * factor for grad in grads], trainable_variables)


def total(grads):
    """Gradients summed over all devices."""
    if keras.backend.backend() != "tensorflow":
        return grads
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce("SUM", grads)


class ClipParameterNorm:
    """Shortens the gradient of each parameter to a norm of `maximum`."""

    maximum: float

    def update_step(self, gradient, variable, learning_rate):
        norm = ops.sqrt(ops.sum(ops.square(gradient)))
        gradient = gradient * ops.minimum(1.0, self.maximum / (norm + 1e-6))
        super().update_step(gradient, variable, learning_rate)


class ClipValue:
    """Cuts every number of the gradients to between -`maximum` and `maximum`."""

    maximum: float

    def update_step(self, gradient, variable, learning_rate):
        gradient = ops.clip(gradient, -self.maximum, self.maximum)
        super().update_step(gradient, variable, learning_rate)
