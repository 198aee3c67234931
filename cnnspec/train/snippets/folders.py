"""Folders with one folder of images for each class in them."""

import os
import sys
from pathlib import Path

from cnnspec.train.snippets.files import Files, image_files
from cnnspec.train.snippets.parts import IMAGE_SUFFIXES, DataError


def folder_classes(folder: Path) -> list[str]:
    """The classes of a folder, in alphabetical order."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted(name for name in names if not name.startswith("."))


def folder_part(
    folder: Path, classes: list[str], channels: int, convert: bool
) -> Files:
    """The images of a folder, in alphabetical order."""
    files, labels = [], []
    for name in folder_classes(folder):
        if name not in classes:
            known = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
            message = f"the network has no output for the class {name}, only for"
            raise DataError(f"{folder / name}: {message} {known}")
        found = [
            str(Path(place, file))
            for place, _, inside in os.walk(folder / name)
            for file in inside
            if file.lower().endswith(IMAGE_SUFFIXES) and not file.startswith(".")
        ]
        if not found:
            print(f"warning: {folder / name} has no images", file=sys.stderr)
        files += sorted(found)
        labels += [classes.index(name)] * len(found)
    if not files:
        raise DataError(f"{folder} has no folders with images in them")
    return image_files(files, labels, channels, convert)
