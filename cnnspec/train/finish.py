"""What is made of a run when its training is over: weights for every framework, an ONNX file, pictures, examples."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnspec.diagnostics import Report
from cnnspec.graph import Graph
from cnnspec.lower.backend import MissingDependency, backends
from cnnspec.summary.columns import listed
from cnnspec.train import pictures, seen
from cnnspec.train.evaluate import MODEL, figures, refuse, score
from cnnspec.train.evaluation import Evaluation
from cnnspec.train.exported import export_run
from cnnspec.train.folder import read_record
from cnnspec.train.generate import data_module
from cnnspec.train.metrics import Row, read_metrics
from cnnspec.weights.finite import finite
from cnnspec.weights.mapping import Given
from cnnspec.weights.places import Place, save

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe

_EXAMPLES = 20  # classes of which one image is kept


@dataclass
class Products:
    """What was made: files in the run's folder with what they are, lines on what was not, and figures."""

    files: dict[Path, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    evaluation: Evaluation | None = None

    def figures(self, run: Path) -> list[str]:
        """What training gave, in lines."""
        lines = [_figures(read_metrics(run))]
        if self.evaluation is not None:
            found = self.evaluation
            lines.append(
                f"{found.split}: accuracy {found.accuracy:.2%}, loss {found.loss:.4f} on {found.images:,} images"
            )
            lines += [f"warning: {warning}" for warning in found.warnings]
        return lines

    def to_text(self, run: Path) -> str:
        """The figures, and every path."""
        lines = [*self.figures(run), *(f"({line})" for line in self.skipped)]
        files = dict(sorted(self.files.items(), key=lambda item: item[0].name != MODEL))
        return "\n".join([*lines, "", *made_lines(files.items())])


def made_lines(files: Iterable[tuple[Path | str, str]]) -> list[str]:
    """Where each thing is that was made, and what it is."""
    return ["Made:", *(f"  {line}" for line in listed((str(path), what) for path, what in files))]


def finish(run: Path, graph: Graph, case: str, recipe: Recipe, backend: str) -> Products:
    """Make everything, in the run's folder; what is there from before is made anew.

    Raises `SpecError` where the data are gone, and where no weights are finite.
    """
    made = Products()
    found = backends()[backend].load()
    chosen: Mapping[str, Any] = {}
    origin = _origin(run, recipe)
    for kind in ("best", "final"):
        native = run / f"{kind}{found.weights_suffix}"
        if native.is_file():
            weights = Given(found.read_weights(graph, native), origin)
            save_all(graph, weights, run / f"{kind}.safetensors")
            if all(finite(weights[key]) for key in weights):
                chosen = chosen or weights
            else:
                made.skipped.append(f"{_WEIGHTS[kind]} are infinite or not a number{_diverged(run)}")
            made.files[run / f"{kind}.safetensors"] = f"{_WEIGHTS[kind]}, for either framework"
            made.files[native] = f"the same for {backend}"
        elif kind in recipe.best_files:
            reason = f"`{recipe.best_files[kind]}` was never a number, or it was removed"
            made.skipped.append(f"there is no {native.name}: {reason}; the last weights are taken")
    if not chosen:
        help = "a smaller learning rate, a warm-up or `clip` in the recipe, `preprocess` that scales the images"
        refuse("diverged", f"the weights became infinite or not a number{_diverged(run)}", str(run), help=help)
    for name, what in _TABLES.items():
        if (run / name).is_file():
            made.files[run / name] = what
    module = data_module(graph, recipe)
    with redirect_stderr(StringIO()):  # what cannot be read was named before training
        try:
            data = module.load_data(run / "sample" if recipe.data.kind == "sample" else None)
        except module.DataError as error:
            refuse("bad-data", str(error), str(run), help=f"when it is back: `cnnspec train --resume -o {run}`")
        hashes = seen.write_seen(run, data.train)
    part, split = (data.test, "test") if data.test is not None else (data.validation, "validation")
    made.files[run / seen.FILE] = "hashes of the images trained on"
    for file in export_run(graph, case, recipe, list(module.CLASSES), chosen, run / MODEL):
        made.files[file] = "the network with preprocessing and labels"
    if part is not None:
        made.evaluation = _evaluated(run, module, part, split, recipe, made, hashes)
        if folder := _examples(run, module, part, hashes):
            made.files[folder] = f"{split} images, not trained on"
    _pictures(run, made, list(module.CLASSES))
    return made


def _figures(rows: list[Row]) -> str:
    """What the last epoch gave."""
    if not rows:
        return "no epoch was trained"
    last = rows[-1]
    shown = [f"{name} {value:.4g}" for name, value in last.items() if name not in ("epoch", "seconds", "learning_rate")]
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    epochs = "1 epoch" if len(rows) == 1 else f"{len(rows)} epochs"
    return f"{epochs} in {seconds:,.0f} s: {', '.join(shown)}"


def _diverged(run: Path) -> str:
    """Since when figures are not finite, if some are not."""
    odd = [row["epoch"] for row in read_metrics(run) if not all(map(isfinite, row.values()))]
    return f": figures are, from epoch {odd[0]:.0f} on" if odd else ""


_TABLES = {
    "metrics.csv": "figures of every epoch",
    "confusion.csv": "classes and what they were taken for",
    "per_class.csv": "figures of every class",
}
_WEIGHTS = {"best": "the weights of the best epoch", "final": "the last weights"}


def _origin(run: Path, recipe: Recipe) -> dict[str, str]:
    """What the run's weights were made of, whose preprocessing they need, and the kind of data."""
    first = (read_record(run) or {}).get("weights_from")
    return {"from": first, "trained_on": recipe.data.kind} if first else {}


def save_all(graph: Graph, weights: Any, path: Path) -> None:
    """Write canonical weights. Raises `SpecError` where they are not the network's."""
    report = Report()
    save(Place(path), weights, graph, report)
    report.raise_errors()


def _evaluated(
    run: Path, module: Any, part: Any, split: str, recipe: Recipe, made: Products, hashes: seen.Hashes
) -> Evaluation | None:
    try:
        scorer = backends()["onnx"].load().scorer(run / MODEL)
    except MissingDependency as error:
        made.skipped.append(f"not evaluated: {error} (pip install 'cnnspec[{error.extra}]')")
        return None
    found = score(scorer, module, part, hashes)
    if not found.truth:
        return None
    given = figures(found, scorer.classes)
    return Evaluation(str(run / MODEL), recipe.data.kind, split, list(module.CLASSES), **given)


def _examples(run: Path, module: Any, part: Any, hashes: seen.Hashes) -> Path | None:
    """One image of each class that was not trained on, as a file that is called as the class."""
    from PIL import Image

    wanted = set(map(int, sorted(set(part.labels.tolist()))[:_EXAMPLES]))
    with _anew(run / "examples") as folder, redirect_stderr(StringIO()):
        for number, image in seen.images_of(part):
            label = int(part.labels[number])
            if label not in wanted or seen.is_seen(hashes, image):
                continue
            picture = image if image.shape[2] > 1 else image[:, :, 0]
            Image.fromarray(picture).save(folder / f"{label}-{_file_name(module.CLASSES[label])}.png")
            wanted.discard(label)
            if not wanted:
                break
        empty = not any(folder.iterdir())
    return None if empty else run / "examples"


@contextmanager
def _anew(folder: Path) -> Iterator[Path]:
    """A folder to fill, which then takes the place of the one that is there."""
    part = folder.with_name(f".part.{folder.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _file_name(label: str) -> str:
    return re.sub(r"\W+", "_", label).strip("_")[:40].lower() or "class"


def _pictures(run: Path, made: Products, labels: list[str]) -> None:
    if not pictures.possible():
        made.skipped.append("no pictures: `matplotlib` is not installed (pip install 'cnnspec[viz]')")
        return
    rows = read_metrics(run)
    drawn: list[tuple[Path, str, Callable[[Path], None]]] = []
    if rows:
        drawn.append((run / "curves.png", "figures over the epochs", lambda path: pictures.draw_curves(rows, path)))
    if made.evaluation is not None:
        matrix = made.evaluation.confusion
        what = f"classes and what they were taken for ({made.evaluation.split})"
        drawn.append((run / "confusion.png", what, lambda path: pictures.draw_confusion(matrix, labels, path)))
    for path, what, draw in drawn:
        draw(path)
        made.files[path] = what
