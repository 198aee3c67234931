"""What `--data` names: a published set, a folder or a file, and which kind of data it is."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnspec.diagnostics import Report, Source, Span, did_you_mean
from cnnspec.source import Node, grown
from cnnspec.train.snippets.parts import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe

NAMED = ("sample", "mnist", "fashion-mnist", "cifar10", "cifar100")
"""Sets that need no place."""

_KEPT = ("fit", "channels", "image", "label")
_PATHS = ("folder", "file", "train", "validation", "test")
_PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
_FILES = {
    "train-images-idx3-ubyte": "idx",
    "data_batch_1.bin": "cifar10",
    "data_batch_1": "cifar10",
    "train.bin": "cifar100",
    "meta": "cifar100",
}


def data_section(given: str, recipe: Recipe | None, report: Report) -> Node | None:
    """The `data` section of a recipe that reads what is `given`; None with the reason in `report`.

    What the recipe says of images of other sizes stays, and of a manifest's columns where this is one as well.
    """
    span = Span(Source("--data", given), 0, len(given))
    section = _detect(given, span, report)
    if section is None:
        return None
    ((kind, options),) = section.items()
    keys = _KEPT if recipe and recipe.data.kind == kind else _KEPT[:2]
    kept = {key: getattr(recipe.data, key) for key in keys if recipe and key in recipe.data.model_fields_set}
    return _section(kind, options | kept, span)


def absolute_section(recipe: Recipe) -> Node:
    """The recipe's own `data` section, with paths that mean the same in every folder."""
    data = recipe.data
    options: dict[str, Any] = {key: getattr(data, key) for key in data.model_fields_set}
    for key in _PATHS:
        if isinstance(path := options.get(key), str):
            options[key] = str(Path(path).absolute())
    return _section(data.kind, options, recipe.span("data"))


def _section(kind: str, options: dict[str, Any], span: Span) -> Node:
    return grown({kind: options} if options else kind, span)


def _detect(given: str, span: Span, report: Report) -> dict[str, dict[str, Any]] | None:
    path = Path(given)
    if given in NAMED and not path.exists():
        return {given: {}}
    if not path.exists():
        help = did_you_mean(given, NAMED) or f"sets known by name are {', '.join(NAMED)}"
        report.add("bad-data", f"there is no file or folder `{given}`", span, help=help)
        return None
    whole = path.absolute()
    if not path.is_dir():
        found, what = _file(whole), "file"
    elif flat := _flat_part(whole):
        help = f"it needs a folder of images for each class; without it: `--data {path / 'train'}`"
        report.add("bad-data", f"`{path / flat.name}` has images that no folder gives a class to", span, help=help)
        return None
    else:
        found, what = _folder(whole), "folder"
    if found is None:
        report.add(
            "bad-data",
            f"the {what} `{given}` holds no data of a known kind",
            span,
            help="IDX or CIFAR files, folders of images by class (in train/, validation/, test/ or alone), .npz, .csv",
        )
    return found


def _file(path: Path) -> dict[str, dict[str, Any]] | None:
    if path.suffix == ".csv":
        return {"csv": {"train": str(path)}}
    if path.suffix != ".npz":
        return None
    import zipfile

    options: dict[str, Any] = {"file": str(path)}
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:  # what is none is said when it is read
        if "x_validation.npy" in archive.namelist():
            options["validation"] = True
    return {"npz": options}


def _folder(path: Path) -> dict[str, dict[str, Any]] | None:
    for name, kind in _FILES.items():
        if (path / name).is_file() or (path / f"{name}.gz").is_file():
            return {path.name if kind == "idx" and path.name in NAMED else kind: {"folder": str(path)}}
    parts = _parts(path, ".csv")
    if "train" in parts:
        return {"csv": parts}
    parts = {part: folder for part, folder in _parts(path).items() if _has_classes(Path(folder))}
    if "train" in parts:
        return {"image_folder": parts}
    return {"image_folder": {"train": str(path)}} if _has_classes(path, deep=False) else None


def _parts(path: Path, suffix: str = "") -> dict[str, str]:
    """The files, or without a suffix the folders, that are called as parts of the data, in any case."""
    there = {entry.name.lower(): entry for entry in sorted(path.iterdir()) if entry.is_file() == bool(suffix)}
    found: dict[str, str] = {}
    for part, names in _PARTS.items():
        for name in names:
            if f"{name}{suffix}" in there:
                found.setdefault(part, str(there[f"{name}{suffix}"]))
    return found


def _flat_part(path: Path) -> Path | None:
    """A part of the data whose images lie in it directly, where the others have folders for classes."""
    parts = {part: Path(folder) for part, folder in _parts(path).items()}
    if "train" not in parts or not any(_has_classes(folder) for folder in parts.values()):
        return None
    return next((f for f in parts.values() if not _has_classes(f) and any(map(_is_image, f.iterdir()))), None)


def _has_classes(path: Path, *, deep: bool = True) -> bool:
    """Whether a folder has folders with images in them; `deep` is also further down."""
    folders = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    return any(map(_is_image, chain.from_iterable(f.rglob("*") if deep else f.iterdir() for f in folders)))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES
