"""What every op states about itself, and the registry of all of them."""

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict

from cnnspec.ops.shapes import Maps, Shape, Vector


class OpError(Exception):
    """An op that cannot take its inputs: `field` names the option to blame, if it is one."""

    def __init__(self, slug: str, message: str, *, field: str = "", help: str = "") -> None:
        super().__init__(message)
        self.slug = slug
        self.message = message
        self.field = field
        self.help = help


class Param(NamedTuple):
    """A parameter tensor in canonical layout (PyTorch's). Running statistics are not trainable."""

    shape: tuple[int, ...]
    trainable: bool = True

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


class Field(NamedTuple):
    """How an output pixel sees its input, per axis as (height, width): window `extent` and `step` between windows."""

    extent: tuple[int, int] = (1, 1)
    step: tuple[float, float] = (1, 1)


class Canonical(NamedTuple):
    """An op's settled meaning: a primitive `kind` with attributes that leave nothing to interpret.

    Backends translate these alone. Windows are in pixels: `pads`, `crop` and `edges` are (top, left, bottom, right),
    `kernel`, `stride`, `dilation`, `overhang` and `factor` (height, width).
    """

    kind: str
    attrs: dict[str, Any]


class Op(BaseModel):
    """One operation of the graph: its options as fields, its rules as methods.

    A subclass's docstring is the op's normative meaning; backends lower what it says. Every rule is a function of the
    op's fields and of the input shapes alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    kind: ClassVar[str] = ""
    """Its name in the language."""
    label: ClassVar[str] = ""
    """The name that an unnamed layer of this kind gets; the kind, if empty."""
    main: ClassVar[str] = ""
    """The field that the layer's own value fills, as in `{conv: 64}`."""
    attaches: ClassVar[tuple[str, ...]] = ()
    """Which of `norm` and `activation` a layer of this kind may carry."""
    merges: ClassVar[bool] = False
    """Whether it takes several inputs."""
    parameterised: ClassVar[bool] = False
    """Whether it owns weights or statistics."""
    drops: ClassVar[bool] = False
    """Whether it drops values at random in training, and does nothing else."""
    role: ClassVar[str] = ""
    """`norm` or `activation`, for an op that may be attached to another as such."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if "kind" in cls.__dict__:
            if not cls.label:
                cls.label = cls.kind
            OPS[cls.kind] = cls

    def parts(self) -> tuple["Part", ...]:
        """The ops that stand for it in the graph, one after the other; none for an op that stands there itself."""
        return ()

    def doubt(self) -> OpError | None:
        """What is allowed and yet hardly meant, if anything: shown as a warning."""
        return None

    def check(self) -> None:
        """Raise `OpError` for what no input could make right. `shape` finds that too; this is for unknown inputs."""

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        """The shape of the output. Raises `OpError` where the op cannot take these inputs."""
        raise NotImplementedError

    def params(self, inputs: Sequence[Shape]) -> dict[str, Param]:
        """The op's parameters by name, in canonical layout."""
        return {}

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        """Multiply-adds for one sample."""
        return 0

    def field(self, inputs: Sequence[Shape]) -> Field:
        """The window through which an output pixel sees the input."""
        return Field()

    def canonical(self, inputs: Sequence[Shape]) -> Canonical:
        """What it means on these inputs, for backends to translate."""
        return Canonical(self.kind, {name: getattr(self, name) for name in type(self).model_fields})


class Part(NamedTuple):
    """One of several ops that stand for one layer: its label, and the options of the layer that are its own."""

    label: str
    op: Op
    options: tuple[str, ...]


OPS: dict[str, type[Op]] = {}
"""Every op of the language by kind."""


class Elementwise(Op):
    """An op that leaves the shape as it is."""

    def shape(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]


def maps(inputs: Sequence[Shape], kind: str) -> Maps:
    """The only input as feature maps. Raises `OpError` for a vector."""
    (shape,) = inputs
    if isinstance(shape, Maps):
        return shape
    raise OpError(
        "wrong-rank",
        f"`{kind}` works on feature maps (channels×height×width), its input is a vector of {shape}",
        help="put it before `flatten` or the global pool",
    )


def vector(inputs: Sequence[Shape], kind: str) -> Vector:
    """The only input as a vector. Raises `OpError` for feature maps."""
    (shape,) = inputs
    if isinstance(shape, Vector):
        return shape
    raise OpError(
        "wrong-rank",
        f"`{kind}` works on a vector, its input is {shape}",
        help="put `flatten` or `global_avg_pool` before it",
    )
