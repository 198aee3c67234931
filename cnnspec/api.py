"""cnnspec from Python: what the command line does, as functions and objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, overload

from cnnspec.diagnostics import Diagnostic, Report, Source, Span, SpecError
from cnnspec.graph import Graph, build_graph, check_cases
from cnnspec.spec.loader import load_spec
from cnnspec.spec.locate import DEFAULT, find
from cnnspec.spec.locate import zoo as zoo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from cnnspec.spec.document import Spec
    from cnnspec.spec.recipe import Recipe
    from cnnspec.summary import Summary
    from cnnspec.train.folds import Folds
    from cnnspec.train.run import Run
    from cnnspec.verify import Verification
    from cnnspec.weights.mapping import Weights
    from cnnspec.weights.published import Published

    WeightsOrFile: TypeAlias = Mapping[str, Any] | str | PathLike[str]


class TrainOptions(TypedDict, total=False):
    """What `Net.train` takes besides a folder, as `cnnspec train` does."""

    backend: str
    data: str | PathLike[str] | None
    recipe: str
    weights: str | PathLike[str] | None
    epochs: int | None
    batch_size: int | None
    seed: int | None
    device: str
    features: str | PathLike[str] | bool


@dataclass(frozen=True, slots=True, repr=False)
class Net:
    """A network: its spec, with parameters set, and its graph, expanded under the transfer `case` if there is one."""

    spec: Spec
    graph: Graph
    case: str = ""
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def name(self) -> str:
        """The network's name."""
        return self.spec.name

    @property
    def recipe(self) -> Recipe | None:
        """The training recipe, if the spec has one. Raises `SpecError` with every mistake in it.

        A network of the zoo has `fine_tune` under a transfer case.
        """
        return self._recipe()

    def _recipe(self, reference: str = "") -> Recipe | None:
        from cnnspec.graph.recipe import check_recipe, usual_recipe

        report = Report()
        recipe = self.spec.read_recipe(report, reference or usual_recipe(self.graph))
        if recipe and not check_recipe(recipe, self.graph, report, whole=not self.case):
            recipe = None
        report.raise_errors()
        return recipe

    def recipe_warnings(self, *, recipe: str = "") -> list[Diagnostic]:
        """What is to be said of the recipe, or of the one that `recipe` names, without keeping it from training.

        Nothing where it has mistakes: what asks for the recipe raises them.
        """
        from cnnspec.graph.recipe import usual_recipe

        report = Report()
        self.spec.read_recipe(report, recipe or usual_recipe(self.graph))
        return [] if report.failed else report.sorted()

    def summary(self, weights: WeightsOrFile | None = None) -> Summary:
        """Shapes, parameters, multiply-adds and memory of every layer; as text, a table.

        With `weights`, arrays or what `load_weights` takes, it has how many of the parameters come from there. Raises
        `SpecError` where these are not the network's.
        """
        from cnnspec.summary import Loaded, summarise

        if weights is None:
            return summarise(self.graph, self.case)
        from cnnspec.weights.contract import contract

        given = self._own(weights)
        params = contract(self.graph, training=False)
        number = sum(param.size for key, param in params.items() if key in given and key not in given.anew)
        return summarise(self.graph, self.case, Loaded(number, given.origin))

    def source(self, backend: str) -> str:
        """The network's code for `torch` or `keras`: the text of `model.py`. No framework is imported.

        Raises `SpecError` where the backend lacks an op, `ValueError` where it prints no code, or there is none.
        """
        from cnnspec.lower.backend import check_support, code_backend
        from cnnspec.lower.fold import fold

        found = code_backend(backend)
        report = Report()
        check_support(self.graph, backend, found.kinds, report)
        report.raise_errors()
        text: str = found.source(fold(self.graph))
        return text

    def write_source(
        self,
        backend: str,
        folder: str | PathLike[str] | None = None,
        *,
        recipe: str = "",
        weights: WeightsOrFile | None = None,
    ) -> list[Path]:
        """Write `model.py` into `folder`, by default NAME-BACKEND here, and what trains it if there is a recipe.

        `recipe` names one in place of the spec's. `weights`, arrays or what `load_weights` takes, are written for the
        framework, `initial.pt` or `initial.weights.h5`: what training starts from. Infinities and NaN among them are
        written, and `weights.warnings` then says so. Returns the paths that were written; all are, or none. Raises what
        `source` raises, `SpecError` with every mistake in the recipe and where these are not the network's weights, and
        for them `MissingDependency` without the framework.
        """
        from cnnspec.train.folder import write_files
        from cnnspec.train.generate import build_files, first_weights

        chosen = self._recipe(recipe)
        target = Path(folder if folder is not None else f"{self.name}-{backend}")
        if weights is None:
            return write_files(target, build_files(self.graph, backend, chosen))
        given = self._own(weights)
        graph = self.suited(given, labels=False).graph
        name, write = first_weights(graph, backend, chosen, given)
        return write_files(target, {**build_files(graph, backend, chosen), name: write})

    def training_lines(self, *, recipe: str = "") -> list[str]:
        """What is said of training under a transfer case: its recipe, and whether features are kept."""
        from cnnspec.train.features import training_lines

        found = self._recipe(recipe)
        return training_lines(self.graph, found) if found else []

    @overload
    def train(
        self, folder: str | PathLike[str] | None = None, *, folds: None = None, **options: Unpack[TrainOptions]
    ) -> Run: ...

    @overload
    def train(
        self, folder: str | PathLike[str] | None = None, *, folds: int, **options: Unpack[TrainOptions]
    ) -> Folds: ...

    def train(
        self,
        folder: str | PathLike[str] | None = None,
        *,
        folds: int | None = None,
        backend: str = "torch",
        data: str | PathLike[str] | None = None,
        recipe: str = "",
        weights: str | PathLike[str] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        device: str = "",
        features: str | PathLike[str] | bool = True,
    ) -> Run | Folds:
        """Train in a new `folder`, by default the next free `runs/NAME-BACKEND`, as `cnnspec train` does.

        `features` names a folder for what frozen layers make of images; with False it is not kept. With `folds` it is a
        cross-validation, a run for every fold, from 2 to 1,000.

        Returns the run, with its figures, weights and ONNX file, or the folds, with their runs, mean and deviation.
        Raises `SpecError` for what is wrong with any input, `MissingDependency` without the framework, `Stopped` where
        training ends before its end.
        """
        from cnnspec.train.settle import Choices

        numbers = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
        options: dict[str, Any] = {
            "backend": backend,
            "folder": None if folder is None else Path(folder),
            "choices": Choices(recipe, "" if data is None else str(data), numbers),
            "weights": None if weights is None else str(weights),
            "device": device,
            "features": features if isinstance(features, bool) else Path(features),
        }
        if folds is None:
            from cnnspec.train.run import start

            return start(self.graph, self.case, **options)[0]
        from cnnspec.train.folds import train_folds

        return train_folds(self.graph, self.case, folds=folds, **options)[0]

    def build(self, backend: str, weights: WeightsOrFile | None = None) -> Any:
        """The live model, an `nn.Module` for `torch`, a `keras.Model` for `keras`: what the text of `source` makes.

        With `weights`, arrays or what `load_weights` takes, they are loaded; without, the model starts as its framework
        starts it. Raises what `source` raises, and `MissingDependency` where the framework is not installed.
        """
        from cnnspec.lower.backend import backend as find_backend
        from cnnspec.lower.fold import fold

        self.source(backend)  # says what is wrong before a framework is imported
        return find_backend(backend).build(fold(self.graph), None if weights is None else self._given(weights))

    def weights(self, seed: int | None = None) -> Weights:
        """What the parameters start from, by the recipe's initialisers; its seed (0 without one) unless one is given.

        Every array is computed when it is asked for. Raises `SpecError` with every mistake in the recipe.
        """
        from cnnspec.weights.initial import recipe_weights

        return recipe_weights(self.graph, self.recipe, seed)

    @property
    def published(self) -> list[Published]:
        """What torchvision and Keras publish for this network, which `load_weights` reads by its `reference`."""
        from cnnspec.weights.published import published

        return published(self.spec)

    def suited(self, weights: WeightsOrFile, *, labels: bool = True) -> Net:
        """The network with the preprocessing that belongs to published weights, and with their `labels`.

        A warning says so. Other weights leave it as it is. `export`, `train` and `write_source` need not be told.
        """
        origin: dict[str, str] = getattr(self._given(weights), "origin", {})
        if "from" not in origin:
            return self
        from cnnspec.weights.published import suited

        graph, notes = suited(self.graph, origin, labels=labels)
        return (
            self
            if graph is self.graph
            else replace(self, spec=graph.spec, graph=graph, warnings=(*self.warnings, *notes))
        )

    def load_weights(self, file: str | PathLike[str], *, training: bool = False) -> Weights:
        """The weights in a canonical file, or in one of another project: `torchvision:FILE`, `keras:FILE`.

        Those that the project publishes have names, `torchvision:IMAGENET1K_V1`: they are downloaded once.

        Heads that exist in training only may be missing, unless they are needed for `training`. Raises `SpecError`
        where the file holds anything but the network's weights.

        Under a transfer case the file is of the original network: what the case replaces is not read from it, and
        starts as `weights()` has it. A canonical file that was saved under a case is read whole.
        """
        from cnnspec.weights.places import Place, load

        report = Report()
        initial = self.weights() if self.case else None
        weights = load(Place.of(str(file)), self.graph, report, training=training, initial=initial)
        report.raise_errors()
        assert weights is not None, "what was not read is an error"
        return weights

    def _given(self, weights: WeightsOrFile) -> Mapping[str, Any]:
        """Weights as they are given, or as `load_weights` finds them where a file or a name is."""
        return weights if isinstance(weights, Mapping) else self.load_weights(weights)

    def _own(self, weights: WeightsOrFile) -> Weights:
        """The same; raises `SpecError` where they are not the network's."""
        from cnnspec.weights.check import given_weights

        report = Report()
        given = given_weights(self._given(weights), self.graph, report)
        report.raise_errors()
        return given

    def save_weights(self, file: str | PathLike[str], weights: WeightsOrFile) -> list[Diagnostic]:
        """Write weights to a canonical file, or to one of another project: `torchvision:FILE`, `keras:FILE`.

        `weights` are arrays by parameter, or what `load_weights` takes.
        Returns warnings. Raises `SpecError` where these are not the network's weights.
        """
        from cnnspec.weights.places import Place, save

        report = Report()
        save(Place.of(str(file)), self._given(weights), self.graph, report)
        report.raise_errors()
        return report.sorted()

    def export(
        self,
        file: str | PathLike[str],
        weights: WeightsOrFile,
        *,
        precision: Literal["fp32", "fp16"] = "fp32",
        preprocess: bool = False,
        probabilities: bool = False,
    ) -> list[Path]:
        """Write an ONNX file, and beside it `file`.data where the weights are beyond 2 GB; returns what was written.

        With `preprocess` it takes uint8 images (batch, height, width, channels), with `probabilities` it gives these
        instead of logits. `weights` are arrays by parameter, or what `load_weights` takes. Of published weights it has
        the preprocessing and the labels. Infinities and NaN in the weights are written, and `weights.warnings` then
        says so. Raises `SpecError` where these are not the network's weights, or it cannot be exported.
        """
        from cnnspec.lower.backend import own_backend

        given = self._given(weights)
        written: list[Path] = own_backend("onnx").export(
            self.suited(given).graph,
            given,
            file,
            case=self.case,
            precision=precision,
            preprocess=preprocess,
            probabilities=probabilities,
        )
        return written

    def verify(
        self,
        weights: WeightsOrFile | None = None,
        *,
        seed: int = 0,
        backends: Sequence[str] | None = None,
        train_steps: int = 0,
        recipe: str = "",
    ) -> Verification:
        """Whether backends compute what the reference says, layer by layer, and the same gradients.

        With `train_steps`, whether they train alike too: so many steps, by the spec's recipe, or by the one that
        `recipe` names, or by `standard` if the spec has none.

        Images come from `seed`, and weights too unless they are given: ones that leave no layer without effect.
        `backends` names the ones to compare; without it, all that are installed are. Raises `SpecError` where these are
        not the network's weights, `MissingDependency` where a framework is asked for that is not installed.
        """
        from cnnspec.verify import verify
        from cnnspec.verify.plan import plan

        training = None
        if train_steps:
            chosen = self._recipe(recipe)
            default = chosen or self._recipe("standard")
            assert default, "the zoo has this recipe"
            training = plan(default, chosen is not None, self.graph, train_steps)
        given = None if weights is None else self._given(weights)
        return verify(self.graph, given, seed=seed, only=backends, training=training)

    def __repr__(self) -> str:
        return f"<cnnspec.Net {self.name}: {self.graph.input.shape}, {len(self.graph.nodes)} layers>"


