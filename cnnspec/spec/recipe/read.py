"""Reads a spec's recipe: the file that `train` names, and the changes to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cnnspec.diagnostics import Label, Report, Source, Span
from cnnspec.source import Mapping, Node, Scalar, read_file
from cnnspec.spec.locate import find, name_beside
from cnnspec.spec.recipe.checks import check_sections
from cnnspec.spec.recipe.hints import HINTS
from cnnspec.spec.recipe.model import Recipe
from cnnspec.spec.values import describe, is_null
from cnnspec.spec.version import check_version

if TYPE_CHECKING:
    from cnnspec.spec.document import Changes, Spec
    from cnnspec.spec.section_reader import SectionReader

_MAX_CHAIN = 16


def load_recipe(
    loader: SectionReader, spec: Spec, reference: str = "", changes: Changes | None = None
) -> Recipe | None:
    """The recipe that the spec's `train` section gives, or the one that `reference` names in place of it.

    `changes` are sections that take the place of its own. Returns None where there is none, or where the report got an
    error.
    """
    node = _reference(reference) if reference else loader.root.get("train")
    if node is None:
        return None
    written = _with_base(node, loader.report, [])
    if written is None:
        return None
    if changes:
        written = _over({name: (Scalar(name, name, item.span), item) for name, item in changes.items()}, written)
    key = node.span if reference or isinstance(node, Scalar) else loader.root.key("train").span
    recipe = loader.validate(written, key, "train", Recipe, spec.values, hints=HINTS)
    if recipe is None:
        return None
    recipe._node = written
    own = Report()
    check_sections(recipe, spec, own)
    return recipe if told(own, spec, loader.report, reference) else None


def told(own: Report, spec: Spec, report: Report, reference: str = "") -> bool:
    """Pass on how a recipe does not fit. False where it is inherited, and left out with a warning."""
    extends, train = spec.root.get("extends"), spec.root.get("train")
    if not own.failed or reference or not extends or not train or not spec.newer(extends.span, train.span):
        report.extend(own.diagnostics)
        return True
    first = own.sorted()[0]
    report.add(
        "recipe-dropped",
        "the inherited recipe does not fit this network, and is left out",
        extends.span,
        related=[Label(first.span, first.message)],
        help="write a `train` section for this network, or `train: null`",
    )
    return False


def _reference(name: str) -> Node:
    return Scalar(name, name, Span(Source("--recipe", name), 0, len(name)))


def _with_base(node: Node, report: Report, seen: list[Path]) -> Mapping | None:
    """A recipe's sections over those of the one it is based on: a section replaces, null removes.

    Its description goes where anything is changed: it may not be true any more.
    """
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
    own = {key: entry for key, entry in node.entries.items() if key != "recipe"}
    kept = {key: entry for key, entry in below.entries.items() if not own or key != "description"}
    return _over(own, Mapping(kept, node.span))


def _over(sections: dict[str, tuple[Scalar, Node]], below: Mapping) -> Mapping:
    merged = below.entries | sections
    return Mapping({key: entry for key, entry in merged.items() if not is_null(entry[1])}, below.span)


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
    root = read_file(path, name_beside(path, name), report)
    if root is None:
        return None
    if not isinstance(root, Mapping):
        report.add("bad-value", f"a recipe is a mapping, this is {describe(root)}", root.span)
        return None
    first = next(iter(root.entries.values()), None)
    check_version(root, report, "recipe", first[0].span if first else root.span)
    sections = {key: entry for key, entry in root.entries.items() if key != "cnnspec"}
    return _with_base(Mapping(sections, root.span), report, [*seen, real])
