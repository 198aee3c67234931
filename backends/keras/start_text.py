"""What a recipe's weights start from, as Keras code, for runs that are given no weight file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnspec.backends.keras.optimizer_text import SNIPPETS, Printed
from cnnspec.backends.keras.table import layer_name
from cnnspec.lower.python import literal
from cnnspec.spec.recipe import initializer as start

if TYPE_CHECKING:
    from cnnspec.lower.program import Program
    from cnnspec.spec.recipe.model import Recipe


def start_text(program: Program, recipe: Recipe) -> Printed:
    """`init_weights(model)`; nothing where Keras starts from the same."""
    return Printed((), ())
