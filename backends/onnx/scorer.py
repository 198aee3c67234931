"""Any ONNX file that classifies images, ours or not: what it takes, and its scores for a batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnspec.backends.onnx.lowering import PROBABILITIES
from cnnspec.backends.onnx.metadata import LABELS, SPEC
from cnnspec.backends.onnx.predict import between_two, check_packages, refuse, session, two_classes, two_labels

_FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_CHANNELS = (1, 3, 4)


class Scorer:
    """A network in an ONNX file, run on the CPU.

    `takes_bytes` says that it takes images as uint8 (batch, height, width, channels) and prepares them itself; else it
    takes what preprocessing gives, (batch, height, width, channels) as well here whatever it has inside. `size` is the
    size that all images must have, None where it takes any. Raises `MissingDependency` where ONNX Runtime is not
    installed, and `SpecError` for a file that cannot be run or takes something else.
    """

    def __init__(self, model: Path) -> None:
        check_packages("cpu")
        if not model.is_file():
            refuse("no-file", f"`{model}` {'is not a file' if model.exists() else 'does not exist'}", model)
        self._session = session(model, "cpu")
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        given, result = inputs[0], outputs[0]
        if len(inputs) != 1 or len(given.shape) != 4:
            refuse("bad-model", f"`{model}` does not take one batch of images", model)
        if len(result.shape) != 2 or not isinstance(result.shape[1], int):
            refuse("bad-model", f"`{model}` does not give one score for each of its classes", model)
        self.takes_bytes = given.type == "tensor(uint8)"
        if not self.takes_bytes and given.type not in _FLOATS:
            refuse("bad-model", f"`{model}` takes {given.type}, which no images are", model)
        self.channels_last = self.takes_bytes or (given.shape[3] in _CHANNELS and given.shape[1] not in _CHANNELS)
        first, second, third = given.shape[1:]
        height, width, channels = (first, second, third) if self.channels_last else (second, third, first)
        if not isinstance(channels, int):
            refuse("bad-model", f"`{model}` does not say how many channels its images have", model)
        self.channels = channels
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self.batch = given.shape[0] if isinstance(given.shape[0], int) else None
        self._single = between_two(result)
        self.classes: int = 2 if self._single else result.shape[1]
        self._input, self._output = given.name, result.name
        self._dtype = "uint8" if self.takes_bytes else _FLOATS[given.type]
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        if self.classes == 1 and not self.spec:
            help = f"one that is the probability of class 1 is called `{PROBABILITIES}`"
            refuse("bad-model", f"`{model}` gives one score, and not one for each class", model, help)

    @property
    def spec(self) -> str:
        """The text of the spec that it was made from; empty for a file of others."""
        return self.metadata.get(SPEC, "")

    @property
    def labels(self) -> list[str] | None:
        """The names of its classes, if it has any."""
        import json

        try:
            labels = json.loads(self.metadata.get(LABELS, "null"))
        except ValueError:
            return None
        if self._single and isinstance(labels, list):
            labels = two_labels(labels)
        return labels if isinstance(labels, list) and len(labels) == self.classes else None

    def log_probabilities(self, images: Any) -> Any:
        """Of every class for every image, (batch, classes) in float64."""
        import numpy as np

        x = images if self.channels_last else images.transpose(0, 3, 1, 2)
        x = np.ascontiguousarray(x, self._dtype)
        size = self.batch or len(x)
        found = []
        for first in range(0, len(x), size):
            piece = x[first : first + size]
            filled = np.concatenate([piece, np.repeat(piece[-1:], size - len(piece), 0)])  # a fixed batch
            (scores,) = self._session.run([self._output], {self._input: filled})
            found.append(scores[: len(piece)])
        scores = np.concatenate(found).astype(np.float64)
        scores = two_classes(scores) if self._single else scores
        sums = scores.sum(axis=1)
        if self._output == PROBABILITIES or (scores.min() >= 0 and np.allclose(sums, 1, atol=1e-3)):
            return np.log(np.maximum(scores, 1e-30))
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
