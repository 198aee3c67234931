"""`cnnspec export`: a network and its weights as an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cnnspec.backends.onnx.files import LIMIT, write_model
from cnnspec.backends.onnx.lowering import lower
from cnnspec.backends.onnx.metadata import VERSION, describe
from cnnspec.backends.onnx.preprocess import obstacle
from cnnspec.backends.onnx.table import TABLE
from cnnspec.diagnostics import Report, Source, Span
from cnnspec.graph import Graph
from cnnspec.lower.backend import check_support
from cnnspec.source import locate
from cnnspec.weights.check import check_shapes
from cnnspec.weights.finite import report_odd
from cnnspec.weights.mapping import Given, Weights

ExportPrecision = Literal["fp32", "fp16"]


def export(
    graph: Graph,
    weights: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    case: str = "",
    precision: ExportPrecision = "fp32",
    preprocess: bool = False,
    probabilities: bool = False,
    limit: int = LIMIT,
) -> list[Path]:
    """Write the inference graph of a network to `path`, and return the files that were written.

    Weights are read one at a time. `preprocess` takes uint8 images instead of the network's input, `probabilities`
    gives them instead of logits, `precision` says what is computed with: both take and give float32. Weights of more
    than `limit` bytes go to a file of their own, `path`.data. Infinities and NaN are written, and a warning of them is
    added to `weights.warnings`, if these are `Weights`. Raises `SpecError`, before anything is written, where the
    network cannot be exported or the weights are not its own.
    """
    path = Path(path)
    own = weights if isinstance(weights, Weights) else Given(weights, {})
    report = Report()
    check_support(graph.inference(), "onnx", TABLE.keys(), report)
    if preprocess:
        _check_preprocess(graph, report)
    span = Span(Source(str(path), ""), 0, 0)
    check_shapes(own.shapes, graph, report, f"what is to be written to `{path}`", span)
    report.raise_errors()
    model = lower(
        graph,
        own,
        "float16" if precision == "fp16" else "float32",
        preprocess=preprocess,
        probabilities=probabilities,
    )
    main = graph.outputs[0].node
    between = main.probabilities and main.shape.channels == 1 and len(graph.spec.labels or ()) == 2
    model.metadata = describe(graph.spec, case, own.origin, 2 if between else main.shape.channels)
    model.producer_version = model.metadata[VERSION]
    try:
        written = write_model(model, path, limit)
    except OverflowError as error:
        help = "export with `--precision fp32`"
        report.add("out-of-range", f"{error}", span, help=help)
        report.raise_errors()
        raise
    report_odd(written.odd, f"`{path}`", span, report)
    own.warnings += report.sorted()
    return written.files


def _check_preprocess(graph: Graph, report: Report) -> None:
    spec = graph.spec
    if spec.preprocess is None:
        message = f"`{spec.name}` does not say how images become its input"
        help = "write a `preprocess` section, or export without `--preprocess`"
        report.add("no-preprocess", message, Span(spec.root.span.source, 0, 0), help=help)
    elif reason := obstacle(spec.preprocess, spec.input):
        at = locate(spec.root, ["preprocess"], key=True)
        report.add("no-preprocess", f"the preprocessing cannot be part of the file: {reason}", at)
