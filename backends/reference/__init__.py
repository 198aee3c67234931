"""The reference backend: every op defined in a few lines of NumPy, in float64 where exactness counts.

It is what the other backends are compared with, and is written to be read, not to be fast.
"""

from collections.abc import Collection

from cnnspec.backends.reference.run import Reference
from cnnspec.backends.reference.table import TABLE, apply
from cnnspec.graph import Graph
from cnnspec.lower.backend import Precision, Weights


class _Backend:
    name = "reference"
    extra = ""
    packages: tuple[str, ...] = ("numpy",)
    kinds: Collection[str] = TABLE.keys()
    precisions: tuple[Precision, ...] = ("float64", "float32")

    apply = staticmethod(apply)
    """One layer by itself."""

    def runner(self, graph: Graph, weights: Weights, precision: Precision) -> Reference:
        """The network with `weights`, ready to run."""
        return Reference(graph, weights, precision)


BACKEND = _Backend()
