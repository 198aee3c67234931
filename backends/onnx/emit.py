"""Where lowerings put what they make: nodes, constants and weights, under names that are free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cnnspec.backends.onnx.model import Attribute, Call, DType, Model, Tensor
from cnnspec.weights.mapping import Weights

if TYPE_CHECKING:
    from cnnspec.graph import Node
    from cnnspec.ops import Shape


class Emitter:
    """Adds nodes to a model. Their names begin with `scope`, a layer's path; `dtype` is the type of all maps."""

    def __init__(self, model: Model, names: set[str], dtype: DType, scope: str) -> None:
        self.model = model
        self.names = names
        self.dtype = dtype
        self.scope = scope

    def free(self, name: str) -> str:
        """`name`, or with a number behind it where it is taken: layers, weights and what helps them share names."""
        found, number = name, 1
        while found in self.names:
            number += 1
            found = f"{name}_{number}"
        self.names.add(found)
        return found

    def emit(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """Add a node, and return the name of its output."""
        name = self.free(f"{self.scope}/{op}")
        self.model.nodes.append(Call(op, name, inputs, name, attributes))
        return name

    def numbers(self, value: Any, what: str = "constant", dtype: DType | None = None) -> str:
        """A constant of the maps' type, or of `dtype`: a number, or numbers in nested sequences."""
        import numpy as np

        array = np.asarray(value, np.float64)
        return self.tensor(what, dtype or self.dtype, array.shape, lambda: array)

    def indices(self, values: tuple[int, ...], what: str) -> str:
        """A constant of whole numbers: a shape, positions or axes."""
        import numpy as np

        return self.tensor(what, "int64", (len(values),), lambda: np.array(values, np.int64))

    def tensor(self, what: str, dtype: DType, shape: tuple[int, ...], load: Callable[[], Any]) -> str:
        """A constant that is computed when it is written."""
        name = self.free(f"{self.scope}/{what}")
        self.model.tensors.append(Tensor(name, dtype, shape, load, weight=False))
        return name


class Layer(Emitter):
    """One layer to be lowered: its settled meaning, the values that it reads, its weights."""

    def __init__(
        self,
        model: Model,
        names: set[str],
        dtype: DType,
        node: Node,
        inputs: tuple[str, ...],
        weights: Mapping[str, Any],
    ) -> None:
        super().__init__(model, names, dtype, node.path)
        self.kind, self.attrs = node.canonical()
        self.inputs = inputs
        self.shapes: list[Shape] = node.input_shapes
        self.shape: Shape = node.shape
        self.params = node.params
        self.weights = weights

    @property
    def x(self) -> str:
        """The value that it reads; the first of several."""
        return self.inputs[0]

    def param(self, name: str, *ones: int) -> str:
        """The parameter `name`, with further axes of 1 behind its own."""
        key = self.key(name)
        self.names.add(key)
        shape = self.params[name].shape + ones
        stored = partial(self.weights.stored, key) if isinstance(self.weights, Weights) else None
        self.model.tensors.append(Tensor(key, self.dtype, shape, lambda: self.weights[key], stored=stored))
        return key

    def given(self, *names: str) -> tuple[str, ...]:
        """Those of the parameters that the layer has."""
        return tuple(self.param(name) for name in names if name in self.params)

    def load(self, name: str) -> Any:
        """The values of a parameter in double precision; None where the layer has none of this name."""
        import numpy as np

        return np.asarray(self.weights[self.key(name)], np.float64) if name in self.params else None

    def key(self, name: str) -> str:
        """What the parameter `name` is called in weight files."""
        return f"{self.scope}.{name}"
