"""The command line. Exit codes: 0 done, 1 the input is wrong, 2 wrong usage, 3 an optional dependency is missing."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
from collections.abc import Sequence
from copy import copy
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    name="cnnspec",
    help="A compiler for convolutional networks written as one YAML file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DEFAULT_SPEC = "cnnspec.yaml"  # as in `cnnspec.spec.locate`, which the command line imports only when it is needed

_FOREIGN = ("torchvision:", "keras:")

# Start-up is most of what a short command takes. Its objects live until it ends, so looking for cycles among them is
# wasted, at its end most of all; and searching every installed package for pydantic plugins takes longer than all
# validation.
gc.set_threshold(100_000)
atexit.register(gc.freeze)
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what TensorFlow tells of itself would bury a diagnostic


class CheckFormat(StrEnum):
    """How `validate` prints what it finds."""

    text = "text"
    json = "json"
    github = "github"


class TableFormat(StrEnum):
    """How `summary` prints."""

    text = "text"
    json = "json"
    markdown = "markdown"


class ListFormat(StrEnum):
    """How `list` prints."""

    text = "text"
    json = "json"


class ExportPrecision(StrEnum):
    """What an exported file computes in."""

    fp32 = "fp32"
    fp16 = "fp16"


class Provider(StrEnum):
    """Where `predict` runs."""

    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


class CodeFor(StrEnum):
    """Which framework `build` writes for."""

    torch = "torch"
    keras = "keras"


class SplitName(StrEnum):
    """A part of the data."""

    test = "test"
    validation = "validation"
    train = "train"


class Layout(StrEnum):
    """The order of a shape's extents."""

    chw = "chw"
    hwc = "hwc"


_SPEC = typer.Argument(
    metavar="SPEC", help=f"A file or a name of the zoo; {_DEFAULT_SPEC} if none.", show_default=False
)
Spec = Annotated[str, _SPEC]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter, `input.size` or `input.channels`."),
]


RecipeOption = Annotated[
    str | None,
    typer.Option("--recipe", metavar="R", help="A file or a name of the zoo, in place of the spec's recipe."),
]


@app.command("list")
def list_zoo(
    format: Annotated[ListFormat, typer.Option("--format", help="How it is printed.")] = ListFormat.text,
) -> None:
    """Show the zoo's networks, their parameters and multiply-adds."""
    from cnnspec.summary.listing import zoo_listing

    print(zoo_listing(format.value, _width(), colour=_colour(sys.stdout)))


@app.command()
def validate(
    specs: Annotated[
        list[str] | None,
        typer.Argument(metavar="SPEC", help=f"Files or names of the zoo; {_DEFAULT_SPEC} if none.", show_default=False),
    ] = None,
    format: Annotated[CheckFormat, typer.Option("--format", help="How mistakes are printed.")] = CheckFormat.text,
) -> None:
    """Check specs, and show every mistake with its place."""
    from cnnspec.api import check
    from cnnspec.diagnostics import render

    names = specs or [_DEFAULT_SPEC]
    found = {name: check(name) for name in names}
    everything = [d for diagnostics in found.values() for d in diagnostics]
    if format is CheckFormat.json:
        print(render.to_json(everything))
    elif format is CheckFormat.github:
        if everything:
            print(render.to_github(everything))
    else:
        for name, diagnostics in found.items():
            if not diagnostics:
                print(f"{name}: ok")
        if everything:
            _complain(everything)
    if any(d.severity == "error" for d in everything):
        raise typer.Exit(1)


@app.command()
def summary(
    spec: Spec = _DEFAULT_SPEC,
    set_: SetOption = None,
    depth: Annotated[int, typer.Option("--depth", metavar="N", min=1, help="How many levels of blocks to open.")] = 1,
    transfer: Annotated[
        str | None, typer.Option("--transfer", metavar="CASE", help="Show the network under a transfer case.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="[FORMAT:]FILE|NAME", help="Check that these are its weights, as of `weights --from`."
        ),
    ] = None,
    format: Annotated[TableFormat, typer.Option("--format", help="How it is printed.")] = TableFormat.text,
    layout: Annotated[Layout, typer.Option("--layout", help="The order of a shape's extents.")] = Layout.chw,
) -> None:
    """Show layers with their shapes, parameters and costs.

    Costs are multiply-adds, the memory of activations, and the receptive field.
    """
    from cnnspec.api import load

    net = load(spec, transfer=_case(transfer), params=_settings(set_ or []))
    given = None if weights is None else net.load_weights(weights)
    if warnings := _warnings(net, given):
        _complain(warnings)
    result = net.summary(given)
    order: Any = layout.value
    if format is TableFormat.json:
        print(result.to_json(order))
    elif format is TableFormat.markdown:
        print(result.to_markdown(depth=depth, layout=order))
    else:
        print(result.to_text(depth=depth, width=_width(), layout=order, colour=_colour(sys.stdout)))


