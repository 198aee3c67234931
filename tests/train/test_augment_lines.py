"""The text of augmentation in `data.py`: as an expert would write it, clean, and what it says."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from augment_cases import CASES, CROPS, draws, function, pictures
from tools import ruff_says

from cnnspec.spec.recipe.model import Recipe
from cnnspec.train.augment_lines import AugmentationText, augmentation
from cnnspec.train.collect import collect, merge_imports

ALL = [(kind, options) for kind, cases in CASES.items() for options in cases]
IDS = ["-".join([kind, *(f"{k}={v}" for k, v in options.items())]) for kind, options in ALL]


def recipe(*steps: Any) -> Recipe:
    return Recipe.model_validate({"optimizer": {"sgd": 0.1}, "epochs": 1, "batch_size": 8, "augment": list(steps)})


def written(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    return {kind: {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}}


def module(text: AugmentationText) -> str:
    """A file around the parts of the text, as `data.py` is."""
    found = collect([name for part in text for name in part.snippets] + ["cnnspec.train.snippets.draws:Draws"])
    imports = merge_imports([*found.imports, "import numpy as np"])
    functions = []
    if text.crop:
        given = "def crop(image: np.ndarray, draw: Draws) -> np.ndarray:\n"
        functions.append("\n".join([f'{given}    """Cut."""', *text.crop.lines]))
    for name, part in (("augment", text.body), ("late", text.normalised)):
        if part:
            given = f"def {name}(images: np.ndarray, draw: Draws) -> np.ndarray:\n"
            last = ["    return images"] * (name == "late")
            functions.append("\n".join([f'{given}    """Change."""', *part.lines, *last]))
    if text.mixup:
        given = (
            "def mix(\n    images: np.ndarray, labels: np.ndarray, draw: Draws\n) -> tuple[np.ndarray, np.ndarray]:\n"
        )
        functions.append("\n".join([f'{given}    """Mix."""', *text.mixup.lines]))
    constants = ['SIZE = (10, 12)\nCLASSES = ["0", "1", "2"]', *found.values]
    parts = ["\n".join(imports), "\n".join(constants), *found.definitions, *functions]
    return "\n\n\n".join(['"""Data."""\n\n' + parts[0] + "\n\n" + parts[1], *parts[2:]]) + "\n"


def run(text: AugmentationText) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "data"}
    exec(compile(module(text), "data.py", "exec"), names)
    return names


def test_flip_after_pad_and_crop() -> None:
    text = augmentation(recipe({"pad_and_crop": 4}, "flip"))
    assert text.body.lines == (
        "    images = pad_and_crop(images, draw, 4)",
        "    return flip(images, draw)",
    )
    assert text.body.snippets == (
        "cnnspec.train.snippets.augment:pad_and_crop",
        "cnnspec.train.snippets.augment:flip",
    )
    assert not (text.crop or text.normalised or text.mixup)


def test_nothing() -> None:
    assert not any(augmentation(recipe()))


def test_every_part() -> None:
    given = recipe({"random_resized_crop": [0.3, 1]}, {"cutout": 8, "probability": 0.5}, "flip", {"mixup": 0.2})
    text = augmentation(given, interpolation="bicubic")
    assert "\n".join(text.crop.lines) == (
        "    return random_resized_crop(\n        image, draw, SIZE, (0.3, 1), filter=Image.Resampling.BICUBIC\n    )"
    )
    assert text.body.lines == ("    return flip(images, draw)",)
    assert text.normalised.lines == ("    images = cutout(images, draw, 8, probability=0.5)",)
    assert text.mixup.lines == ("    return mixup(images, labels, draw, 0.2, len(CLASSES))",)


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ({"zoom": 0.9}, "zoom(images, draw, (0.1, 1.9))"),
        ({"rotate": 15.0}, "rotate(images, draw, 15)"),
        ({"flip": "vertical", "probability": 0.5}, 'flip(images, draw, "vertical")'),
        ({"lighting": 0.1}, "lighting(images, draw)"),
        ({"shift": 0.1, "fill": 0}, "shift(images, draw, (0.1, 0.1))"),
        ({"shift": 0.1, "fill": "edge"}, 'shift(images, draw, (0.1, 0.1), fill="edge")'),
    ],
)
def test_only_what_differs_from_the_defaults_is_printed(step: Any, line: str) -> None:
    assert augmentation(recipe(step)).body.lines == (f"    return {line}",)


def test_long_calls_are_broken() -> None:
    step = {"shift": [0.123, 0.234], "fill": "reflect", "interpolation": "nearest", "probability": 0.25}
    assert "\n".join(augmentation(recipe(step)).body.lines) == textwrap.indent(
        "return shift(\n"
        "    images,\n"
        "    draw,\n"
        "    (0.123, 0.234),\n"
        '    fill="reflect",\n    interpolation="nearest",\n    probability=0.25,\n'
        ")",
        "    ",
    )


@pytest.mark.parametrize(("kind", "options"), ALL, ids=IDS)
def test_text_does_what_the_step_says(kind: str, options: dict[str, Any]) -> None:
    text = augmentation(recipe(written(kind, options)))
    names = run(text)
    x = pictures(8, 14, 15).astype(np.float32)
    if kind in CROPS:
        image = x[0].astype(np.uint8)
        got = names["crop"](image, draws(1))
        assert got.shape == (10, 12, 3)
        assert np.array_equal(got, function(kind)(image, draws(1), (10, 12), **options))
    elif kind == "mixup":
        labels = np.arange(8) % 3
        expected = function(kind)(x, labels, draws(8), options["alpha"], 3)
        for ours, theirs in zip(names["mix"](x, labels, draws(8)), expected, strict=True):
            assert np.array_equal(ours, theirs)
    else:
        got = names["late" if kind == "cutout" else "augment"](x, draws(8))
        assert np.array_equal(got, function(kind)(x, draws(8), **options))


def test_steps_have_numbers_of_their_own() -> None:
    """The same step twice: the second one draws anew, from the same draws."""
    names = run(augmentation(recipe({"rotate": 20}, {"rotate": 20})))
    x, draw = pictures(8).astype(np.float32), draws(8)
    rotate = function("rotate")
    assert np.array_equal(names["augment"](x, draws(8)), rotate(rotate(x, draw, 20), draw, 20))
    assert draw.drawn == 2


def test_all_text_is_clean(tmp_path: Path) -> None:
    """By the formatter's and the linter's defaults, with sorted imports."""
    for number, (kind, options) in enumerate(ALL):
        text = augmentation(recipe(written(kind, options)), interpolation="lanczos")
        (tmp_path / f"data_{number}.py").write_text(module(text), encoding="utf-8")
    crop, *others = ["random_resized_crop", "flip", {"hue": 20}, {"cutout": 4}, {"mixup": 0.4}]
    (tmp_path / "data_all.py").write_text(module(augmentation(recipe(crop, *others))), encoding="utf-8")
    assert ruff_says(tmp_path, "I", "E501") == ""
