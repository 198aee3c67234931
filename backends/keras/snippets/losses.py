"""Losses that Keras does not have."""

from collections.abc import Sequence

import keras
from keras import ops


class WeightedCrossEntropy(keras.losses.Loss):
    """Cross-entropy times the weight of an image's class."""

    def __init__(self, weights: Sequence[float], label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.weights = weights
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        losses = keras.losses.categorical_crossentropy(
            y_true, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )
        weights = ops.convert_to_tensor(self.weights, y_true.dtype)
        return losses * ops.sum(y_true * weights, axis=-1)
