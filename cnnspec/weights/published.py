"""Weights that others publish, by name: what is known of them lies in `published/` beside the specs.

A file there is of one publisher, torchvision or keras. It has the address that its files are at and, for every network,
what these are called: the file, its checksum as far as the publisher states it, and the preprocessing and labels that
belong to it. What is said at the top is true of all that do not say otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, ValidationError, model_validator

from cnnspec.diagnostics import Diagnostic, Report, Source, Span
from cnnspec.graph import Graph, build_graph
from cnnspec.source import Mapping, grown, locate, plain, read_file
from cnnspec.spec.document import Changes, Spec
from cnnspec.spec.loader import load_spec
from cnnspec.spec.locate import zoo_folder
from cnnspec.spec.problems import report_invalid
from cnnspec.spec.sections import PreprocessSection
from cnnspec.spec.tagged import Strict
from cnnspec.weights.check import listed, replaced_keys, way_out
from cnnspec.weights.contract import contract

PUBLISHERS = ("torchvision", "keras")

_SIZES = ("resize", "resize_to", "interpolation", "crop")
_PIXELS = ("channel_order", "scale", "mean", "std")


class _File(Strict):
    """A file, below the publisher's address. `sha256` may be its first digits; `without` names layers it has not."""

    file: str
    sha256: str = ""
    md5: str = ""
    accuracy: list[float] = []
    preprocess: dict[str, Any] = {}
    labels: str | None = None
    without: list[str] = []

    @model_validator(mode="after")
    def _has_checksum(self) -> _File:
        if bool(self.sha256) == bool(self.md5):
            raise ValueError("expected a checksum, `sha256` or `md5`")
        return self


def _kind(value: Any) -> str:
    return "name" if isinstance(value, str) else "file"


_Entry = Annotated[Annotated[_File, Tag("file")] | Annotated[str, Tag("name")], Discriminator(_kind)]


class _Publisher(Strict):
    """What one publisher has, by network and name; a text in place of a file is another name for one."""

    address: str
    labels: str | None = None
    preprocess: dict[str, Any] = {}
    networks: dict[str, dict[str, _Entry]]


@dataclass(frozen=True)
class Published:
    """A file of weights, published by `publisher` as `name` for the network of a spec, and what belongs to it."""

    publisher: str
    name: str
    aliases: tuple[str, ...]
    spec: Path
    """The file of the network that it is for."""
    url: str
    algorithm: Literal["sha256", "md5"]
    checksum: str
    """In hexadecimal; of a SHA-256, as many digits as the publisher states."""
    preprocess: PreprocessSection
    accuracy: tuple[float, ...]
    """Top-1 and top-5, in percent, as the publisher states them; empty if it does not."""
    without: tuple[str, ...]
    labels_file: Path | None

    @property
    def reference(self) -> str:
        """How it is asked for, `torchvision:IMAGENET1K_V1`."""
        return f"{self.publisher}:{self.name}"

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @cached_property
    def labels(self) -> list[str] | None:
        """The classes that it was trained on."""
        if self.labels_file is None:
            return None
        report = Report()
        root = read_file(self.labels_file, self.labels_file.name, report)
        report.raise_errors()
        assert root, "what is read without an error is a tree"
        return [str(name) for name in plain(root) or ()]  # type: ignore[union-attr]  # a list of names


def published(spec: Spec, publisher: str = "") -> list[Published]:
    """What is published for a spec, by `publisher` or by all; for one's own spec, that of the network it is made of."""
    zoo = zoo_folder().resolve()
    found = []
    for name in (publisher,) if publisher else PUBLISHERS:
        for file in _origins(spec):
            entries = _entries(file, name)
            if entries or file.parent == zoo:  # which says of every network of its own what there is
                found += entries
                break
    return found


def _origins(spec: Spec) -> Iterator[Path]:
    """The files that a spec may be the network of: its own, the zoo's of the same name, and what it extends."""
    zoo = zoo_folder().resolve()
    copied = zoo / f"{spec.name}.yaml"
    own = [file for file in spec.files if file.parent != zoo]
    yield from own
    if copied.is_file():
        yield copied
    yield from (file for file in spec.files if file not in own)


