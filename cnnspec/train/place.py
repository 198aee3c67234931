"""What `--data` names: a published set, a folder or a file, and which kind of data it is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnspec.diagnostics import Report, Source, Span, did_you_mean
from cnnspec.source import Node, grown

if TYPE_CHECKING:
    from cnnspec.spec.recipe import Recipe

NAMED = ("sample", "mnist", "fashion-mnist", "cifar10", "cifar100")
"""Sets that need no place."""

_KEPT = ("fit", "channels")
_PATHS = ("folder", "file", "train", "validation", "test")
_PARTS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_FILES = {
    "train-images-idx3-ubyte": "idx",
    "data_batch_1.bin": "cifar10",
    "data_batch_1": "cifar10",
    "train.bin": "cifar100",
    "meta": "cifar100",
}
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def data_section(given: str, recipe: Recipe | None, report: Report) -> Node | None:
    """The `data` section of a recipe that reads what is `given`; None with the reason in `report`.

    What the recipe says of images of other sizes stays.
    """
    span = Span(Source("--data", given), 0, len(given))
    section = _detect(given, span, report)
    if section is None:
        return None
    ((kind, options),) = section.items()
    kept = {key: getattr(recipe.data, key) for key in _KEPT if recipe and key in recipe.data.model_fields_set}
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
    found = _folder(whole) if path.is_dir() else _file(whole)
    if found is None:
        what = "folder" if path.is_dir() else "file"
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
    files = _parts(path, lambda name: path / f"{name}.csv", Path.is_file)
    if "train" in files:
        return {"csv": files}
    folders = _parts(path, lambda name: path / name, _has_classes)
    if "train" in folders:
        return {"image_folder": folders}
    return {"image_folder": {"train": str(path)}} if _has_classes(path) else None


def _parts(path: Path, at: Any, there: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, names in _PARTS.items():
        for name in names:
            if there(at(name)):
                found.setdefault(part, str(at(name)))
    return found


def _has_classes(path: Path) -> bool:
    """Whether a folder has folders with images in them."""
    return path.is_dir() and any(
        file.suffix.lower() in _IMAGES
        for folder in sorted(path.iterdir())
        if folder.is_dir()
        for file in folder.iterdir()
    )
