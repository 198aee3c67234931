"""`cnnspec train --folds`: a cross-validation, in which every fold is a run of its own."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from cnnspec.diagnostics import Report
from cnnspec.graph import Graph
from cnnspec.summary.columns import Column, fitted
from cnnspec.train.features import training_lines
from cnnspec.train.finish import made_lines
from cnnspec.train.folder import RUNS, is_folds, new_folder, read_record, write_files
from cnnspec.train.plan import json_bytes, make_plan
from cnnspec.train.process import Busy, locked
from cnnspec.train.run import Run, Stopped, begun, go_on, refuse_taken, resumed
from cnnspec.train.settle import Choices, settle
from cnnspec.train.snippets.schedule import Best

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe
    from cnnspec.train.finish import Products
    from cnnspec.train.metrics import Row

FIGURES, TABLE = "folds.json", "folds.csv"


@dataclass(frozen=True)
class Folds:
    """A cross-validation: the folder that holds a run for every fold."""

    path: Path

    @property
    def runs(self) -> list[Run]:
        """The runs of all folds, finished or not."""
        record = read_record(self.path) or {}
        return [Run(self.path / f"fold-{fold}") for fold in range(1, int(record.get("folds", 0)) + 1)]

    @property
    def rows(self) -> list[Row]:
        """The figures of every fold that is finished, in order: of the network that its run ended with."""
        try:
            rows = json.loads((self.path / FIGURES).read_text(encoding="utf-8"))["rows"]
        except (OSError, ValueError, KeyError):
            return []
        return sorted(rows, key=lambda row: float(row["fold"]))

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each figure over the folds; empty before there are two."""
        return _over_folds(self.rows, statistics.mean)

    @property
    def deviation(self) -> dict[str, float]:
        """The standard deviation of each figure as that of a sample, with n − 1."""
        return _over_folds(self.rows, statistics.stdev)

    @property
    def finished(self) -> bool:
        """Whether there are figures of every fold."""
        return len(self.rows) == len(self.runs) > 0

    def resume(self, *, device: str = "", features: Path | bool = True) -> list[str]:
        """Train the folds that are not finished, each from where it was left; returns what could not be made.

        Raises `Stopped` where it is interrupted again.
        """
        try:
            return self._train(device, features)
        except Stopped as error:
            raise Stopped(f"{error}{go_on(self.path)}", error.status) from None

    def _train(self, device: str, features: Path | bool) -> list[str]:
        skipped: dict[str, None] = {}
        fold, runs = 0, self.runs
        try:
            with locked(self.path):
                done = {row["fold"] for row in self.rows}
                for fold, run in enumerate(runs, 1):
                    if fold not in done:
                        skipped |= dict.fromkeys(self._train_one(fold, run, device, features).skipped)
        except Stopped as error:
            raise Stopped(f"fold {fold} of {len(runs)}: {error}", error.status) from None
        except KeyboardInterrupt:  # between two processes
            raise Stopped(f"fold {fold} of {len(runs)}: interrupted", 130) from None
        except Busy as error:
            raise Stopped(str(error), 1) from None
        return list(skipped)

    def _train_one(self, fold: int, run: Run, device: str, features: Path | bool) -> Products:
        graph, _, recipe, _ = run._loaded
        print(f"fold {fold} of {len(self.runs)}: training in {run.path}", flush=True)
        for line in training_lines(graph, recipe, features):
            print(line, flush=True)
        made = run._train(device, features, resume=begun(run.path))
        print("\n".join(made.figures(run.path)), flush=True)
        try:
            self._add(_row(fold, run, recipe, made))
        except OSError as error:
            raise Stopped(f"{error.filename or self.path}: {error.strerror or error}", 1) from None
        return made

    def _add(self, row: Row) -> None:
        """Write the figures with those of one more fold."""
        rows = sorted([*self.rows, row], key=lambda row: row["fold"])
        whole: dict[str, Any] = {"folds": len(self.runs), "rows": rows}
        lines: list[dict[str, Any]] = [*rows]
        if len(rows) == len(self.runs):
            whole["mean"], whole["deviation"] = _over_folds(rows, statistics.mean), _over_folds(rows, statistics.stdev)
            lines += [{"fold": what, **whole[what]} for what in ("mean", "deviation")]
        text = StringIO(newline="")
        table = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
        table.writeheader()
        table.writerows(lines)
        write_files(self.path, {FIGURES: json_bytes(whole), TABLE: text.getvalue().encode()})

    def to_text(self, skipped: Sequence[str] = ()) -> str:
        """A table of the figures, what could not be made, and where all is."""
        rows = self.rows
        names = list(_columns(rows))
        columns = [Column("fold"), *(Column(name, right=True) for name in ("epoch", *names))]
        cells = [{"fold": f"{row['fold']:.0f}", "epoch": f"{row['epoch']:.0f}"} for row in rows]
        cells += [{"fold": what, "epoch": ""} for what in ("mean", "deviation")]
        for cell, figures in zip(cells, (*rows, self.mean, self.deviation), strict=True):
            cell |= {name: _shown(name, figures.get(name)) for name in names}
        table, _ = fitted(columns, (), cells, None)
        table.append("(deviation: the standard deviation of a sample, with n − 1)")
        made: list[tuple[Path | str, str]] = [
            (self.path / TABLE, "this table"),
            (self.path / FIGURES, "the same as JSON"),
            (f"{self.runs[0].path} … {self.runs[-1].path.name}", "a run each"),
        ]
        together = f"One network of all: cnnspec ensemble {self.path} -o ensemble.onnx"
        return "\n".join(["", *table, *(f"({line})" for line in skipped), "", *made_lines(made), "", together])


