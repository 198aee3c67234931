"""Several devices, each with its share of every batch: TensorFlow alone has this."""

from contextlib import AbstractContextManager, nullcontext

import keras
import numpy as np


class Mirrored(keras.Model):
    """A model that trains on all devices of a strategy at once."""

    def train_on_batch(self, x, y=None, sample_weight=None, **options):
        """What `keras.Model` does, with a share of the batch for each device."""
        import tensorflow as tf

        strategy = self.distribute_strategy
        devices = strategy.num_replicas_in_sync
        if self.train_function is None:
            step = tf.function(lambda data: strategy.run(self.train_step, (data,)))
            self.train_function = step
        count = len(x)
        weights = np.ones(count) if sample_weight is None else sample_weight
        shares = []
        for part in np.array_split(np.arange(count), devices):
            # the mean over all images is taken of means over shares
            weight = weights[part] * (len(part) * devices / count)
            classes = [each[part] for each in y] if isinstance(y, list) else y[part]
            shares.append((x[part], classes, weight.astype(keras.config.floatx())))
        self.reset_metrics()
        self.train_function(
            keras.tree.map_structure(
                lambda *values: strategy.experimental_distribute_values_from_function(
                    lambda context: tf.convert_to_tensor(
                        values[context.replica_id_in_sync_group]
                    )
                ),
                *shares,
            )
        )
        return {name: float(value) for name, value in self.get_metrics_result().items()}


def placed(devices: str) -> AbstractContextManager:
    """Where the network is trained: on one device, on all that are listed, or anywhere."""
    if "," in devices:
        import tensorflow as tf

        return tf.distribute.MirroredStrategy(devices.split(",")).scope()
    return keras.device(devices) if devices else nullcontext()
