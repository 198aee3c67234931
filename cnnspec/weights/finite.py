"""Infinities and NaN in weights: they are written, and said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnspec.diagnostics import Report, Span
from cnnspec.weights.check import GIVEN, GIVEN_SPAN, listed
from cnnspec.weights.mapping import Weights

_LARGEST = (0x7F, 0xFF)  # what the highest byte of a float32 is, by its sign, from 2^127 on


def finite(values: Any) -> bool:
    """Whether all numbers of an array are, or all float32 in bytes, little-endian."""
    if isinstance(values, bytearray):
        highest = values[3::4]
        if highest.find(_LARGEST[0]) < 0 and highest.find(_LARGEST[1]) < 0:
            return True  # without NumPy, whose import takes longer than most files
    import numpy as np

    array = np.frombuffer(values, "<f4") if isinstance(values, bytearray) else values
    with np.errstate(invalid="ignore"):  # both ends are NaN where one value is
        return not array.size or bool(np.isfinite([array.min(), array.max()]).all())


def warn_of_odd(weights: Weights) -> None:
    """Add a warning to weights that hold infinities or NaN, once."""
    if any(warning.slug == "not-finite" for warning in weights.warnings):
        return
    report = Report()
    odd = [key for key in weights if not finite(weights[key])]
    report_odd(odd, GIVEN, GIVEN_SPAN, report)
    weights.warnings += report.sorted()


def report_odd(odd: Sequence[str], where: str, span: Span, report: Report) -> None:
    """Warn that these parameters are not finite, if there are any; `where` is what holds them."""
    if odd:
        many = f"{len(odd)} parameter{'s' * (len(odd) > 1)}"
        report.add("not-finite", f"{where} holds infinities or NaN in {many}: {listed(odd)}", span)