def train_folds(
    graph: Graph,
    case: str = "",
    *,
    folds: int,
    backend: str = "torch",
    folder: Path | None = None,
    choices: Choices | None = None,
    weights: str | None = None,
    device: str = "",
    features: Path | bool = True,
    command: list[str] | None = None,
    report: Report | None = None,
) -> tuple[Folds, list[str]]:
    """Make a folder with a run for every fold, and train them one after the other.

    All start from the same weights. `folder` without a value is the next free `runs/NAME-BACKEND-folds`; the other
    arguments and what is raised are as for `start`. Returns also what could not be made.
    """
    report = report or Report()
    choices = choices or Choices()
    target = folder or Path(RUNS, f"{graph.name}-{backend}-folds")
    recipes: list[Recipe] = []
    for fold in range(1, folds + 1):
        recipe = settle(graph, replace(choices, fold=(fold, folds)), report, whole=not case)
        report.raise_errors()
        assert recipe is not None, "what was not read is an error"
        recipes.append(recipe)
    plan = make_plan(graph, case, recipes[0], backend, weights, command, report)
    files = [plan.files(recipe, fold=fold, folds=folds) for fold, recipe in enumerate(recipes, 1)]
    named: list[Path] = []
    try:
        with new_folder(target, named, numbered=folder is None) as part:
            for fold, content in enumerate(files, 1):
                own = part / f"fold-{fold}"
                write_files(own, content)
                if fold == 1:
                    plan.write_weights(own)
                else:
                    plan.share_weights(part / "fold-1", own)
            write_files(part, {"run.json": json_bytes(plan.record | {"folds": folds})})
    except FileExistsError:
        refuse_taken(target)
    made = Folds(named[0])
    print(f"training {folds} folds in {made.path}", flush=True)
    try:
        return made, made._train(device, features)
    except Stopped as error:
        then = go_on(made.path)
        if not any(begun(run.path) for run in made.runs):
            rmtree(made.path)
            then = "; nothing is left of it"
        raise Stopped(f"{error}{then}", error.status) from None


def going_on(name: str | None, backend: str | None, folder: Path | None) -> Run | Folds:
    """The run, or the folds, to go on with, as of `resumed`."""
    run = resumed(name, backend, folder)
    return Folds(run.path) if is_folds(run.path) else run


def _row(fold: int, run: Run, recipe: Recipe, made: Products) -> Row:
    """What a fold gave: the epoch whose weights the run ended with, its figures, and those of the test part."""
    kept = run.metrics
    if monitor := recipe.best_files.get("best"):
        best = Best(monitor)
        kept = [row for row in kept if best.improves(row)] or kept
    row: Row = {"fold": fold, "epoch": int(kept[-1]["epoch"])}
    row |= {name: value for name, value in kept[-1].items() if name.startswith("validation_")}
    if made.evaluation is not None and made.evaluation.split == "test":
        row |= {"test_loss": made.evaluation.loss, "test_accuracy": made.evaluation.accuracy}
    return row


def _columns(rows: Sequence[Row]) -> dict[str, list[float]]:
    """The values of every figure that all folds have, where there are two folds or more."""
    names = [name for name in rows[0] if name not in ("fold", "epoch")] if len(rows) > 1 else []
    return {name: [row[name] for row in rows] for name in names if all(name in row for row in rows)}


def _over_folds(rows: Sequence[Row], statistic: Callable[[list[float]], float]) -> dict[str, float]:
    return {name: statistic(values) for name, values in _columns(rows).items()}


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if name.endswith("loss") else f"{value:.2%}"