@app.command()
def build(
    spec: Spec = _DEFAULT_SPEC,
    backend: Annotated[
        CodeFor, typer.Option("--backend", metavar="NAME", help="`torch` or `keras`.", show_default=False)
    ] = CodeFor.torch,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="A folder for it; NAME-BACKEND if none.")
    ] = None,
    transfer: Annotated[
        str | None, typer.Option("--transfer", metavar="CASE", help="Build the network under a transfer case.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="[FORMAT:]FILE|NAME",
            help="Write these too, as of `weights --from`, for training to start from.",
        ),
    ] = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
) -> None:
    """Write the network's code for PyTorch or Keras.

    It is `model.py` and, with a recipe, `data.py` and `train.py`, which train it without cnnspec.
    """
    from cnnspec.api import load

    net = load(spec, transfer=_case(transfer), params=_settings(set_ or []))
    given = None if weights is None else net.load_weights(weights)
    if given is not None:
        net = net.suited(given, labels=False)
    files = net.write_source(backend.value, output, recipe=recipe or "", weights=given)
    if warnings := [*_warnings(net, given), *net.recipe_warnings(recipe=recipe or "")]:
        _complain(warnings)
    for file in files:
        print(f"wrote {file}")
    if given is not None and (script := files[0].with_name("train.py")) in files:
        import shlex

        from cnnspec.train.generate import initial_name

        initial = script.with_name(initial_name(backend.value))
        print(f"train from these weights: {shlex.join(['python', str(script), '--weights', str(initial)])}")
    for line in net.training_lines(recipe=recipe or ""):
        print(line)


