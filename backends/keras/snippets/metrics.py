"""Metrics of what a network computes in 16 bits, which TensorFlow does not rank."""

import keras
from keras import ops


class SparseTopK(keras.metrics.SparseTopKCategoricalAccuracy):
    """The share of images whose class is among the k likeliest."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        logits = ops.cast(y_pred, "float32")
        return super().update_state(y_true, logits, sample_weight)


class TopK(keras.metrics.TopKCategoricalAccuracy):
    """The same for classes as one-hot rows."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        logits = ops.cast(y_pred, "float32")
        return super().update_state(y_true, logits, sample_weight)