def _entries(file: Path, publisher: str) -> list[Published]:
    """What a publisher has for the network in `file`. Raises `SpecError` where the list of it cannot be read."""
    path = file.parent / "published" / f"{publisher}.yaml"
    if not path.is_file():
        return []
    content, root = _read(path)
    known = content.networks.get(file.stem, {})
    names: dict[str, list[str]] = {name: [] for name, entry in known.items() if isinstance(entry, _File)}
    for alias, entry in known.items():
        if isinstance(entry, str) and entry in names:
            names[entry].append(alias)
    found = []
    for name, aliases in names.items():
        entry = known[name]
        assert isinstance(entry, _File), "these have no other names"
        section = _section({**content.preprocess, **entry.preprocess}, root)
        labels = entry.labels if "labels" in entry.model_fields_set else content.labels
        found.append(
            Published(
                publisher,
                name,
                tuple(aliases),
                file,
                f"{content.address}/{entry.file}",
                "sha256" if entry.sha256 else "md5",
                entry.sha256 or entry.md5,
                section,
                tuple(entry.accuracy),
                tuple(entry.without),
                file.parent / "labels" / f"{labels}.yaml" if labels else None,
            )
        )
    return found


def _read(path: Path) -> tuple[_Publisher, Mapping]:
    report = Report()
    root = read_file(path, path.name, report)
    if isinstance(root, Mapping):
        try:
            return _Publisher.model_validate(plain(root)), root
        except ValidationError as error:
            _refuse(error, root, report)
    elif root is not None:
        report.add("bad-value", "what is published is a mapping with `address` and `networks`", root.span)
    report.raise_errors()
    raise AssertionError("what cannot be read is an error")


def _section(values: dict[str, Any], root: Mapping) -> PreprocessSection:
    try:
        return PreprocessSection.model_validate(values)
    except ValidationError as error:
        report = Report()
        _refuse(error, root, report)
        report.raise_errors()
        raise


def _refuse(error: ValidationError, root: Mapping, report: Report) -> None:
    report_invalid(
        error,
        report,
        lambda loc, key: locate(root, loc, key=key),
        what="what is published",
        known=lambda loc: (),
    )


def find(publisher: str, name: str, graph: Graph, report: Report) -> Published | None:
    """The weights called `name` that `graph` can take; None with the reason in `report` where there are none."""
    text = f"{publisher}:{name}"
    span = Span(Source(text, ""), 0, 0)
    known = published(graph.spec, publisher)
    found = next((entry for entry in known if name in (entry.name, *entry.aliases)), None)
    if not known:
        others = ", ".join(f"`{entry.reference}`" for entry in published(graph.spec))
        help = f"known here: {others}" if others else "`torchvision:FILE` and `keras:FILE` read a file"
        report.add(
            "unknown-published", f"`{graph.name}` has no published weights under `{publisher}:`", span, help=help
        )
    elif found is None:
        message = f"`{publisher}:` has no weights called `{name[:60]}` for `{graph.name}`"
        names = ", ".join(f"`{name}`" for entry in known for name in (entry.name, *entry.aliases))
        report.add("unknown-published", message, span, help=f"known here: {names}")
    elif other := _differences(found, graph):
        count = f"{len(other)} parameter{'s' * (len(other) > 1)}"
        message = f"`{text}` is for `{found.spec.stem}` as it stands, and {count} differ{'s' * (len(other) == 1)} here"
        if all(key.startswith(_lacking(found)) for key in other):
            message = f"`{text}` has no values for {count}"
        help = way_out(graph, lambda under: not _differences(found, under))
        help = help or "only a transfer case that replaces these layers can take them"
        report.add("published-mismatch", f"{message}: {listed(other)}", span, help=help)
    return None if report.failed else found


