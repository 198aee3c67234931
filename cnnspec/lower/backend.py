"""Backends: what one offers, and how they are found.

A backend is a table from canonical kinds to lowerings, and a runtime. It registers under the entry-point group
`cnnspec.backends`, so that another package can add one; the core imports none. Importing a backend imports no
framework; using it does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, distribution, entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from cnnspec.diagnostics import Report
from cnnspec.graph import Graph
from cnnspec.ops import Canonical

if TYPE_CHECKING:
    from cnnspec.lower.program import Program

GROUP = "cnnspec.backends"

Weights = Mapping[str, Any]
"""Arrays in canonical layout by parameter path, `layer1.0.conv1.weight`."""
Precision = Literal["float32", "float64"]
Limit = Literal["", "rounded", "rounded gradient", "lacking"]
"""What keeps a framework from computing a layer as its definition says.

`rounded`: in float64 it has some of the layer's numbers in float32, for the output or for its gradient alone.
`lacking`: it cannot run the layer here at all.
"""


class MissingDependency(Exception):
    """A framework that is not installed; `extra` is what to install cnnspec with."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"`{package}` is not installed")
        self.package = package
        self.extra = extra


class Runner(Protocol):
    """A network with weights, ready to run."""

    def outputs(self, images: Any) -> dict[str, Any]:
        """Outputs by layer path, for images (batch, channels, height, width).

        Arrays are in canonical layout, (batch, channels, height, width) or (batch, features). The outputs of the
        network are always there, of the layers between those that the framework lets one see.
        """
        ...


class CodeRunner(Runner, Protocol):
    """One of a framework that differentiates."""

    def gradients(self, images: Any, cotangents: Mapping[str, Any]) -> dict[str, Any]:
        """The gradient of Σ output·cotangent by every trainable parameter, in canonical layout, by its key.

        The network is in training mode, with batch statistics and the heads that exist in training only, but dropout
        is off, and running statistics stay. `cotangents` has an array for every output, by the path of its layer.
        """
        ...


class Backend(Protocol):
    """What every backend offers.

    One whose framework has limits also has `limit(canonical, precision) -> Limit`.
    """

    name: str
    extra: str
    """The extra that installs what it needs; empty where the core does."""
    packages: tuple[str, ...]
    """What it imports when it is used."""
    kinds: Collection[str]
    """The canonical kinds in its table."""
    precisions: tuple[Precision, ...]
    """In which precisions it can run; the first one is its default."""

    def runner(self, graph: Graph, weights: Weights, precision: Precision) -> Runner:
        """The network with `weights`, ready to run."""
        ...


@runtime_checkable
class CodeBackend(Backend, Protocol):
    """A backend that prints a program in its framework's language."""

    def source(self, program: Program) -> str:
        """The text of `model.py`."""
        ...

    def build(self, program: Program, weights: Weights | None = None) -> Any:
        """The live model that the text makes, with `weights` loaded; with none, as the framework starts it."""
        ...

    def runner(self, graph: Graph, weights: Weights, precision: Precision) -> CodeRunner:
        """The network with `weights`, ready to run."""
        ...


@cache
def installed() -> tuple[EntryPoint, ...]:
    """What is registered as a backend; to find it takes a look at every package that is installed."""
    return tuple(entry_points(group=GROUP))


def backends() -> dict[str, EntryPoint]:
    """All installed backends by name."""
    return {point.name: point for point in sorted(installed(), key=lambda point: point.name)}


def own_backend(name: str) -> Any:
    """One of cnnspec's own, whether or not its framework is installed: no other package is searched for it."""
    (found,) = distribution("cnnspec").entry_points.select(group=GROUP, name=name)
    return found.load()


def backend(name: str) -> Any:
    """The backend called `name`.

    Raises `ValueError` where there is none, `MissingDependency` where its framework is not installed.
    """
    known = backends()
    if name not in known:
        raise ValueError(f"there is no backend `{name}`, only {', '.join(known)}")
    found = known[name].load()
    for package in found.packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(package, found.extra)
    return found


def code_backend(name: str) -> Any:
    """The backend called `name`, which prints code; its framework may be missing.

    Raises `ValueError` where there is none, or it prints none.
    """
    known = backends()
    if name in known and hasattr(found := known[name].load(), "source"):
        return found
    choices = [each for each, point in known.items() if hasattr(point.load(), "source")]
    raise ValueError(f"`{name}` is no backend that prints code: {', '.join(choices)} are")


def limit(found: Backend, canonical: Canonical, precision: Precision) -> Limit:
    """What keeps a backend from computing a layer as its definition says."""
    own: Limit = found.limit(canonical, precision) if hasattr(found, "limit") else ""
    return own


def check_support(graph: Graph, name: str, kinds: Collection[str], report: Report) -> None:
    """Report every layer that the backend `name`, whose table holds `kinds`, has no lowering for."""
    for node in graph.nodes:
        kind = node.canonical().kind
        if kind not in kinds and node.span:
            report.add("unsupported-op", f"{name} has no lowering for `{kind}`", node.span, path=node.path)
