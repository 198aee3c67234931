"""Finds spec files: by path, or by the name of a network of the zoo."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

from cnnspec.diagnostics import Report, Source, Span, did_you_mean
from cnnspec.source import Scalar

DEFAULT = "cnnspec.yaml"

_KINDS = {
    "": ("unknown-spec", "network"),
    "blocks": ("unknown-spec", "block library"),
    "recipes": ("unknown-recipe", "recipe"),
}


@cache
def zoo_folder() -> Path:
    """Where the zoo is installed."""
    import cnnspec.specs

    return Path(cnnspec.specs.__path__[0])


def zoo() -> list[str]:
    """The names of the zoo's networks, sorted."""
    return sorted(path.stem for path in zoo_folder().glob("*.yaml"))


def name_beside(path: Path, reference: Scalar) -> str:
    """What to call the file found at `path` for a `reference` in another file: as seen from where that one is named."""
    if path.is_relative_to(zoo_folder()):
        return path.name
    return os.path.normpath(Path(reference.span.source.name).parent / reference.text)


def find(
    reference: str,
    report: Report,
    *,
    relative_to: Path | None = None,
    span: Span | None = None,
    within: Literal["", "blocks", "recipes"] = "",
) -> Path | None:
    """The file that `reference` means: a path if it looks like one or is one, else a name of the zoo.

    Paths are relative to `relative_to`, or to the current folder. Returns None, with the reason in `report` (at `span`,
    where the reference is written in a file). `within` is the folder of the zoo whose names are meant.
    """
    folder = zoo_folder() / within
    slug, what = _KINDS[within]
    if not reference.strip():
        message = f"a path or the name of a {what} is needed, this is empty"
        report.add(slug, message, span or Span(Source("", ""), 0, 0))
        return None
    here = relative_to or Path()
    path = here / reference
    is_folder = False
    try:
        is_folder = path.is_dir()
        if path.exists() and not is_folder:
            if relative_to is None or path.suffix in (".yaml", ".yml"):
                return path
            # what a spec refers to is YAML by its name, so that no message shows the lines of any other file
            message = f"`{reference[:200]}` is not called .yaml"
            report.add(slug, message, span or Span(Source(reference[:200], ""), 0, 0))
            return None
        known = folder / f"{reference}.yaml"
        if "/" not in reference and "\\" not in reference and known.is_file():
            return known
    except (OSError, ValueError):  # a name that no file system takes
        pass
    names = [*(p.stem for p in folder.glob("*.yaml")), *(p.name for p in here.glob("[!.]*.yaml"))]
    at = span or Span(Source(reference[:200], ""), 0, 0)
    if is_folder:
        report.add(slug, f"`{reference}` is a folder, not a file", at)
    elif reference.endswith((".yaml", ".yml")) or "/" in reference:
        help = did_you_mean(reference, names)
        if reference == DEFAULT and span is None:  # nobody wrote it
            help = "name a spec, or make this one: `cnnspec init`"
        report.add(slug, f"there is no file `{reference[:200]}`", at, help=help)
    else:
        report.add(
            slug,
            f"there is neither a file nor a {what} of the zoo called `{reference[:200]}`",
            at,
            help=did_you_mean(reference, names) or ("" if within else "`cnnspec list` shows the zoo"),
        )
    return None