def _differences(entry: Published, graph: Graph) -> list[str]:
    """The parameters for which a file has no value that fits: of what is read from it, missing, left over or other."""
    report = Report()
    spec = load_spec(str(entry.spec), {}, report)
    reference = build_graph(spec, report) if spec else None
    report.raise_errors()
    assert reference, "a spec without errors has a graph"
    theirs = {key: param.shape for key, param in contract(reference).items()}
    ours = {key: param.shape for key, param in contract(graph).items()}
    gone = replaced_keys(graph, theirs)
    return [
        key
        for key in {**ours, **theirs}
        if key not in gone and (ours.get(key) != theirs.get(key) or key.startswith(_lacking(entry)))
    ]


def _lacking(entry: Published) -> tuple[str, ...]:
    """What the keys begin with for which a file has no values."""
    return tuple(f"{path}." for path in entry.without)


def _known(spec: Spec, origin: Dict[str, str]) -> Published | None:
    """The published weights that an origin names, if it does."""
    publisher, _, name = origin.get("from", "").partition(":")
    known = published(spec, publisher) if publisher in PUBLISHERS else []
    return next((entry for entry in known if entry.name == name), None)


def suited(graph: Graph, origin: Dict[str, str], *, labels: bool = True) -> tuple[Graph, list[Diagnostic]]:
    """The network with the preprocessing that belongs to its weights, and with their `labels` if its head is theirs.

    `origin` says where they come from; files that are made of published ones say it too, and those of runs that began
    with them, whose labels are those of their data. Where something is other than the spec has it, a warning says so.
    """
    entry = _known(graph.spec, origin)
    if entry is None:
        return graph, []
    spec, changed = graph.spec, []
    section = _suited_section(entry, spec)
    before, after = (spec.preprocess or PreprocessSection()).model_dump(), section.model_dump()
    if after != before:
        spec = replace(_with(spec, "preprocess", _written(section)), preprocess=section)
        values = ", ".join(f"{name} {value}" for name, value in after.items() if value != before[name])
        changed.append(f"preprocessing ({values})")
    names = entry.labels if labels and "trained_on" not in origin and _keeps_head(graph) else None
    if names is not None and names != spec.labels:
        if spec.labels is not None:
            changed.append("labels")
        spec = replace(_with(spec, "labels", list(names)), labels=names)
    if spec is graph.spec:
        return graph, []
    notes = []
    if changed:
        message = f"`{entry.reference}` brings its own {' and '.join(changed)}, in place of the spec's"
        notes.append(Diagnostic("published-preprocess", message, Span(Source(entry.reference, ""), 0, 0)))
    return replace(graph, spec=spec), notes


def _with(spec: Spec, key: str, value: Any) -> Spec:
    changes: Changes = {key: grown(value, Span(Source("", ""), 0, 0))}
    return spec.with_sections(changes)


def _suited_section(entry: Published, spec: Spec) -> PreprocessSection:
    """Pixels as the weights had them; sizes too if the input is what images were cropped to, else those of the spec."""
    own, theirs = spec.preprocess or PreprocessSection(), entry.preprocess
    channels, *size = spec.input
    if any(isinstance(value, list) and len(value) != channels for value in (theirs.mean, theirs.std)):
        return own  # the first layer is another, and starts anew
    sizes = theirs if theirs.crop == tuple(size) else own
    kept = {name: value for name, value in _written(sizes).items() if name in _SIZES}
    values = kept | {name: value for name, value in _written(theirs).items() if name in _PIXELS}
    return PreprocessSection.model_validate(values)


def _written(section: PreprocessSection) -> dict[str, Any]:
    """What a section says, as it would be written."""
    values: dict[str, Any] = json.loads(json.dumps(section.model_dump(exclude_unset=True)))  # without tuples
    return values


def _keeps_head(graph: Graph) -> bool:
    """Whether every layer of the network is the original's, so that its outputs mean what they did."""
    if graph.transfer is None:
        return True
    return not any(graph.transfer.starts_anew(node.path) for node in graph.inference().nodes if node.params)
