"""`cnnspec train`: a folder with all that a run is, the process that trains in it, and what is made of it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, NoReturn

from cnnspec.diagnostics import Report, Source, Span
from cnnspec.graph import Graph, build_graph
from cnnspec.lower.backend import backends
from cnnspec.spec.loader import load_spec
from cnnspec.train.evaluate import MODEL, Split, evaluate, refuse
from cnnspec.train.evaluation import Evaluation
from cnnspec.train.events import Events, raised_once
from cnnspec.train.features import features_options, training_lines
from cnnspec.train.finish import Products, finish
from cnnspec.train.folder import RUNS, new_folder, newest_run, read_record, write_files
from cnnspec.train.generate import initial_name
from cnnspec.train.metrics import Row, read_metrics
from cnnspec.train.plan import make_plan
from cnnspec.train.process import Busy, train
from cnnspec.train.settle import Choices, settle

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe
    from cnnspec.weights.mapping import Weights


class Stopped(Exception):
    """Training ended before its end; `status` is the exit code that says how, 130 where it was asked to."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Run:
    """A run: the folder that holds it."""

    path: Path

    @property
    def metrics(self) -> list[Row]:
        """The figures of every epoch."""
        return read_metrics(self.path)

    @property
    def onnx(self) -> Path:
        """The network in an ONNX file, with its preprocessing and labels."""
        return self.path / MODEL

    @cached_property
    def graph(self) -> Graph:
        """The network that is trained."""
        return self._loaded[0]

    @property
    def weights(self) -> Weights:
        """Those of the best epoch where the recipe names one, else the last ones. Raises `SpecError` without them."""
        from cnnspec.weights.places import Place, load

        best = self.path / "best.safetensors"
        report = Report()
        weights = load(Place(best if best.is_file() else self.path / "final.safetensors"), self.graph, report)
        report.raise_errors()
        assert weights is not None, "what was not read is an error"
        return weights

    def evaluate(self, data: str | None = None, split: Split | None = None) -> Evaluation:
        """Figures on a split of the run's data, or of other `data`."""
        return evaluate(self.path, data, split)

    def resume(self, *, device: str = "", features: Path | bool = True) -> Products:
        """Go on where training was interrupted, and make what is made at its end; `features` as for `start`.

        Raises `Stopped` where it is interrupted again.
        """
        try:
            return self._train(device, features, resume=True)
        except Stopped as error:
            then = go_on(self.path) if error.status == 130 else ""
            raise Stopped(f"{error}{then}", error.status) from None

    def _train(self, device: str, features: Path | bool, *, resume: bool = False) -> Products:
        """Run `train.py`, and make of it what is made at its end."""
        graph, case, recipe, backend = self._loaded
        initial = self.path / initial_name(backend)  # counts where no checkpoint does
        arguments = ["--weights", str(initial), *(["--resume"] if resume else [])]
        arguments += features_options(graph, recipe, features)
        events = Events(self.path) if Events.possible() else None
        try:
            for name in ("train.py", "model.py", "data.py"):
                (self.path / name).stat()  # of one that is gone Python would print a traceback
            with raised_once():
                options = [*arguments, *(["--device", device] if device else [])]
                status = train(self.path, options, events.follow if events else lambda: None)
                if events:
                    events.close()
            if status:
                raise _stopped(status)
            made = finish(self.path, graph, case, recipe, backend)
        except Busy as error:
            raise Stopped(str(error), 1) from None
        except OSError as error:  # a full disk, most of all
            raise Stopped(f"{error.filename or self.path}: {error.strerror or error}", 1) from None
        except KeyboardInterrupt:  # while its products are made
            raise Stopped("interrupted", 130) from None
        if events:
            made.files[events.folder] = "figures for TensorBoard"
        else:
            made.skipped.append("no TensorBoard events: `tensorboard` is not installed (pip install 'cnnspec[viz]')")
        return made

    @cached_property
    def _loaded(self) -> tuple[Graph, str, Recipe, str]:
        """The network, the transfer case, the recipe and the backend, as the folder has them."""
        report = Report()
        span = Span(Source(str(self.path), ""), 0, 0)
        record = read_record(self.path)
        if record is None:
            report.add("no-run", f"`{self.path}` is not the folder of a run", span)
            report.raise_errors()
        assert record is not None, "what is no run is an error"
        case = str(record.get("transfer") or "")
        spec = load_spec(str(self.path / "spec.yaml"), {}, report)
        graph = build_graph(spec, report, case) if spec else None
        report.raise_errors()
        assert spec is not None and graph is not None, "a spec without errors has a graph"
        recipe = spec.read_recipe(report)
        report.raise_errors()
        if recipe is None or record["backend"] not in backends():
            report.add("no-run", f"`{self.path}` has no recipe, or a backend that is not installed", span)
            report.raise_errors()
        assert recipe is not None, "a run without a recipe is an error"
        return graph, case, recipe, str(record["backend"])


