"""Whether an array agrees with what is expected, and within which tolerance it must."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cnnspec.graph.model import Node
from cnnspec.lower.backend import Precision

RELATIVE: dict[Precision, float] = {"float64": 1e-9, "float32": 1e-5}
"""What may lie between two arrays, as a part of the largest value expected.

In float64 right networks of any depth come to about 1e-12, and no mistake of meaning to less than 1e-6. In float32
roundings alone reach 1e-5 after some dozens of layers, and more than that in deeper networks.
"""
SELF_ERROR = 4
"""In float32 it may also be so many times the error of the reference's own float32, which grows with the depth."""
ROUNDED_GRADIENT = 1e-4
"""The part for gradients in float64 where a framework has some numbers of the network in float32.

In both cases they may also be `SELF_ERROR` times as far off as some roundings of the images put them: in deep networks
that comes to more.
"""
SMALLEST_GRADIENT = 1e-2
"""A gradient is measured against no less than this part of the network's largest one.

Some are zero in theory, as that of a bias before a batch norm, and in practice what is left of large terms; of which
several batch norms in turn make more, where all images have nearly one value.
"""
SMALLEST_STEP = 1e-3
"""In training, a parameter is measured against no less than this part of the network's largest one."""


class Comparison(NamedTuple):
    """One array against the one expected, both called `name`: the path of the layer, or the key of its parameter.

    `difference` is the largest one, `scale` the largest value expected. `problem` says why they cannot be compared.
    """

    name: str
    node: Node
    difference: float
    scale: float
    tolerance: float
    problem: str = ""
    step: int = 0
    """Of training, from 1; its `name` is then `loss`, a parameter's key, or `average of` one."""

    @property
    def agrees(self) -> bool:
        """Whether it is near enough."""
        return not self.problem and self.difference <= self.tolerance

    @property
    def used(self) -> float:
        """Which part of the tolerance the difference takes."""
        if self.problem:
            return float("inf")
        return self.difference / self.tolerance if self.difference else 0.0


def tolerance(precision: Precision, scale: float, self_error: float = 0.0) -> float:
    """How far from expected values, the largest of which is `scale`, an array may lie."""
    own = SELF_ERROR * self_error if precision == "float32" else 0.0
    return max(RELATIVE[precision] * scale, own)


def compare(name: str, node: Node, found: Any, expected: Any, scale: float, allowed: float) -> Comparison:
    """Compare two arrays. What is not finite agrees with nothing."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        problem = f"its shape is {shown(found.shape)} instead of {shown(expected.shape)}"
        return Comparison(name, node, float("inf"), scale, allowed, problem)
    if not np.isfinite(found).all():
        problem = f"{np.count_nonzero(~np.isfinite(found))} of its {found.size} values are not finite"
        return Comparison(name, node, float("inf"), scale, allowed, problem)
    return Comparison(name, node, largest(found, expected), scale, allowed)


def largest(found: Any, expected: Any = 0.0) -> float:
    """The largest distance of two arrays, or the largest value of one."""
    apart: float = np.abs(np.subtract(found, expected, dtype=np.float64)).max(initial=0.0)
    return float(apart)


def shown(shape: tuple[int, ...]) -> str:
    """A shape as 3×8×8."""
    return "×".join(map(str, shape)) or "that of a number"