@app.command()
def train(
    spec: Annotated[str | None, _SPEC] = None,
    backend: Annotated[
        CodeFor | None, typer.Option("--backend", metavar="NAME", help="`torch`, the default, or `keras`.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="D", help="A folder, a file, or a set's name; the recipe's if none.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="RUN", help="A folder for it; runs/NAME-BACKEND if none.")
    ] = None,
    recipe: RecipeOption = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="[FORMAT:]FILE|NAME", help="Start from these, as of `weights --from`."),
    ] = None,
    transfer: Annotated[
        str | None, typer.Option("--transfer", metavar="CASE", help="Train the network under a transfer case.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", min=1, help="In place of the recipe's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", min=1, help="In place of the recipe's.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="In place of the recipe's.")] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="D", help="Where it trains, as `cuda:1`.")] = None,
    features: Annotated[
        str | None, typer.Option("--features", metavar="DIR", help="Where features of frozen layers are kept.")
    ] = None,
    no_features: Annotated[
        bool, typer.Option("--no-features", help="Have frozen layers compute in every epoch.")
    ] = False,
    folds: Annotated[
        int | None, typer.Option("--folds", metavar="K", min=2, max=1000, help="Cross-validate: a run for each fold.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with RUN, or with the spec's newest run.")] = False,
    set_: SetOption = None,
) -> None:
    """Train a network in a folder of its own.

    The folder holds all that was used and all that was made. Ctrl-C ends training with a checkpoint; `--resume` goes on
    exactly there.
    """
    from pathlib import Path

    from cnnspec.api import load
    from cnnspec.train.folds import Folds, going_on, train_folds
    from cnnspec.train.process import handled
    from cnnspec.train.run import Stopped, start
    from cnnspec.train.settle import Choices

    numbers = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    kind = backend.value if backend else None
    kept = Path(features) if features else not no_features
    if resume:
        others = {"data": data, "recipe": recipe, "weights": weights, "transfer": transfer, "set": set_, **numbers}
        others["folds"] = folds
        fixed = [f"--{n.replace('_', '-')}" for n, value in others.items() if value not in (None, "", [])]
        if fixed:
            raise typer.BadParameter("a run goes on as it was begun, without these", param_hint=", ".join(fixed))
    try:
        with handled(_interrupt):
            if resume:
                name = None if output and spec is None else load(spec or _DEFAULT_SPEC).name
                run = going_on(name, kind, Path(output) if output else None)
                print(f"going on in {run.path}", flush=True)
                if isinstance(run, Folds):
                    text = run.to_text(run.resume(device=device or "", features=kept))
                else:
                    text = run.resume(device=device or "", features=kept).to_text(run.path)
            else:
                net = load(spec or _DEFAULT_SPEC, transfer=_case(transfer), params=_settings(set_ or []))
                if warnings := [*net.warnings, *net.recipe_warnings(recipe=recipe or "")]:
                    _complain(warnings)
                options: dict[str, Any] = {
                    "backend": kind or "torch",
                    "folder": Path(output) if output else None,
                    "choices": Choices(recipe or "", data or "", numbers),
                    "weights": weights,
                    "device": device or "",
                    "features": kept,
                }
                if folds:
                    several, skipped = train_folds(net.graph, net.case, folds=folds, **options)
                    text = several.to_text(skipped)
                else:
                    single, made = start(net.graph, net.case, **options)
                    text = made.to_text(single.path)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    except Stopped as error:
        print(f"{'' if error.status == 130 else 'error: '}{error}", file=sys.stderr)
        raise typer.Exit(error.status) from None
    print(text)


@app.command()
def evaluate(
    target: Annotated[
        str, typer.Argument(metavar="RUN|M.onnx", help="The folder of a run, or an ONNX file.", show_default=False)
    ],
    data: Annotated[
        str | None, typer.Option("--data", metavar="D", help="Images by class; those of its training if none.")
    ] = None,
    split: Annotated[
        SplitName | None, typer.Option("--split", metavar="PART", help="`test`, the default, `validation` or `train`.")
    ] = None,
    format: Annotated[ListFormat, typer.Option("--format", help="How it is printed.")] = ListFormat.text,
) -> None:
    """Measure a trained network on images whose classes are known."""
    import json
    from pathlib import Path

    from cnnspec.train.evaluate import evaluate as evaluate_file

    found = evaluate_file(Path(target), data, split.value if split else None)
    if format is ListFormat.json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(found.to_text())
    sys.stdout.flush()
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)


@app.command()
def ensemble(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs, folders of folds, ONNX files.", show_default=False)
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="M.onnx", help="The file to write.", show_default=False)
    ] = None,
) -> None:
    """Write an ONNX file that gives the mean of several runs."""
    from pathlib import Path

    from cnnspec.train.ensemble import ensemble as make_ensemble

    if not output:
        raise typer.BadParameter("it is needed: the file to write", param_hint="-o")
    made = make_ensemble([Path(run) for run in runs], Path(output))
    if made.warnings:
        _complain(made.warnings)
    print(f"averaged {len(made.members)} networks")
    for member in made.unknown:
        print(f"(nothing says which images {member} was trained on)")
    for file in made.files:
        print(f"wrote {file}")


