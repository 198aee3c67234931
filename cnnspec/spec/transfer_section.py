"""The transfer section as it is validated; `cnnspec.spec.transfer` reads the layers inside."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, WithJsonSchema

from cnnspec.spec.tagged import Strict

CaseName = Literal["small_similar", "small_different", "large_similar", "large_different"]

Pattern = Annotated[str, Field(min_length=1)]
Patterns = Annotated[list[Pattern], Field(max_length=100)]
Layers = Annotated[Any, WithJsonSchema({"$comment": "layers"})]
"""A list of layers; read by the parser of layers, not by pydantic."""


Replacement = Annotated[
    Annotated[Patterns, Tag("paths")] | Annotated[dict[str, Layers | None], Field(max_length=100), Tag("layers")],
    Discriminator(
        lambda value: {list: "paths", dict: "layers"}.get(type(value)),
        custom_error_type="bad_value",
        custom_error_message="expected a list of paths, or a mapping from paths to layers",
    ),
]


class FeaturesSection(Strict):
    """Features taken at a layer, and the new classifier on top of them: everything behind that layer is dropped."""

    source: str = Field(alias="from")
    layers: Layers


class TransferCase(Strict):
    """One way to reuse the trained network for other images.

    `freeze` lists layers by path or pattern, with everything below them: they keep their weights, and their batch norms
    their statistics. `freeze_through` freezes a layer and all before it. `replace` names layers that start anew, and
    may give other layers in their place; they are never frozen. `learning_rate` multiplies the recipe's rate for
    layers by pattern. `unfreeze` lists, by epoch (from 1), what starts to train then.
    """

    description: str = ""
    freeze: Patterns = []
    freeze_through: Pattern | None = None
    replace: Replacement = []
    features: FeaturesSection | None = None
    learning_rate: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field({}, max_length=100)
    unfreeze: dict[str, Patterns] = Field({}, max_length=100)


class TransferSection(Strict):
    """How the network is reused.

    `head` names the layers that classify, `boundaries` the layers at which freezing
    may sensibly end, from the input to the output. `cases` are the four situations: few or many new images, similar to
    the old ones or different from them.
    """

    head: Annotated[Patterns, Field(min_length=1)]
    boundaries: Patterns = []
    cases: dict[CaseName, TransferCase] = {}
