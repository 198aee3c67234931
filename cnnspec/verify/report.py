"""A verification as a table, and as plain data."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from cnnspec.summary.columns import Column, fitted, side_by_side
from cnnspec.verify.compare import Comparison, shown

if TYPE_CHECKING:
    from cnnspec.verify.plan import Plan
    from cnnspec.verify.result import Check, Verification

_COLUMNS = (
    Column("backend"),
    Column("precision"),
    Column("what"),
    Column("compared", right=True),
    Column("difference", right=True, meaning="largest difference"),
    Column("allowed", right=True),
    Column("at", tail=True, meaning="where that is"),
    Column("verdict"),
)
_STEPS = (("at", 12), ("allowed", 0), ("at", 0), ("difference", 0))


def to_text(verification: Verification, width: int | None) -> str:
    """A line for every check, the nearest to its tolerance in it."""
    graph = verification.graph
    heading = [
        graph.name,
        f"input {shown(tuple(graph.input.shape))}",
        f"seed {verification.seed}",
        f"{verification.images} images",
    ]
    title = ["   ".join(parts) for parts in side_by_side(heading, width)]
    lines, hidden = fitted(_COLUMNS, _STEPS, [_cells(check) for check in verification.checks], width)
    notes = [
        f"left out: {name} is not installed (pip install 'cnnspec[{extra}]')"
        for name, extra in verification.left_out.items()
    ]
    notes += [f"cannot run: {reason}" for reason in dict.fromkeys(c.skipped for c in verification.checks if c.skipped)]
    if verification.not_finite:
        notes.append(f"nothing was compared: `{verification.not_finite.path}` itself gives values that are not finite")
    elif not any(check.what == "gradients" for check in verification.checks):
        notes.append("gradients: not compared, which needs two backends that have them")
    if verification.training:
        first, *more = verification.training.describe()
        notes += [f"training: {first}", *(f"          {line}" for line in more)]
    table = ["", *lines, *hidden] if verification.checks else []
    return "\n".join([*title, *table, *([""] if notes else []), *notes])


def _cells(check: Check) -> dict[str, str]:
    worst = check.worst
    comparable = worst and not worst.problem
    return {
        "backend": check.backend,
        "precision": check.precision,
        "what": check.what if check.what == "outputs" else f"{check.what} against {check.against}",
        "compared": f"{len(check.comparisons)} of {check.total}",
        "difference": f"{worst.difference:.1e}" if worst and comparable else "",
        "allowed": f"{worst.tolerance:.1e}" if worst and comparable else "",
        "at": _place(worst) if worst else "",
        "verdict": _verdict(check),
    }


def _place(comparison: Comparison) -> str:
    return f"step {comparison.step}: {comparison.name}" if comparison.step else comparison.name


def _verdict(check: Check) -> str:
    if check.skipped:
        return "cannot run"
    return "agrees" if check.agrees else "fails" if check.error else "departs"


def to_dict(verification: Verification) -> dict[str, Any]:
    """What `docs/cli.md` describes."""
    return {
        "name": verification.graph.name,
        "input": list(verification.graph.input.shape),
        "seed": verification.seed,
        "images": verification.images,
        "agrees": verification.agrees,
        "not_finite": verification.not_finite.path if verification.not_finite else None,
        "checks": [_check(check) for check in verification.checks],
        "left_out": [{"backend": name, "extra": extra} for name, extra in verification.left_out.items()],
        "training": _training(verification.training) if verification.training else None,
    }


def _training(plan: Plan) -> dict[str, Any]:
    return {
        "recipe": plan.recipe.name,
        "default": not plan.own,
        "steps": plan.steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "epochs": plan.recipe.epochs,
        "epochs_of_recipe": plan.epochs,
        "images": plan.images,
        "gradient_accumulation": plan.recipe.gradient_accumulation,
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "backend": check.backend,
        "precision": check.precision,
        "what": check.what,
        "against": check.against,
        "agrees": check.agrees,
        "compared": len(check.comparisons),
        "total": check.total,
        "worst": _comparison(check.worst),
        "first_departing": _comparison(check.first),
        "error": check.error,
        "skipped": check.skipped,
    }


def _comparison(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    span = comparison.node.span
    return {
        "step": comparison.step,
        "name": comparison.name,
        "path": comparison.node.path,
        "op": comparison.node.op.kind,
        "file": span.source.name if span else "",
        "line": span.line if span else 0,
        "column": span.column if span else 0,
        "inputs": [list(shape) for shape in comparison.node.input_shapes],
        "output": list(comparison.node.shape),
        "difference": _finite(comparison.difference),
        "largest": _finite(comparison.scale),
        "tolerance": _finite(comparison.tolerance),
        "problem": comparison.problem,
    }


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if isfinite(value) else None