@app.command()
def weights(
    spec: Spec = _DEFAULT_SPEC,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write canonical safetensors.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="FORMAT:FILE", help="Write for torchvision or keras.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="[FORMAT:]FILE|NAME", help="Read canonical, torchvision, keras or published weights."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Start from initial values; the recipe's if none.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Show which weights are published for it under a name.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Write initial weights, or convert weights.

    Everything must fit the network: nothing missing, left over or of another shape.
    """
    if published:
        if output or to or from_ is not None or seed is not None:
            raise typer.BadParameter("it stands alone, and writes nothing", param_hint="--published")
        _list_published(spec, _settings(set_ or []))
        return
    if not (output or to):
        raise typer.BadParameter("one of them is needed", param_hint="-o or --to")
    if from_ is not None and seed is not None:
        raise typer.BadParameter("these are initial weights or read ones, not both", param_hint="--seed and --from")
    if to and not to.startswith(_FOREIGN):
        raise typer.BadParameter(f"`{to}` is neither torchvision:FILE nor keras:FILE", param_hint="--to")
    from cnnspec.api import load

    net = load(spec, params=_settings(set_ or []))
    source = net.weights(seed) if from_ is None else net.load_weights(from_)
    warnings = [*net.warnings, *source.warnings]
    for target in filter(None, (to, output)):
        warnings += net.save_weights(target, source)
        print(f"wrote {target}")
    if warnings:
        _complain(warnings)


def _list_published(spec: str, settings: dict[str, str]) -> None:
    from cnnspec.api import load
    from cnnspec.summary.columns import listed

    net = load(spec, params=settings)
    rows = []
    for entry in net.published:
        names = entry.reference + (f" ({', '.join(entry.aliases)})" if entry.aliases else "")
        accuracy = "top-1 {} %, top-5 {} %".format(*entry.accuracy) if entry.accuracy else "no classifier"
        rows.append((names, accuracy, entry.url))
    if rows:
        print("\n".join(listed(rows)))
    else:
        print(f"no weights of `{net.name}` are published under a name")


@app.command()
def export(
    spec: Spec = _DEFAULT_SPEC,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="M.onnx", help="The file to write.", show_default=False)
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="[FORMAT:]FILE|NAME", help="Trained weights, as of `weights --from`."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Initial weights; the recipe's seed if none.")
    ] = None,
    precision: Annotated[ExportPrecision, typer.Option("--precision", help="What it computes in.")] = (
        ExportPrecision.fp32
    ),
    preprocess: Annotated[
        bool, typer.Option("--preprocess", help="Take uint8 images of any size: resize, crop and scale inside.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Give probabilities instead of logits.")
    ] = False,
    transfer: Annotated[
        str | None, typer.Option("--transfer", metavar="CASE", help="Export the network under a transfer case.")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Write an ONNX file, straight from the spec and the weights."""
    from cnnspec.api import load

    if not output:
        raise typer.BadParameter("it is needed: the file to write", param_hint="-o")
    if weights is not None and seed is not None:
        raise typer.BadParameter("these are initial weights or read ones, not both", param_hint="--seed and --weights")
    net = load(spec, transfer=_case(transfer), params=_settings(set_ or []))
    source = net.weights(seed) if weights is None else net.load_weights(weights)
    net = net.suited(source)
    written = net.export(output, source, precision=precision.value, preprocess=preprocess, probabilities=probabilities)
    if warnings := _warnings(net, source):
        _complain(warnings)
    for file in written:
        print(f"wrote {file}")


@app.command()
def verify(
    spec: Spec = _DEFAULT_SPEC,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="[FORMAT:]FILE|NAME", help="Trained weights, as of `weights --from`."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Of the images, and of weights that are not given.")
    ] = 0,
    backends: Annotated[
        str | None, typer.Option("--backends", metavar="NAME,...", help="What to compare; all installed if none.")
    ] = None,
    transfer: Annotated[
        str | None, typer.Option("--transfer", metavar="CASE", help="Verify the network under a transfer case.")
    ] = None,
    train_steps: Annotated[
        int, typer.Option("--train-steps", metavar="N", min=0, help="Train so many steps, and compare all of them.")
    ] = 0,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    format: Annotated[ListFormat, typer.Option("--format", help="How it is printed.")] = ListFormat.text,
) -> None:
    """Prove that all backends compute the same.

    Outputs are compared layer by layer, and the gradients of all parameters; with `--train-steps`, training too.
    """
    import json

    from cnnspec.api import load

    net = load(spec, transfer=_case(transfer), params=_settings(set_ or []))
    given = None if weights is None else net.load_weights(weights)
    names = None if backends is None else _backends(backends, bool(train_steps))
    result = net.verify(given, seed=seed, backends=names, train_steps=train_steps, recipe=recipe or "")
    if format is ListFormat.json:
        print(json.dumps(result.to_dict(), indent=2, ensure_ascii=False))
    else:
        print(result.to_text(_width()))
    if complaints := [*_warnings(net, given), *result.diagnostics()]:
        sys.stdout.flush()  # it comes first where both go to one place
        _complain(complaints)
    if not result.agrees:
        raise typer.Exit(1)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="M.onnx", help="A file that `export` wrote.", show_default=False)],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)],
    provider: Annotated[Provider, typer.Option("--provider", help="Where it runs; nowhere else.")] = Provider.cpu,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many classes to show.")] = 5,
    format: Annotated[ListFormat, typer.Option("--format", help="A table, or a line of JSON an image.")] = (
        ListFormat.text
    ),
) -> None:
    """Classify images with an exported network."""
    import json
    from dataclasses import asdict
    from pathlib import Path

    from cnnspec.diagnostics.render import printable
    from cnnspec.lower.backend import own_backend

    classifier = own_backend("onnx").classifier(Path(model), provider.value)
    failed = False
    for image, guesses, error in classifier.predict(images, top):
        if error:
            failed = True
            print(f"error: {printable(f'{image}: {error}')}", file=sys.stderr)
        elif format is ListFormat.json:
            print(json.dumps({"image": image, "top": [asdict(guess) for guess in guesses]}, ensure_ascii=False))
        else:
            print(printable(image))
            for rank, guess in enumerate(guesses, 1):
                print(f"{rank:>4}  {guess.probability:7.2%}  {printable(guess.label)}")
    if failed:
        raise typer.Exit(1)


