"""What a recipe's weights start from, as Keras code, for runs that are given no weight file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnspec.backends.keras.optimizer_text import SNIPPETS, Printed
from cnnspec.backends.keras.table import SEPARATOR
from cnnspec.lower.python import call, lines, literal
from cnnspec.spec.recipe import initializer as start

if TYPE_CHECKING:
    from cnnspec.lower.program import Program
    from cnnspec.spec.recipe.model import Recipe

_FANS = {"fan_in": "fan_in", "fan_out": "fan_out", "fan_average": "(fan_in + fan_out) / 2"}
_CONVS = ("conv", "depthwise_conv", "transposed_conv")


def start_text(program: Program, recipe: Recipe) -> Printed:
    """`init_weights(model)`; nothing where Keras starts from the same."""
    text = _Text(program, recipe.initializers)
    return Printed((text.function(),), tuple(text.wanted)) if text.needed else Printed((), ())


class _Text:
    def __init__(self, program: Program, section: start.Initializers) -> None:
        kinds = {node.canonical().kind for node in program.graph.nodes}
        self.section = section
        self.convolutions = bool(kinds & set(_CONVS))
        self.dense = "dense" in kinds
        self.prelu = "prelu" in kinds
        glorot = isinstance(section.conv, start.GlorotUniform) and isinstance(section.dense, start.GlorotUniform)
        usual = glorot and isinstance(section.bias, start.Zeros) and not section.layers
        self.needed = not usual or self.prelu or bool(kinds & {"depthwise_conv", "transposed_conv"})
        self.wanted: set[str] = set()

    def function(self) -> str:
        """The whole function."""
        section = self.section
        body = []
        if self.convolutions or self.dense:
            kernel = self.kernel()
            body += ['        if hasattr(layer, "kernel"):']
            head = len(body)
            body += kernel
            body[head:head] = self.fans(kernel)
        if self.prelu:
            body += ["        if isinstance(layer, keras.layers.PReLU):"]
            body += ["            layer.alpha.assign(0.25 * np.ones(layer.alpha.shape))"]
        for pattern, own in section.layers.items():
            body += self.own(pattern, own)
        return "\n".join(
            [
                "def init_weights(model: keras.Model) -> None:",
                '    """Draw the weights that training starts from."""',
                "    for layer in model.layers:",
                *body,
            ]
        )

    def kernel(self) -> list[str]:
        """Statements for the weights and biases of convolutions and dense layers."""
        section, made = self.section, list[str]()
        pad = " " * 12
        if self.convolutions and self.dense and section.conv != section.dense:
            made += [
                f"{pad}if isinstance(layer, keras.layers.Dense):",
                *self.draw("kernel", section.dense, pad + "    "),
                f"{pad}else:",
                *self.draw("kernel", section.conv, pad + "    "),
            ]
        else:
            made += self.draw("kernel", section.conv if self.convolutions else section.dense, pad)
        if not isinstance(section.bias, start.Zeros):
            made += self.draw("bias", section.bias, pad)
        return made

    def own(self, pattern: str, own: start.LayerInitializers) -> list[str]:
        """Statements for the layers that a pattern matches."""
        drawn: list[str] = []
        for names, initializer in ((("kernel", "gamma", "alpha"), own.weight), (("bias", "beta"), own.bias)):
            if initializer is not None:
                self.wanted.add(f"{SNIPPETS}.initial:draw")
                drawn += lines(call("draw", "layer", literal(names), self.made(initializer)), 12)
        if not drawn:
            return []
        self.wanted.add(f"{SNIPPETS}.initial:matches")
        made = [f"        if matches(layer, {literal(_regex(pattern))}):"]
        return made + self.fans(drawn) + drawn

    def fans(self, statements: list[str]) -> list[str]:
        """What gives statements the fans that they mention."""
        names = [name if any(name in line for line in statements) else "_" for name in ("fan_in", "fan_out")]
        if names == ["_", "_"]:
            return []
        self.wanted.add(f"{SNIPPETS}.initial:fans")
        return [f"            {', '.join(names)} = fans(layer)"]

    def draw(self, name: str, initializer: start.Initializer, pad: str) -> list[str]:
        """Statements that give a variable its values."""
        self.wanted.add(f"{SNIPPETS}.initial:draw")
        return lines(call("draw", "layer", literal((name,)), self.made(initializer)), len(pad))

    def made(self, initializer: start.Initializer) -> str:
        """Keras's initialiser."""
        of = "keras.initializers."
        match initializer:
            case start.Zeros():
                return f"{of}Zeros()"
            case start.Ones():
                return f"{of}Ones()"
            case start.ConstantValue(value=value):
                return f"{of}Constant({literal(value)})"
            case start.Normal(std=std, mean=mean):
                return f"{of}RandomNormal({literal(mean)}, {literal(std)})"
            case start.TruncatedNormal(std=std, mean=mean):
                return f"{of}TruncatedNormal({literal(mean)}, {literal(std)})"
            case start.Uniform(limits=(low, high)):
                return f"{of}RandomUniform({literal(low)}, {literal(high)})"
            case start.Orthogonal(gain=gain):
                return f"{of}Orthogonal({literal(gain)})"
        self.wanted.add(f"{SNIPPETS}.initial:scaled")
        scale, fan = literal(float(initializer.scale)), _FANS[initializer.mode]
        return f"scaled({scale}, {fan}, {literal(initializer.distribution)})"


def _regex(pattern: str) -> str:
    """A pattern of paths as one of layer names, in which dashes stand between components."""
    made = pattern.replace("[!", "[^").replace("*", "[^-]*").replace("?", "[^-]")
    return made.replace(".", SEPARATOR)
