"""What an exported file says of itself, and how `predict` reads it: text by key, in the model's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING

from cnnspec.spec.text import canonical_text

if TYPE_CHECKING:
    from cnnspec.spec.document import Spec
    from cnnspec.spec.sections import PreprocessSection

VERSION, SPEC, SHA256, TRANSFER, PREPROCESS, LABELS, MEMBERS = (
    f"cnnspec.{key}" for key in ("version", "spec", "spec_sha256", "transfer", "preprocess", "labels", "members")
)


def describe(
    spec: Spec, case: str = "", origin: Mapping[str, str] | None = None, classes: int | None = None
) -> dict[str, str]:
    """The metadata of an export: cnnspec's version, the whole spec and its hash, preprocessing and labels as JSON.

    `case` is the transfer case, `origin` says where the weights come from; what there is not is left out, and so are
    labels that are not as many as `classes`: a transfer's head has others.
    """
    text = canonical_text(spec)
    entries = {VERSION: version("cnnspec"), SPEC: text, SHA256: sha256(text.encode()).hexdigest()}
    if case:
        entries[TRANSFER] = case
    if spec.preprocess is not None:
        entries[PREPROCESS] = json.dumps(spec.preprocess.model_dump())
    if spec.labels is not None and classes in (None, len(spec.labels)):
        entries[LABELS] = json.dumps(spec.labels, ensure_ascii=False)
    return entries | {f"cnnspec.weights.{key}": value for key, value in (origin or {}).items()}


@dataclass(frozen=True, slots=True)
class Description:
    """What a file says of its images and classes."""

    preprocess: PreprocessSection | None
    labels: list[str] | None


def read(entries: Mapping[str, str]) -> Description:
    """The description in a model's metadata. Raises `ValueError` where there is none, or one that cannot be read."""
    from cnnspec.spec.sections import PreprocessSection

    if VERSION not in entries:
        raise ValueError("it has none of cnnspec's metadata")
    section = json.loads(entries[PREPROCESS]) if PREPROCESS in entries else None
    labels = json.loads(entries[LABELS]) if LABELS in entries else None
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise ValueError("its labels are not a list of names")
    return Description(None if section is None else PreprocessSection.model_validate(section), labels)
