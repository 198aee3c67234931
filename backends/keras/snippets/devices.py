"""Several devices, each with its share of every batch: TensorFlow alone has this."""

from contextlib import AbstractContextManager, nullcontext

import keras


class Mirrored(keras.Model):
    """Trains on all devices of a strategy, each with its share of the batch."""

    def train_step(self, data):
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        rank, world = context.replica_id_in_sync_group, context.num_replicas_in_sync
        count = tf.shape(data[0])[0]
        mine = slice(count * rank // world, count * (rank + 1) // world)
        x, y, weights = keras.tree.map_structure(lambda array: array[mine], data)
        scale = tf.cast(world * tf.shape(x)[0] / count, x.dtype)  # of unequal shares
        weights = scale * (tf.ones_like(x[:, 0, 0, 0]) if weights is None else weights)
        return super().train_step((x, y, weights))


def placed(devices: str) -> AbstractContextManager:
    """Where training takes place: on one device, on several with commas, anywhere."""
    if "," in devices:
        import tensorflow as tf

        return tf.distribute.MirroredStrategy(devices.split(",")).scope()
    return keras.device(devices) if devices else nullcontext()