def start(
    graph: Graph,
    case: str = "",
    *,
    backend: str = "torch",
    folder: Path | None = None,
    choices: Choices | None = None,
    weights: str | None = None,
    device: str = "",
    features: Path | bool = True,
    command: list[str] | None = None,
    report: Report | None = None,
) -> tuple[Run, Products]:
    """Make a run's folder, train in it, and make what is made at its end.

    `folder` must not be there, or be empty; without it, it is the next free `runs/NAME-BACKEND`. `features` names a
    folder for what frozen layers make of images, in place of the user's cache; with False it is not kept. A run that
    fails before the end of its first epoch and its first checkpoint leaves nothing. Raises `SpecError` for what is
    wrong with any input, `MissingDependency` without the framework, `Stopped` where training ends early.
    """
    report = report or Report()
    choices = choices or Choices()
    target = folder or Path(RUNS, f"{graph.name}-{backend}")
    recipe = settle(graph, choices, report, whole=not case)
    plan = make_plan(graph, case, recipe, backend, weights, command, report)
    assert recipe is not None, "without a recipe there is no plan"
    files = plan.files(recipe)
    named: list[Path] = []
    try:
        with new_folder(target, named, numbered=folder is None) as part:
            write_files(part, files)
            plan.write_weights(part)
    except FileExistsError:
        refuse_taken(target)
    run = Run(named[0])
    print(f"training in {run.path}", flush=True)
    for line in training_lines(plan.graph, recipe, features):
        print(line, flush=True)
    try:
        return run, run._train(device, features)
    except Stopped as error:
        then = go_on(run.path)
        if not begun(run.path):
            rmtree(run.path)
            then = "; nothing is left of it"
        raise Stopped(f"{error}{then}", error.status) from None


def go_on(path: Path) -> str:
    """What is said behind the reason why a run, or the run of a fold, ended early."""
    return f"\ngo on with: cnnspec train --resume -o {path}"


def refuse_taken(target: Path) -> NoReturn:
    """Raise the `SpecError` of a folder that is there already."""
    help = f"name another, or go on with it: `--resume -o {target}`" if read_record(target) else "name another"
    refuse("file-exists", f"`{target}` exists already, and is left as it is", str(target), help)


def resumed(name: str | None, backend: str | None, folder: Path | None) -> Run:
    """The run to go on with: that in `folder`, or the newest of the network `name`. Raises `SpecError` without one."""
    report = Report()
    found = folder or newest_run(name or "", backend)
    span = Span(Source(str(folder or RUNS), ""), 0, 0)
    record = read_record(found) if found else None
    if found is None or record is None:
        what = f"`{folder}` is not the folder of a run" if folder else f"there is no run of `{name}` in {RUNS}/"
        report.add("no-run", what, span, help="begin one without `--resume`")
    elif name not in (None, record["name"]) or backend not in (None, record["backend"]):
        report.add("no-run", f"`{folder}` is a run of `{record['name']}` with {record['backend']}", span)
    report.raise_errors()
    assert found is not None, "no run is an error"
    return Run(found)


def begun(run: Path) -> bool:
    """Whether there is anything to go on with: a checkpoint, or the figures of an epoch."""
    return any((run / "checkpoints").glob("step-*")) or bool(read_metrics(run))


def _stopped(status: int) -> Stopped:
    if status in (130, -signal.SIGINT, -signal.SIGTERM):
        return Stopped("interrupted", 130)
    if status < 0:
        return Stopped(f"training was killed by {signal.Signals(-status).name}", 1)
    return Stopped("training failed", 1)
