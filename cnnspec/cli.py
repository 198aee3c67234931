"""The command line. Exit codes: 0 done, 1 the input is wrong, 2 wrong usage, 3 an optional dependency is missing."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Sequence
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

# Start-up is most of what a short command takes. Its objects live until it ends, so looking for cycles among them is
# wasted; and searching every installed package for pydantic plugins takes longer than all validation.
gc.set_threshold(100_000)
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


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


class Layout(StrEnum):
    """The order of a shape's extents."""

    chw = "chw"
    hwc = "hwc"


Spec = Annotated[
    str, typer.Argument(metavar="SPEC", help="A spec file, or the name of a network of the zoo.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter of the spec, `input.size` or `input.channels`."),
]


@app.command("list")
def list_zoo(format: Annotated[ListFormat, typer.Option("--format")] = ListFormat.text) -> None:
    """Show the networks of the zoo with their parameters and multiply-adds."""
    from cnnspec.summary.listing import zoo_listing

    print(zoo_listing(format.value))


@app.command()
def validate(
    specs: Annotated[
        list[str] | None, typer.Argument(metavar="SPEC...", help="Spec files or names of the zoo.", show_default=False)
    ] = None,
    format: Annotated[CheckFormat, typer.Option("--format")] = CheckFormat.text,
) -> None:
    """Check specs without running any framework; every mistake is shown with its place."""
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
    depth: Annotated[int, typer.Option("--depth", min=1, help="How many levels of blocks to open.")] = 1,
    transfer: Annotated[
        str, typer.Option("--transfer", metavar="CASE", help="Show the network under a transfer case.")
    ] = "",
    format: Annotated[TableFormat, typer.Option("--format")] = TableFormat.text,
    layout: Annotated[Layout, typer.Option("--layout", help="The order in which shapes are shown.")] = Layout.chw,
) -> None:
    """Show every layer's shape, parameters, multiply-adds, memory and receptive field."""
    from cnnspec.api import load

    net = load(spec, transfer=transfer, params=_settings(set_ or []))
    if net.warnings:
        _complain(net.warnings)
    result = net.summary()
    order: Any = layout.value
    if format is TableFormat.json:
        print(result.to_json(order))
    elif format is TableFormat.markdown:
        print(result.to_markdown(depth=depth, layout=order))
    else:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else None
        print(result.to_text(depth=depth, width=width, layout=order, colour=_colour(sys.stdout)))


@app.command()
def init(
    network: Annotated[str, typer.Argument(metavar="[NAME]", help="A network of the zoo.")] = "lenet5",
) -> None:
    """Copy a network of the zoo to `cnnspec.yaml` in this folder, to change and to train."""
    from cnnspec.api import start_project

    print(f"wrote {start_project(network)}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the language, for an editor to complete and check from."""
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
        settings[name.strip()] = value.strip()
    return settings


def _colour(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _complain(diagnostics: Sequence[Any]) -> None:
    from cnnspec.diagnostics import render

    print(render.to_text(diagnostics, colour=_colour(sys.stderr)), file=sys.stderr)
    print(f"\n{render.summary_line(diagnostics)}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; `arguments` are those of the process unless given."""
    from cnnspec.diagnostics import SpecError

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without × must not end in a traceback
    try:
        try:
            app(args=arguments, prog_name="cnnspec")
        finally:
            sys.stdout.flush()
    except SpecError as error:
        _complain(error.diagnostics)
        sys.exit(1)
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a full disk, a folder that cannot be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: {error.strerror}" + (f": {error.filename}" if error.filename else ""), file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
