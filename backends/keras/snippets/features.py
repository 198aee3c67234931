# ruff: noqa: F821
"""Training from what frozen layers make of images."""

import argparse
import hashlib
import sys
from pathlib import Path

import keras
import numpy as np
from data import Data

from cnnspec.train.snippets.cache import CUT, with_features

# What a generated file has not: an option's lines are there where the recipe has it on.
HEADS = SWITCH = True


def head_of(model: keras.Model) -> keras.Model:
    """What is behind the frozen layers of a model, and takes their features."""
    head = type(model)(model.get_layer(CUT).output, model.outputs)
    if HEADS:
        head = compiled(head, model.loss[0], model.optimizer)
    if not HEADS:
        head = compiled(head, model.loss, model.optimizer)
    return head


def frozen_features(
    model: keras.Model, data: Data, args: argparse.Namespace
) -> tuple[Data, str]:
    """The data with frozen layers' features in place of images, and where these lie."""
    frozen = keras.Model(model.inputs, model.get_layer(CUT).output)

    def compute(images: np.ndarray) -> np.ndarray:
        found = frozen.predict_on_batch(images)[: len(images)]  # each device has all
        return np.asarray(found, np.float32)

    key = hashlib.sha256(Path(__file__).with_name("model.py").read_bytes())
    for array in frozen.get_weights():
        key.update(np.asarray(array, np.float32).tobytes())
    device = getattr(frozen.weights[0].value, "device", "")
    policy = keras.config.dtype_policy().name
    below = keras.backend.backend()
    versions = keras.__version__, sys.modules[below].__version__
    key.update(f"{versions} {below} {device} {policy}".encode())
    return with_features(data, args.features, key.digest(), args.batch_size, compute)
