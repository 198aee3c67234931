"""Manifests: CSV files with an image and its class on each line."""

import csv
from pathlib import Path

from cnnspec.train.snippets.files import Files, image_files
from cnnspec.train.snippets.parts import DataError


def read_manifest(file: Path, image: str, label: str) -> list[tuple[str, str]]:
    """The paths and classes of a manifest, from the columns with these names."""
    found = []
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns = reader.fieldnames or []
            for column in (image, label):
                if column not in columns:
                    known = ", ".join(columns) or "it is empty"
                    raise DataError(f"{file} has no column {column}: {known}")
            for row in reader:
                if not row[image] or not row[label]:
                    message = "a line needs a path and a class"
                    raise DataError(f"{file}:{reader.line_num}: {message}")
                found.append((str(file.parent / row[image]), row[label]))
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not in UTF-8: {error}") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: {error}") from error
    if not found:
        raise DataError(f"{file} lists no images")
    return found


def manifest_classes(file: Path, image: str, label: str) -> list[str]:
    """The classes that a manifest names, in alphabetical order; none if by number."""
    names = {name for _, name in read_manifest(file, image, label)}
    return [] if all(name.isdecimal() for name in names) else sorted(names)


def manifest_part(
    file: Path, image: str, label: str, classes: list[str], channels: int, convert: bool
) -> Files:
    """The images of a manifest, in its order; classes are all names, or all numbers."""
    found = read_manifest(file, image, label)
    numbers = {name: i for i, name in reversed([*enumerate(classes)])}
    names = {name for _, name in found}
    if not names <= numbers.keys() and all(name.isdecimal() for name in names):
        numbers = {str(i): i for i in range(len(classes))}
    files, labels = [], []
    for path, name in found:
        if name not in numbers:
            known = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
            message = f"{path}: the network has no output for the class {name}"
            raise DataError(f"{file}: {message}, only for {known}")
        files.append(path)
        labels.append(numbers[name])
    return image_files(files, labels, channels, convert)
