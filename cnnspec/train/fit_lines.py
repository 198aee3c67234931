"""How an image becomes the network's input, as lines of `data.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cnnspec.lower.python import Code, Group, assigned, call, lines, literal

if TYPE_CHECKING:
    from cnnspec.spec.recipe.data import Data
    from cnnspec.spec.sections import PreprocessSection

Size = tuple[int, int]


class Fit(NamedTuple):
    """How an image of any size gets the network's."""

    steps: list[tuple[str, str]]
    """Functions in turn, and their arguments behind the image."""
    can_fail: bool
    """Whether some sizes are refused."""
    keeps_size: bool
    """Whether an image of the network's size stays as it is."""


def fit_of(data: Data, section: PreprocessSection, size: Size) -> Fit:
    """What `preprocess` does, and then the `fit` of the recipe if sizes are still open."""
    filter = resampling(section)
    steps: list[tuple[str, str]] = []
    shorter = 1  # what the shorter side has at least, by now
    certain: Size | None = None  # the size that every image has, by now
    if section.resize and is_exact(section):
        certain = section.resize
        steps.append(("resize", f"{_numbers(certain)}, {filter}"))
    elif section.resize:
        shorter = section.resize[0]
        steps.append(("resize_shorter", f"{shorter}, {filter}"))
    can_fail = False
    if section.crop and section.crop != certain:
        height, width = certain or (shorter, shorter)
        can_fail = height < section.crop[0] or width < section.crop[1]
        certain = section.crop
        steps.append(("crop_centre", _numbers(certain)))
    if certain != size:
        match data.fit:
            case "stretch":
                steps.append(("resize", f"{_numbers(size)}, {filter}"))
            case "crop":
                steps += [("resize_to_cover", f"{_numbers(size)}, {filter}"), ("crop_centre", _numbers(size))]
            case "pad":
                steps.append(("pad_to", _numbers(size)))
                can_fail = can_fail or certain is None or certain[0] > size[0] or certain[1] > size[1]
            case "exact":
                steps.append(("require_size", _numbers(size)))
                can_fail = True
    unresized = section.resize in (None, size) or (not is_exact(section) and shorter == min(size))
    return Fit(steps, can_fail, unresized and section.crop in (None, size))


def resampling(section: PreprocessSection) -> str:
    """The filter that resizes, as Pillow calls it."""
    return f"Image.Resampling.{section.interpolation.upper()}"


def is_exact(section: PreprocessSection) -> bool:
    """Whether `resize` is the size itself, and not that of the shorter side."""
    return section.resize is not None and (section.resize_to == "exact" or section.resize[0] != section.resize[1])


def _numbers(size: Size) -> str:
    return f"{size[0]}, {size[1]}"


class Normalisation(NamedTuple):
    """How pixels 0–255, as float32, are scaled and shifted."""

    constants: list[str]
    body: list[str]
    """Statements that change `images`."""


def normalisation(section: PreprocessSection) -> Normalisation:
    """What `preprocess` does once images have their size."""
    constants: list[str] = []
    body = ["images = np.ascontiguousarray(images[..., ::-1])"] if section.channel_order == "bgr" else []
    value = "images"
    if section.scale != 1:
        value = "images * SCALE"
        constants.append(f"SCALE = np.float32({_scale(section.scale)})")
    if _any(section.mean, 0):
        value += " - MEAN"
        constants += lines(assigned("MEAN", _constant(section.mean)))
    if _any(section.std, 1):
        value = f"({value}) / STD" if " " in value else f"{value} / STD"
        constants += lines(assigned("STD", _constant(section.std)))
    return Normalisation(constants, body + ([f"images = {value}"] if " " in value else []))


def _any(value: float | list[float], neutral: float) -> bool:
    return any(number != neutral for number in (value if isinstance(value, list) else [value]))


def _constant(value: float | list[float]) -> Code:
    """A number for all channels, or one for each."""
    if isinstance(value, list):
        return call("np.array", Group("[", tuple(map(literal, value)), "]"), "np.float32")
    return f"np.float32({literal(value)})"


def _scale(scale: float) -> str:
    """A number, as a fraction of 1 where it is one."""
    below = round(1 / scale)
    return f"1 / {below}" if below > 1 and 1 / below == scale else literal(scale)
