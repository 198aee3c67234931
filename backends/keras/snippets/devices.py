"""Several devices, each with its share of every batch: TensorFlow alone has this."""

import sys
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
        x, y, weights = data
        if weights is None:
            weights = keras.tree.map_structure(lambda _: tf.ones(count, x.dtype), y)
        parts = keras.tree.map_structure(lambda array: array[mine], (x, y, weights))
        scale = tf.cast(world * tf.shape(parts[0])[0] / count, x.dtype)
        weights = keras.tree.map_structure(lambda weight: scale * weight, parts[2])
        return super().train_step((*parts[:2], weights))

    def train_on_batch(self, *args, **options):
        loss = super().train_on_batch(*args, **options)["loss"]
        means = self.get_metrics_result()  # over all devices
        return {name: float(mean) for name, mean in means.items()} | {"loss": loss}


def placed(devices: str) -> AbstractContextManager:
    """Where training takes place: on one device, on several with commas, anywhere."""
    try:
        if devices and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            found = [device.name for device in tf.config.list_logical_devices()]
            here = {name.removesuffix(":0"): name for name in found}
            asked = [f"/device:{name}" for name in devices.upper().split(",")]
            used = [here[name.removesuffix(":0")] for name in asked]
            if len(used) > 1:
                return tf.distribute.MirroredStrategy(used).scope()
        with keras.device(devices) if devices else nullcontext():
            keras.ops.zeros(1)  # where there is no such device it fails
    except Exception as error:  # noqa: BLE001 - each framework has its own
        sys.exit(f"error: there is no --device {devices}: {error}")
    return keras.device(devices) if devices else nullcontext()
