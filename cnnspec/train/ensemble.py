"""`cnnspec ensemble`: the networks of several runs as one, which gives the mean of their probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from errno import ENOENT
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnspec.diagnostics import Diagnostic, Report, Source, Span
from cnnspec.lower.backend import own_backend
from cnnspec.train.evaluate import model_of, refuse
from cnnspec.train.folder import is_folds
from cnnspec.train.folds import Folds
from cnnspec.train.seen import beside, seen_by
from cnnspec.weights.finite import report_odd
from cnnspec.weights.foreign import replacing


class Ensemble(NamedTuple):
    """The files that were written, the members, and those of which nothing says what they were trained on."""

    files: list[Path]
    members: list[Path]
    unknown: list[Path]
    warnings: list[Diagnostic]


def ensemble(targets: Sequence[Path], path: Path) -> Ensemble:
    """Write an ONNX file of all networks: of runs, of the runs in a folder of folds, and in ONNX files.

    Beside it lie hashes of the images that any of them was trained on, as far as these are known. Raises `SpecError`
    where the networks cannot be averaged; nothing is written then.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(path))
    members = [member for target in targets for member in _members(target)]
    _check(members, path)
    found = [seen_by(member) for member in members]
    known = [hashes for hashes in found if hashes is not None]
    hashed = beside(path)
    backend = own_backend("onnx")
    if known:
        with replacing(hashed) as part:
            with part.open("wb") as file:
                np.save(file, np.unique(np.concatenate(known)), allow_pickle=False)
            written = backend.ensemble(members, path)
    else:
        written = backend.ensemble(members, path)
        hashed.unlink(missing_ok=True)  # of another file that was here
    report = Report()
    report_odd(written.odd, f"`{path}`", Span(Source(str(path), ""), 0, 0), report)
    files = [*written.files, *([hashed] if known else [])]
    unknown = [member for member, hashes in zip(members, found, strict=True) if hashes is None]
    return Ensemble(files, members, unknown, report.sorted())


def _members(target: Path) -> list[Path]:
    if not target.is_dir():
        return [target]
    if not is_folds(target):
        return [model_of(target)]
    return [model_of(run.path) for run in Folds(target).runs]


def _check(members: Sequence[Path], path: Path) -> None:
    """Members are several, no one twice, and none of them is written over."""
    if len(members) < 2:
        help = "name several runs, or a folder of folds"
        refuse("bad-ensemble", f"there is one network alone to average: `{members[0]}`", str(members[0]), help)
    real = [member.resolve() for member in members]
    for number, member in enumerate(real):
        if member in real[:number]:
            refuse("bad-ensemble", f"`{members[number]}` is given twice", str(members[number]))
    if path.resolve() in real:
        refuse("bad-ensemble", f"`{path}` is one of the members, and would be replaced", str(path), "name another file")
