"""What a verification found, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from cnnspec.diagnostics import Diagnostic, Source, Span
from cnnspec.graph import Graph, Node
from cnnspec.lower.backend import Precision
from cnnspec.verify.compare import Comparison, shown
from cnnspec.verify.plan import Plan

What = Literal["outputs", "gradients", "training"]


@dataclass(frozen=True, slots=True)
class Check:
    """One backend in one precision: what it computes, against what another one does.

    `comparisons` are in the order in which a mistake spreads: from the input on for outputs, from the output back for
    gradients; for training step by step, the loss first and then parameters from the output back.

    `total` counts what there is to compare, also where the backend does not show it. `error` says why there is nothing
    to compare, `skipped` that the framework cannot run the network here, which is no disagreement.
    """

    backend: str
    precision: Precision
    what: What
    against: str
    total: int
    comparisons: Sequence[Comparison] = ()
    error: str = ""
    skipped: str = ""

    @property
    def agrees(self) -> bool:
        """Whether all that was compared is near enough."""
        return not self.error and all(c.agrees for c in self.comparisons)

    @property
    def first(self) -> Comparison | None:
        """The first that departs; what follows it may only be its consequence."""
        return next((c for c in self.comparisons if not c.agrees), None)

    @property
    def worst(self) -> Comparison | None:
        """The nearest to its tolerance, or the farthest beyond."""
        return max(self.comparisons, key=lambda c: c.used, default=None)

    def failed(self, why: Exception | str) -> Check:
        """The same with nothing to compare."""
        if isinstance(why, Exception):
            text = str(why).strip()
            why = f"fails with {type(why).__name__}" + (f": {text.splitlines()[0]}" if text else "")
        return replace(self, error=why)


@dataclass(frozen=True, slots=True, repr=False)
class Verification:
    """What `checks` found on this number of `images`; `left_out` are backends that are not installed, by name.

    The latter come with the extras that install them.
    """

    graph: Graph
    seed: int
    images: int
    checks: Sequence[Check]
    left_out: dict[str, str]
    training: Plan | None = None
    """What was trained, if it was."""
    not_finite: Node | None = None
    """The first layer whose values are not all finite by its definition; then there are no checks."""

    @property
    def agrees(self) -> bool:
        """Whether all backends that can run the network agree with the reference and with each other."""
        return all(check.agrees for check in self.checks) and not all(check.skipped for check in self.checks)

    def diagnostics(self) -> list[Diagnostic]:
        """For each check that failed, where: the first layer that departs."""
        if self.not_finite:
            message = f"the network itself gives values that are not finite, first at `{self.not_finite.path}`"
            return [_at(self.not_finite, message, "nothing was compared: see to its weights first")]
        return [_diagnostic(check, self.graph) for check in self.checks if not check.agrees]

    def to_text(self, width: int | None = None) -> str:
        """A table."""
        from cnnspec.verify import report

        return report.to_text(self, width)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `cnnspec verify --format json` prints it."""
        from cnnspec.verify import report

        return report.to_dict(self)

    def __str__(self) -> str:
        return self.to_text()


def _diagnostic(check: Check, graph: Graph) -> Diagnostic:
    who, first = f"{check.backend} in {check.precision}", check.first
    if first is None:
        spec = graph.spec.root.span.source
        return Diagnostic("disagreement", f"{who} {check.error}", Span(spec, 0, 0))
    node = first.node
    what = {"outputs": f"`{node.path}`", "gradients": f"the gradient of `{first.name}`"}.get(check.what)
    message = f"{who} departs from {check.against} at {what or moment(first)}: {departure(first)}"
    departed = sum(not c.agrees for c in check.comparisons)
    help = f"{departed} of the {len(check.comparisons)} compared depart; this is the first"
    return _at(node, message, help)


def _at(node: Node, message: str, help: str) -> Diagnostic:
    reads = " and ".join(shown(tuple(shape)) for shape in node.input_shapes)
    label = f"reads {reads}, gives {shown(tuple(node.shape))}"
    span = node.span or Span(Source(node.path, ""), 0, 0)
    return Diagnostic("disagreement", message, span, label, help=help, path=node.path)


def moment(comparison: Comparison) -> str:
    """What was compared in training."""
    if comparison.name == "loss":
        return f"the loss of step {comparison.step}"
    *averaged, key = comparison.name.split(" of ")
    return f"{'the average of ' if averaged else ''}`{key}` after step {comparison.step}"


def departure(comparison: Comparison) -> str:
    """What is wrong with an array."""
    return comparison.problem or (
        f"the largest difference is {comparison.difference:.2g}, {comparison.tolerance:.2g} is allowed"
    )
