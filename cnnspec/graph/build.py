"""A spec's graph with a transfer case applied, and the check that every case of a spec can be."""

from __future__ import annotations

from cnnspec.diagnostics import Label, Report, Source, Span, did_you_mean
from cnnspec.graph.expand import expand
from cnnspec.graph.freeze import Treatment, apply_case, starting_anew
from cnnspec.graph.model import Graph, Transferred
from cnnspec.graph.prune import drop_idle_heads
from cnnspec.ops import Vector
from cnnspec.source import locate
from cnnspec.spec.document import Spec
from cnnspec.spec.problems import listed
from cnnspec.spec.transfer import Case, written


def build_graph(spec: Spec, report: Report, transfer: str = "") -> Graph | None:
    """The graph of `spec`, as it is, or under the transfer case `transfer`; None where `report` got an error."""
    if transfer:
        return _with_case(spec, report, transfer)
    graph = expand(spec, report)
    if graph:
        _check_labels(graph, report)
        _check_classes(graph, report)
    return graph


def check_cases(spec: Spec, graph: Graph, report: Report) -> None:
    """Report what is wrong with the transfer section: every case is applied once."""
    transfer = spec.read_transfer(report)
    if transfer is None:
        return
    section = transfer.section
    paths = _paths(graph)
    own = Report()
    for path in (*section.head, *section.boundaries):
        _check_path(path, paths, own, written(transfer.node, path))
    for case in transfer.cases.values():
        _apply(spec, case, own, graph)
    _tell(own, spec, report)


def _tell(own: Report, spec: Spec, report: Report) -> None:
    """Pass on what is wrong with transfer cases.

    What an inherited section says of layers that the file has since replaced is one mistake, of these layers.
    """
    layers = spec.root.key("layers").span
    stale = [d for d in own.diagnostics if spec.newer(layers, d.span)]
    missing = [d for d in stale if d.slug in ("unmatched-path", "unknown-layer")]
    report.extend(d for d in own.diagnostics if not (missing and d in stale))
    if missing:
        names = list(dict.fromkeys(d.span.text.strip("'\"") for d in missing))
        report.add(
            "unmatched-path",
            f"the inherited `transfer` section is for other layers: there is no {_some(names)}",
            layers,
            related=[Label(missing[0].span, "")],
            help="write a `transfer` section for these layers, or `transfer: null`",
        )


def _some(names: list[str]) -> str:
    if len(names) <= 4:
        return listed(names)
    return f"{', '.join(f'`{name}`' for name in names[:3])} and {len(names) - 3} more"


def _with_case(spec: Spec, report: Report, name: str) -> Graph | None:
    read, own = Report(), Report()
    transfer = spec.read_transfer(read)
    cases = transfer.cases if transfer else {}
    graph = None
    if name in cases:
        plain = expand(spec, report)
        graph = _apply(spec, cases[name], own, plain) if plain else None
        _tell(own, spec, report)
    elif not read.failed:
        source = Source("--transfer", name)
        message = f"`{spec.name}` has no transfer case `{name[:60]}`"
        report.add("unknown-case", message, Span(source, 0, len(name)), help=did_you_mean(name, cases))
    report.extend(read.diagnostics)
    return None if report.failed else graph


def _apply(spec: Spec, case: Case, report: Report, plain: Graph) -> Graph | None:
    """The graph under a case; `plain` is the network as it is. Mistakes of other cases do not matter here."""
    own = Report()
    paths = _paths(plain)
    known = [
        _check_path(path, paths, own, written(case.node.get("replace"), path)) for path in (*case.replace, *case.anew)
    ]
    graph = expand(spec, own, case) if all(known) else plain
    treatment = apply_case(graph, case, own) if graph else Treatment()
    if graph and all(known):
        _check_dropped(graph, case, own)
    report.extend(own.diagnostics)
    if own.failed or graph is None:
        return None
    graph.frozen, graph.starts, graph.factors = treatment
    left_out = drop_idle_heads(graph)
    anew = tuple(path for path in starting_anew(case) if path.split(".")[0] not in left_out)
    graph.transfer = Transferred(case.name, plain, anew, left_out)
    _check_classes(graph, report)
    return graph


def _check_path(path: str, paths: set[str], report: Report, span: Span) -> bool:
    if path in paths:
        return True
    report.add("unmatched-path", f"no layer has the path `{path[:60]}`", span, help=did_you_mean(path, paths))
    return False


def _check_dropped(graph: Graph, case: Case, report: Report) -> None:
    """What `features` drops cannot be replaced."""
    if not case.features:
        return
    paths = _paths(graph)
    for path in (*case.replace, *case.anew):
        if path not in paths:
            report.add(
                "no-effect",
                f"`{path[:60]}` lies behind the features, where everything is dropped: nothing is left to replace",
                written(case.node.get("replace"), path),
                help="the new classifier is in `features`; `replace` is for layers before that",
            )


def _paths(graph: Graph) -> set[str]:
    """The paths of all layers and of what contains them."""
    paths: set[str] = set()
    for node in graph.nodes:
        parts = node.path.split(".")
        paths.update(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return paths


def _check_labels(graph: Graph, report: Report) -> None:
    labels, main = graph.spec.labels, graph.outputs[0].node
    if labels is None or not isinstance(main.shape, Vector):
        return
    two = len(labels) == 2 and main.shape.channels == 1 and main.probabilities  # one sigmoid between two classes
    if len(labels) != main.shape.channels and not two:
        report.add(
            "label-count",
            f"{len(labels)} labels for {main.shape.channels} outputs",
            locate(graph.spec.root, ["labels"]),
        )


def _check_classes(graph: Graph, report: Report) -> None:
    """Where a parameter counts the classes, the main output has a value for each, or one for two of them.

    Layers of a variant that inherits the parameter, and leaves it as it is, count for themselves.
    """
    spec, node = graph.spec, graph.outputs[0].node
    classes, found = spec.params.get("classes"), node.shape.channels
    if not isinstance(classes, int) or not isinstance(node.shape, Vector) or found in (classes, classes == 2):
        return
    while not node.params and len(node.inputs) == 1 and node.inputs[0].shape.channels == found:
        (node,) = node.inputs  # which has as many values: what comes behind it only passes them on
    counted = locate(spec.root, ["params", "classes"])
    span = node.span or counted
    if "classes" not in spec.parser.given and spec.newer(span, counted):
        return
    report.add(
        "class-count",
        f"the network ends in {found} value{'s' * (found > 1)}, and `classes` is {classes}",
        span,
        help="`$classes` stands for the number, and `--set classes=N` or `params` changes it",
        path=node.path,
    )
