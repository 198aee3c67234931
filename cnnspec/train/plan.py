"""What is trained, with what, from what: all that the folder of a run holds before training."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnspec.graph import Graph
from cnnspec.lower.backend import backend as find_backend
from cnnspec.lower.backend import code_backend
from cnnspec.train.environment import environment
from cnnspec.train.generate import build_files, check_imports, initial_name
from cnnspec.train.phases import needs_weights
from cnnspec.train.settle import settled_files
from cnnspec.train.start import start_weights
from cnnspec.weights.finite import warn_of_odd
from cnnspec.weights.places import Place
from cnnspec.weights.published import suited

if TYPE_CHECKING:
    from cnnspec.diagnostics import Report
    from cnnspec.spec.recipe import Recipe
    from cnnspec.weights.mapping import Weights


@dataclass(frozen=True)
class Plan:
    """A network, the weights that it starts from, and what `run.json` says of both."""

    graph: Graph
    backend: str
    first: Weights
    record: dict[str, Any]

    @property
    def initial(self) -> str:
        """What the file of first weights is called."""
        return initial_name(self.backend)

    def files(self, recipe: Recipe, **entries: Any) -> dict[str, bytes]:
        """All files but the weights, by their paths; `entries` are more of `run.json`.

        Raises `SpecError` where the backend lacks an op, `MissingDependency` for a library that the code imports.
        """
        code = build_files(self.graph, self.backend, recipe)
        check_imports(code, find_backend(self.backend).extra)
        files = settled_files(self.graph.spec, recipe) | code
        files["run.json"] = json_bytes(self.record | entries | {"spec_sha256": sha256(files["spec.yaml"]).hexdigest()})
        return files

    def write_weights(self, folder: Path) -> None:
        """Write the first weights."""
        find_backend(self.backend).write_weights(self.graph, self.first, folder / self.initial)

    def share_weights(self, folder: Path, other: Path) -> None:
        """Have the first weights that are in `folder` in an `other` one as well: the same file, if that can be."""
        try:
            os.link(folder / self.initial, other / self.initial)
        except OSError:  # not on this file system
            shutil.copy(folder / self.initial, other / self.initial)


def make_plan(
    graph: Graph,
    case: str,
    recipe: Recipe | None,
    backend: str,
    weights: str | None,
    command: Sequence[str] | None,
    report: Report,
) -> Plan:
    """What a recipe, which is None where `report` has errors, trains; `weights` are what `--weights` names.

    Raises `SpecError` for what is wrong with any input, `ValueError` for a backend that there is not,
    `MissingDependency` without the framework.
    """
    code_backend(backend)  # is asked for before anything else
    find_backend(backend)
    first = start_weights(graph, recipe, weights, report) if recipe else None
    report.raise_errors()
    assert recipe is not None and first is not None, "what was not read is an error"
    if weights:
        warn_of_odd(first)
    graph, notes = suited(graph, first.origin, labels=False)  # labels are those of the data
    said = [note.message for note in (*first.warnings, *notes)]
    for message in (*said, *_never(graph, recipe), *([] if weights else _unlearnt(graph))):
        print(f"warning: {message}", file=sys.stderr)
    record = {
        "name": graph.name,
        "backend": backend,
        "transfer": case or None,
        "seed": recipe.seed,
        "weights": first.origin["from"] if weights and Place.of(weights).name else weights,  # not `DEFAULT`
        "weights_from": first.origin.get("from"),
        **environment(command or sys.argv),
    }
    return Plan(graph, backend, first, record)


def _never(graph: Graph, recipe: Recipe) -> list[str]:
    """What is said where layers would start to train behind the last epoch."""
    late = sorted({epoch for epoch in graph.starts.values() if epoch > recipe.epochs})
    ends = f"training ends after {recipe.epochs}"
    return [f"layers that would start to train in epoch {epoch} never do: {ends}" for epoch in late]


def _unlearnt(graph: Graph) -> list[str]:
    """What is said of weights that are drawn, and then kept as they are."""
    if not needs_weights(graph):
        return []
    return ["what is frozen has drawn weights, which know nothing: `--weights` names those to start from"]


def json_bytes(value: Any) -> bytes:
    """What a file of JSON has in it."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
