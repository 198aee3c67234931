"""`cnnspec evaluate`: an ONNX file on labelled images, with ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from cnnspec.diagnostics import Report, Source, Span, SpecError
from cnnspec.graph import Graph, build_graph
from cnnspec.lower.backend import backends
from cnnspec.source import Mapping, grown, read_text
from cnnspec.spec.loader import load_spec
from cnnspec.spec.text import tree_text
from cnnspec.train.evaluation import Evaluation
from cnnspec.train.folder import is_folds, read_record
from cnnspec.train.generate import data_module
from cnnspec.train.place import data_section
from cnnspec.train.seen import Hashes, is_seen, seen_by

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("test", "validation", "train")
MODEL = "model.onnx"

_AT_ONCE = 256
_TOP = (5,)
_KEPT = ("cnnspec", "name", "input", "preprocess", "params", "let")
_RECIPE: dict[str, Any] = {"optimizer": {"sgd": 0.1}, "epochs": 1, "batch_size": 1}  # only its data count


def evaluate(target: Path, data: str | None = None, split: Split | None = None) -> Evaluation:
    """Classify the images of a split: of the data that the file was trained with, or of `data`.

    `target` is an ONNX file or the folder of a run. Without `split` it is the test part, or else what there is. Raises
    `SpecError` for what cannot be evaluated, `MissingDependency` without ONNX Runtime.
    """
    model = model_of(target) if target.is_dir() else target
    scorer = backends()["onnx"].load().scorer(model)
    images = _images(scorer, model, data, split)
    found = score(scorer, images.module, images.part, seen_by(model))
    if not found.truth:
        refuse("bad-data", f"no image of {images.place} can be read", data or str(model))
    return Evaluation(str(model), images.place, images.split, images.labels, **figures(found, scorer.classes))


@dataclass
class Scores:
    """What became of the images of a part."""

    truth: list[int]
    log_probabilities: list[Any]
    left_out: int = 0
    seen: int | None = None
    """How many of them were trained on; None where nothing says which these were."""


def score(scorer: Any, module: Any, part: Any, seen: Hashes | None = None) -> Scores:
    """The network's answers for all images that can be read, and how many of these are among the `seen` ones."""
    result = Scores([], [], getattr(part, "broken_files", 0), None if seen is None else 0)
    for first in range(0, len(part), _AT_ONCE):
        numbers = np.arange(first, min(first + _AT_ONCE, len(part)))
        with redirect_stderr(StringIO()):  # what cannot be read is counted here
            images, found = part.read(numbers, replace=False)
        result.left_out += len(numbers) - len(found)
        if not len(found):
            continue
        if seen is not None and result.seen is not None:
            result.seen += sum(is_seen(seen, image) for image in images)
        result.truth += map(int, part.labels[found])
        result.log_probabilities.append(_answers(scorer, module, images))
    return result


def _answers(scorer: Any, module: Any, images: Any) -> Any:
    if not scorer.takes_bytes:
        return scorer.log_probabilities(module.prepare(images, None))
    if scorer.size is not None:
        return scorer.log_probabilities(np.stack([module.fit(image) for image in images]))
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        by_shape[image.shape].append(number)
    answers = np.empty((len(images), scorer.classes))
    for numbers in by_shape.values():
        answers[numbers] = scorer.log_probabilities(np.stack([images[number] for number in numbers]))
    return answers


def figures(scores: Scores, classes: int) -> dict[str, Any]:
    """What an `Evaluation` says of answers: figures, counts of images, and warnings."""
    truth = np.array(scores.truth)
    answers = np.concatenate(scores.log_probabilities)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, answers.argmax(axis=1)), 1)
    own = answers[np.arange(len(truth)), truth]
    rank = (~(answers <= own[:, None])).sum(axis=1)  # what is not a number is never among the first
    top_k = {k: float((rank < k).mean()) for k in _TOP if k < classes}
    loss = float(-own.mean())
    warnings = []
    if scores.seen:
        warnings.append(f"{scores.seen:,} of the {len(truth):,} images were trained on: the figures flatter")
    if scores.left_out:
        warnings.append(f"{scores.left_out:,} images cannot be read, and are left out")
    if not isfinite(loss):
        warnings.append("the network's answers are infinite or not a number for some images")
    counts = {"left_out": scores.left_out, "trained_on": scores.seen, "warnings": warnings}
    return {"confusion": confusion, "loss": loss, "top_k": top_k, **counts}


@dataclass(frozen=True)
class _Images:
    """What is evaluated, and with which functions it is read."""

    module: Any
    part: Any
    split: str
    place: str
    labels: list[str]


