"""The operations of the language, each declared once: its options, shape, parameters, MACs and meaning.

A leaf of the package but for `cnnspec.expr`'s way of showing values. To add an op, write a class here; the language,
the JSON Schema, the reference and every test that walks `OPS` take it from there.
"""

from cnnspec.ops import activation, conv, layout, merge, norm, pool
from cnnspec.ops.base import OPS, Canonical, Field, Op, OpError, Param
from cnnspec.ops.shapes import Maps, Shape, Vector, elements

__all__ = [
    "OPS",
    "Canonical",
    "Field",
    "Maps",
    "Op",
    "OpError",
    "Param",
    "Shape",
    "Vector",
    "activation",
    "conv",
    "elements",
    "layout",
    "merge",
    "norm",
    "pool",
]
