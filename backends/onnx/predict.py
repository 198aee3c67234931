"""`cnnspec predict`: images through an exported file, by what the file says of itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from cnnspec.backends.onnx.images import BadImage, pixels, preprocessed, read_image
from cnnspec.backends.onnx.lowering import PROBABILITIES
from cnnspec.backends.onnx.metadata import read
from cnnspec.diagnostics import Report, Source, Span, SpecError
from cnnspec.lower.backend import MissingDependency

Provider = Literal["cpu", "cuda", "tensorrt"]

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_NEEDS = {
    "cuda": "it needs an NVIDIA GPU with its driver, and CUDA and cuDNN as onnxruntime-gpu was built for",
    "tensorrt": "it needs what `cuda` needs, and the TensorRT libraries",
}


@dataclass(frozen=True, slots=True)
class Guess:
    """One class of an image."""

    index: int
    label: str
    probability: float


class Prediction(NamedTuple):
    """The likeliest classes of an image, the first one first; or why there are none."""

    image: str
    top: list[Guess]
    error: str = ""


class Classifier:
    """An exported classifier, ready to run on `provider` and on no other.

    Raises `MissingDependency` for a package that is not installed, and `SpecError` for anything else that is missing.
    """

    def __init__(self, model: Path, provider: Provider = "cpu") -> None:
        check_packages(provider)
        if not model.is_file():
            refuse("no-file", f"`{model}` {'is not a file' if model.exists() else 'does not exist'}", model)
        self.session = session(model, provider)
        try:
            self.description = read(self.session.get_modelmeta().custom_metadata_map)
        except ValueError as error:
            refuse(
                "bad-model", f"`{model}` does not say what it takes: {error}", model, "export it with `cnnspec export`"
            )
        given, result = self.session.get_inputs()[0], self.session.get_outputs()[0]
        if len(result.shape) != 2:
            refuse("bad-model", f"`{model}` gives maps and no classes", model)
        labels, classes = self.description.labels, result.shape[1]
        self.single = between_two(result)
        if self.single:
            labels, classes = two_labels(labels), 2
        if labels is not None and len(labels) != classes:
            refuse("bad-model", f"`{model}` has {len(labels)} labels for {classes} classes", model)
        self.labels = labels
        self.input, self.output = given.name, result.name
        self.own = given.type == "tensor(uint8)"
        _, *axes = given.shape
        self.channels = axes[-1 if self.own else 0]
        self.size = (axes[-2], axes[-1])

    def predict(self, images: Sequence[str], top: int = 5) -> Iterator[Prediction]:
        """The `top` classes of every image, one after the other."""
        for name in images:
            try:
                yield Prediction(name, self._guesses(Path(name), top))
            except BadImage as error:
                yield Prediction(name, [], str(error))

    def _guesses(self, path: Path, top: int) -> list[Guess]:
        import numpy as np

        image = read_image(path, self.channels)
        x = pixels(image) if self.own else preprocessed(image, self.description.preprocess, self.size)
        try:
            (scores,) = self.session.run([self.output], {self.input: x})
        except Exception as error:  # the runtime's own types: an image that preprocessing inside the model cannot take
            reason = str(error).partition("\n")[0]
            raise BadImage(f"the model cannot take its {image.height}×{image.width} pixels: {reason}") from error
        values = (two_classes(scores) if self.single else scores)[0].astype(np.float64)
        if self.output != PROBABILITIES:
            with np.errstate(invalid="ignore"):  # of infinities, seen below
                values = np.exp(values - values.max())
            values /= values.sum()
        if not np.isfinite(values).all():
            raise BadImage("what the network gives is not finite")
        best = np.argsort(-values, kind="stable")[:top]
        labels = self.labels
        return [Guess(int(i), labels[i] if labels else f"class {i}", float(values[i])) for i in best]


def between_two(output: Any) -> bool:
    """Whether an output of a session is one probability between two classes, that of class 1."""
    return bool(output.name == PROBABILITIES and list(output.shape[1:]) == [1])


def two_classes(scores: Any) -> Any:
    """The probabilities of both classes, where that of class 1 is given."""
    import numpy as np

    return np.concatenate([1 - scores, scores], axis=1)


def two_labels(labels: list[str] | None) -> list[str] | None:
    """The names of both classes; one name alone is that of class 1."""
    return [f"not {labels[0]}", labels[0]] if labels and len(labels) == 1 else labels


def check_packages(provider: Provider) -> None:
    """Raise `MissingDependency` for what a provider needs and is not installed."""
    extra = "onnx" if provider == "cpu" else "gpu"
    if find_spec("onnxruntime") is None:
        raise MissingDependency("onnxruntime" if provider == "cpu" else "onnxruntime-gpu", extra)
    if find_spec("PIL") is None:
        raise MissingDependency("pillow", extra)
    import onnxruntime

    if _PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise MissingDependency("onnxruntime-gpu", "gpu")


def refuse(slug: str, message: str, model: Path, help: str = "") -> NoReturn:
    """Raise `SpecError` about a model's file."""
    report = Report()
    report.add(slug, message, Span(Source(str(model), ""), 0, 0), help=help)
    raise SpecError(report.sorted())


def session(model: Path, provider: Provider) -> Any:
    """The runtime's session for a file, on `provider` and no other."""
    import onnxruntime

    wanted = _PROVIDERS[provider]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    if provider != "cpu":
        with redirect_stdout(sys.stderr):  # finds CUDA's libraries where pip has put them, and may have much to say
            onnxruntime.preload_dlls()
    try:
        found = onnxruntime.InferenceSession(model, options, providers=[wanted])
    except Exception as error:  # the runtime's own types
        refuse("bad-model", f"ONNX Runtime cannot run `{model}` on `{provider}`: {error}", model)
    found.disable_fallback()
    if wanted not in found.get_providers():
        refuse("no-provider", f"ONNX Runtime could not start `{provider}`", model, _NEEDS[provider])
    return found