def load(spec: str | PathLike[str], *, transfer: str = "", params: dict[str, Any] | None = None, **set_: Any) -> Net:
    """Load a spec by path or by its name in the zoo.

    Keyword arguments set its parameters; `params` does the same for names that Python does not take, such as
    `input.size`, and as text for values from a command line. `transfer` names a case of its transfer section.

    Raises `SpecError` with every mistake, located; those of its recipe when that is asked for, `net.recipe`.
    """
    report = Report()
    loaded = load_spec(str(spec), {**(params or {}), **set_}, report)
    graph = build_graph(loaded, report, transfer) if loaded else None
    report.raise_errors()
    assert loaded and graph, "a spec without errors has a graph"
    return Net(loaded, graph, transfer, tuple(report.sorted()))


def check(spec: str | PathLike[str]) -> list[Diagnostic]:
    """Everything that is wrong with a spec, its transfer cases and its recipe included; empty if nothing is."""
    report = Report()
    try:
        _check(str(spec), report)
    except SpecError as error:  # too many mistakes to go on
        return error.diagnostics
    return report.sorted()


def _check(spec: str, report: Report) -> None:
    transfer = Report()  # whose mistakes leave the network as it is, and more to be found
    loaded = load_spec(spec, {}, report, transfer=transfer)
    graph = build_graph(loaded, report) if loaded else None
    if loaded and graph:
        check_cases(loaded, graph, transfer)
    report.extend(transfer.diagnostics)
    if loaded and (recipe := loaded.read_recipe(report)) and graph:
        from cnnspec.graph.recipe import check_recipe  # imports all of a recipe's models

        check_recipe(recipe, graph, report)


def ensemble(runs: Sequence[str | PathLike[str]], file: str | PathLike[str]) -> list[Path]:
    """Write an ONNX file that gives the mean of the probabilities of several networks; returns what was written.

    Each of `runs` is the folder of a run, a folder of folds, or an ONNX file of cnnspec. Raises `SpecError` where they
    cannot be averaged.
    """
    from cnnspec.train.ensemble import ensemble

    return ensemble([Path(run) for run in runs], Path(file)).files


def start_project(network: str, folder: str | PathLike[str] = ".") -> Path:
    """Copy a network of the zoo to `cnnspec.yaml` in `folder`. Raises `SpecError` where there is one already."""
    report = Report()
    source = find(network, report)
    target = Path(folder, DEFAULT)
    if target.exists():
        span = Span(Source(str(target), ""), 0, 0)
        report.add(
            "file-exists", f"`{target}` exists already, and is left as it is", span, help="remove or rename it first"
        )
    report.raise_errors()
    assert source, "a network that was not found is an error"
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(source.read_bytes())
    part.replace(target)  # at once: a spec is never there half
    return target


def schema() -> dict[str, Any]:
    """The JSON Schema of the language's structure."""
    from cnnspec.spec.schema import language_schema

    return language_schema()