def _images(scorer: Any, model: Path, data: str | None, split: Split | None) -> _Images:
    report = Report()
    graph, recipe = _graph(scorer, model, data, report)
    report.raise_errors()
    assert graph is not None and recipe is not None, "what cannot be read is an error"
    module = data_module(graph, recipe)
    _count_broken(module)
    try:
        parts = module.load_data(_sample_beside(model, recipe))
    except module.DataError as error:
        refuse("bad-data", str(error), data or str(model))
    there: list[Split] = [name for name in SPLITS if getattr(parts, name) is not None]
    chosen = split or there[0]
    if chosen not in there:
        refuse("bad-data", f"the data have no {chosen} part", data or str(model), f"there is {', '.join(there)}")
    labels = scorer.labels or module.CLASSES
    shown = "all" if data and len(there) == 1 else chosen
    return _Images(module, getattr(parts, chosen), shown, data or recipe.data.kind, list(labels))


def _count_broken(module: Any) -> None:
    """Have files that are left out before they become part of the data counted with it."""
    if not hasattr(module, "image_files"):
        return
    image_files = module.image_files

    def counted(files: list[str], *arguments: Any) -> Any:
        part = image_files(files, *arguments)
        part.broken_files = len(files) - len(part)
        return part

    module.image_files = counted


def _sample_beside(model: Path, recipe: Recipe) -> Path | None:
    folder = model.parent / "sample"
    return folder if recipe.data.kind == "sample" and folder.is_dir() else None


def _graph(scorer: Any, model: Path, data: str | None, report: Report) -> tuple[Graph | None, Recipe | None]:
    """A network with the file's input, preprocessing, labels and data; its layers do not matter, and are others."""
    span = Span(Source(str(model), ""), 0, 0)
    root = read_text(scorer.spec, f"the spec in {model}", report) if scorer.spec else _foreign(scorer, model, span)
    if not isinstance(root, Mapping):
        return None, None
    sections: dict[str, Any] = {key: node for key, (_, node) in root.entries.items() if key in _KEPT}
    sections["layers"] = ["flatten", {"dense": scorer.classes}]
    if scorer.labels:
        sections["labels"] = list(scorer.labels)
    train = root.get("train")
    if train is None and data is None:
        report.add("bad-data", f"`{model}` does not say what it was trained on", span, help="name images: `--data D`")
        return None, None
    sections["train"] = dict(_RECIPE)
    if isinstance(train, Mapping):
        sections["train"] |= {key: node for key, (_, node) in train.entries.items() if key in ("data", "split", "seed")}
    tree = grown(sections, span)
    assert isinstance(tree, Mapping), "a dictionary grows to one"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "spec.yaml")
        file.write_text(tree_text(tree), encoding="utf-8")
        spec = load_spec(str(file), {}, report)
        graph = build_graph(spec, report) if spec else None
    if spec is None or graph is None:
        return None, None
    recipe = spec.read_recipe(report)
    if data is not None and (section := data_section(data, recipe, report)):
        # nothing is trained on here, and so nothing held out
        recipe = spec.read_recipe(report, changes={"data": section, "split": grown(None, span)})
    return graph, recipe


def _foreign(scorer: Any, model: Path, span: Span) -> Mapping | None:
    """What a file of others says of itself; nothing of preprocessing, so that pixels stay 0–255."""
    if scorer.size is None:
        refuse("bad-model", f"`{model}` does not say which size its images have", str(model))
    given: Any = {"cnnspec": 1, "name": "model", "input": {"channels": scorer.channels, "size": list(scorer.size)}}
    tree = grown(given, span)
    return tree if isinstance(tree, Mapping) else None


def model_of(run: Path) -> Path:
    """The ONNX file in the folder of a run. Raises `SpecError` where there is none."""
    model = run / MODEL
    if not model.is_file():
        if read_record(run) is None:
            message = f"`{run}` is not the folder of a run, and has no {MODEL}"
            refuse("no-run", message, str(run), "name a run, as `cnnspec train` makes it, or an ONNX file")
        help = f"it is made at the end: `cnnspec train --resume -o {run}` goes on with the run"
        if is_folds(run):
            help = f"name one of its folds, or make a network of all: `cnnspec ensemble {run} -o M.onnx`"
        refuse("no-run", f"`{run}` has no {MODEL}", str(run), help)
    return model


def refuse(slug: str, message: str, what: str, help: str = "") -> NoReturn:
    """Raise a `SpecError` at a file or folder."""
    report = Report()
    report.add(slug, message, Span(Source(what, ""), 0, 0), help=help)
    raise SpecError(report.sorted())
