"""Reads a spec's recipe: the file that `train` names, the changes to it, and whether its sections fit together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cnnspec.diagnostics import Report, Source, Span
from cnnspec.source import Mapping, Node, Scalar, read_file
from cnnspec.spec.locate import find
from cnnspec.spec.parser import describe, is_null
from cnnspec.spec.recipe.checks import check_sections
from cnnspec.spec.recipe.model import Recipe
from cnnspec.spec.version import check_version

if TYPE_CHECKING:
    from cnnspec.spec.document import Spec
    from cnnspec.spec.loader import _Loader

_MAX_CHAIN = 16

HINTS = {
    "lr": "it is called `learning_rate`",
    "beta_1": "`betas` is [beta_1, beta_2]",
    "beta_2": "`betas` is [beta_1, beta_2]",
    "eps": "it is called `epsilon`",
    "alpha": "it is called `rho`",
    "weight_decay": "`l2` is added to the gradient (PyTorch's `weight_decay`), "
    "`decoupled_weight_decay` is apart from it (Keras's, and `adamw`'s)",
    "mode": "it follows from the monitor: a loss is better when lower, a metric when higher",
    "gamma": "it is called `factor`",
    "decay_rate": "it is called `factor`",
    "step_size": "it is called `every`",
    "eta_min": "it is called `minimum`",
    "min_lr": "it is called `minimum`",
    "T_max": "the cosine ends with training, or at `until`",
    "T_0": "`restarts: {every: …}`",
    "T_mult": "`restarts: {growth: …}`",
    "pct_start": "it is called `rise`",
    "div_factor": "it is called `initial_divisor`",
    "final_div_factor": "it is called `final_divisor`",
    "max_norm": "it is called `maximum`",
    "clipnorm": "`clip: {parameter_norm: …}`",
    "clipvalue": "`clip: {value: …}`",
    "global_clipnorm": "`clip: {global_norm: …}`",
    "restore_best_weights": "it is called `restore_best`",
    "xavier_uniform": "it is called `glorot_uniform`",
    "xavier_normal": "it is called `glorot_normal`",
    "kaiming_uniform": "it is called `he_uniform`",
    "kaiming_normal": "it is called `he_normal`",
    "StepLR": "it is called `step`",
}
"""Help for the names that PyTorch and Keras use."""


def load_recipe(loader: _Loader, spec: Spec, reference: str = "") -> Recipe | None:
    """The recipe that the spec's `train` section gives, or the one that `reference` names in place of it.

    Returns None where there is none, or where the report got an error.
    """
    node = _reference(reference) if reference else loader.root.get("train")
    if node is None:
        return None
    written = _with_base(node, loader.report, [])
    if written is None:
        return None
    key = node.span if reference or isinstance(node, Scalar) else loader.root.key("train").span
    recipe = loader.validate(written, key, "train", Recipe, spec.values, hints=HINTS)
    if recipe is None:
        return None
    recipe._node = written
    check_sections(recipe, spec, loader.report)
    return recipe


def _reference(name: str) -> Node:
    return Scalar(name, name, Span(Source("--recipe", name), 0, len(name)))


def _with_base(node: Node, report: Report, seen: list[Path]) -> Mapping | None:
    """The sections of a recipe over those of the one that it is based on: a section replaces, null removes."""
    if isinstance(node, Scalar) and node.text and not is_null(node):
        return _from_file(node, report, seen)
    if not isinstance(node, Mapping):
        report.add("bad-value", f"`train` is the name of a recipe or a mapping, got {describe(node)}", node.span)
        return None
    base = node.get("recipe")
    below: Mapping | None = Mapping({}, node.span)
    if base is not None and not is_null(base):
        if not isinstance(base, Scalar):
            report.add("bad-value", f"`recipe` names one recipe, got {describe(base)}", base.span)
            return None
        below = _from_file(base, report, seen)
    if below is None:
        return None
    sections = {key: entry for key, entry in (below.entries | node.entries).items() if key != "recipe"}
    return Mapping({key: entry for key, entry in sections.items() if not is_null(entry[1])}, node.span)


def _from_file(name: Scalar, report: Report, seen: list[Path]) -> Mapping | None:
    """The sections of the recipe called `name`, found from the file in which that name is written."""
    source = name.span.source.path
    path = find(name.text, report, relative_to=source.parent if source else None, span=name.span, within="recipes")
    if path is None:
        return None
    real = path.resolve()
    if real in seen or len(seen) >= _MAX_CHAIN:
        chain = " → ".join(p.stem for p in [*seen, real])
        report.add("cyclic-extends", f"recipes are based on each other in a circle: {chain}", name.span)
        return None
    root = read_file(path, path.name, report)
    if root is None:
        return None
    if not isinstance(root, Mapping):
        report.add("bad-value", f"a recipe is a mapping, this is {describe(root)}", root.span)
        return None
    first = next(iter(root.entries.values()), None)
    check_version(root, report, "recipe", first[0].span if first else root.span)
    sections = {key: entry for key, entry in root.entries.items() if key != "cnnspec"}
    return _with_base(Mapping(sections, root.span), report, [*seen, real])