@app.command()
def init(
    network: Annotated[str, typer.Argument(metavar="NAME", help="A network of the zoo.")] = "lenet5",
) -> None:
    """Start a project: copy a network of the zoo to `cnnspec.yaml`."""
    from cnnspec.api import start_project

    print(f"wrote {start_project(network)}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the language, for editors."""
    import json

    from cnnspec.api import schema as language_schema

    print(json.dumps(language_schema(), indent=2, ensure_ascii=False))


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"cnnspec {version('cnnspec')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A compiler for convolutional networks written as one YAML file."""


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"`{pair}` is not NAME=VALUE", param_hint="--set")
        if name.strip() in settings:
            raise typer.BadParameter(f"`{name.strip()}` is set twice", param_hint="--set")
        settings[name.strip()] = value.strip()
    return settings


def _case(transfer: str | None) -> str:
    if transfer is not None and not transfer.strip():
        raise typer.BadParameter("the name of a case is needed, this is empty", param_hint="--transfer")
    return transfer or ""


def _interrupt(number: int) -> NoReturn:
    raise KeyboardInterrupt


def _backends(text: str, training: bool) -> list[str]:
    from cnnspec.verify.run import trainers, verifiable

    names = [name.strip() for name in text.split(",")]
    choices = verifiable()
    for name in names:
        if name not in choices:
            raise typer.BadParameter(f"`{name}` is none of {', '.join(choices)}", param_hint="--backends")
    if training and len(set(trainers(names))) < 2:
        message = f"training is compared between two of {', '.join(trainers(choices))}"
        raise typer.BadParameter(message, param_hint="--backends")
    return names


def _width() -> int | None:
    """How wide tables may be; text that is not shown but kept, or read on, is never shortened."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _colour(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _warnings(net: Any, weights: Any) -> list[Any]:
    """What is to be said of a network, and of its weights if there are any."""
    return [*net.warnings, *(weights.warnings if weights is not None else ())]


def _complain(diagnostics: Sequence[Any]) -> None:
    from cnnspec.diagnostics import render

    print(render.to_text(diagnostics, colour=_colour(sys.stderr)), file=sys.stderr)
    print(f"\n{render.summary_line(diagnostics)}", file=sys.stderr)


def _only(command: str) -> typer.Typer:
    """The application with this command alone, if it has it: typer builds all it has before it looks which is meant."""
    named = [info for info in app.registered_commands if command in (info.name, getattr(info.callback, "__name__", ""))]
    if not named:
        return app
    one = copy(app)
    one.registered_commands = named
    return one


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; `arguments` are those of the process unless given."""
    from cnnspec.diagnostics import SpecError

    given = sys.argv[1:] if arguments is None else arguments

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without × must not end in a traceback
    try:
        try:
            _only(given[0] if given else "")(args=given, prog_name="cnnspec")
        finally:
            sys.stdout.flush()
    except SpecError as error:
        _complain(error.diagnostics)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError as error:
        print(f"error: not enough memory{f': {error}' if str(error) else ''}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that cannot be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""), file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        from cnnspec.lower.backend import MissingDependency  # a command that does not fail need not pay for it

        if not isinstance(error, MissingDependency):
            raise
        print(f"error: {error}\nhelp: pip install 'cnnspec[{error.extra}]'", file=sys.stderr)
        sys.exit(3)
    sys.exit(0)
