"""What `data.py` says of a recipe's augmentation: calls of the steps' functions, without options that are default."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cnnspec.lower.python import Code, assigned, call, lines, literal, named, returned
from cnnspec.spec.recipe.augment import Augmentation, Cutout, Mixup, RandomCrop, RandomResizedCrop
from cnnspec.spec.recipe.model import Recipe

_STEPS = "cnnspec.train.snippets.augment"
_CROPS = "cnnspec.train.snippets.crops"


class Text(NamedTuple):
    """Text, and the snippets that it uses."""

    lines: tuple[str, ...] = ()
    snippets: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lines)


class AugmentationText(NamedTuple):
    """Empty where the recipe asks for nothing."""

    crop: Text
    """Of `crop(image: np.ndarray, draw: Draws) -> np.ndarray`, for a decoded image; `draw` is of this sample alone."""
    body: Text
    """Of `augment(images: np.ndarray, draw: Draws) -> np.ndarray`, pixels 0–255."""
    normalised: Text
    """Statements that change `images` after normalisation, with numbers from the same `draw`."""
    mixup: Text
    """Of `mix(images, labels, draw: Draws)`, for a whole batch: it returns images, and labels as shares of classes."""


def augmentation(
    recipe: Recipe,
    size: str = "SIZE",
    classes: str = "len(CLASSES)",
    interpolation: str = "bilinear",
    indent: int = 4,
) -> AugmentationText:
    """The text of a recipe's augmentation; `size` and `classes` are expressions that say what the network takes.

    `interpolation` is what `preprocess` resizes with. Statements are indented as they are in a function.
    """
    crops, late, mixups, steps = _sorted(recipe.augment)
    filter = [] if interpolation == "bilinear" else [f"filter=Image.Resampling.{interpolation.upper()}"]
    cropped = [returned(_call(step, "image", "draw", size, last=filter)) for step in crops]
    changes = [_call(step, "images", "draw") for step in steps]
    body = [*(assigned("images", code) for code in changes[:-1]), *map(returned, changes[-1:])]
    after = [assigned("images", _call(step, "images", "draw")) for step in late]
    mixed = [returned(_mixup(step, classes)) for step in mixups]
    return AugmentationText(
        Text(_laid_out(cropped, indent), _names(_CROPS, crops)),
        Text(_laid_out(body, indent), _names(_STEPS, steps)),
        Text(_laid_out(after, indent), _names(_STEPS, late)),
        Text(_laid_out(mixed, indent), _names(_STEPS, mixups)),
    )


def _sorted(
    steps: Sequence[Augmentation],
) -> tuple[list[RandomCrop | RandomResizedCrop], list[Cutout], list[Mixup], list[Any]]:
    """Steps by where they are taken; the last are those on images of 0–255."""
    crops = [step for step in steps if isinstance(step, RandomCrop | RandomResizedCrop)]
    late = [step for step in steps if isinstance(step, Cutout)]
    mixups = [step for step in steps if isinstance(step, Mixup)]
    others = [s for s in steps if not isinstance(s, RandomCrop | RandomResizedCrop | Cutout | Mixup)]
    return crops, late, mixups, others


def _laid_out(statements: Iterable[Code], indent: int) -> tuple[str, ...]:
    return tuple(line for statement in statements for line in lines(statement, indent))


def _names(module: str, steps: Sequence[Augmentation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{module}:{step.kind}" for step in steps))


def _mixup(step: Mixup, classes: str) -> Code:
    return call(step.kind, "images", "labels", "draw", _value(step.alpha), classes)


def _call(step: Augmentation, *first: str, last: Sequence[str] = ()) -> Code:
    """A call of the function that a step's kind names; its defaults are the step's own."""
    arguments: list[Code] = list(first)
    fields = type(step).model_fields
    for name in sorted(fields, key=lambda name: (name != step.main, name == "probability")):
        field, value = fields[name], getattr(step, name)
        if field.is_required() or value != field.default:
            text = _value(value)
            arguments.append(text if name == step.main else named(name, text))
    return call(step.kind, *arguments, *last)


def _value(value: Any) -> str:
    """A number without the last bits of what 1 − f left, and whole where it is."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    if isinstance(value, float):
        value = float(f"{value:.15g}")
        return literal(int(value) if value.is_integer() else value)
    return literal(value)
