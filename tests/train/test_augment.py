"""Every step of augmentation, against other libraries and calculation by hand, in float64 and float32."""

import colorsys
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import vision as torchvision_here
from augment_cases import CASES, CHOICES, CROPS, draws, function, pictures
from PIL import Image, ImageOps
from scipy import ndimage, stats

from cnnspec.train.snippets import augment as steps
from cnnspec.train.snippets.draws import Draws

assert torchvision_here.models, "torchvision can be imported"
functional = importlib.import_module("torchvision.transforms.v2.functional")
ON_BATCHES = [kind for kind in CHOICES if kind not in (*CROPS, "mixup")]
ON_COLOURS = ("saturation", "hue", "lighting")
MODES = {"edge": "nearest", "reflect": "mirror"}  # as scipy calls them

EACH = [(kind, options) for kind in ON_BATCHES for options in CASES[kind]]
IDS = ["-".join([kind, *(f"{k}={v}" for k, v in options.items())]) for kind, options in EACH]


def test_every_option_of_every_step_has_a_case() -> None:
    assert set(CASES) == set(CHOICES)
    for kind, choice in CHOICES.items():
        assert set().union(*CASES[kind]) == set(choice.model_fields), kind


@pytest.mark.parametrize("kind", CHOICES)
def test_functions_have_the_defaults_of_the_steps(kind: str) -> None:
    """So that options may be left out where they are printed."""
    parameters = inspect.signature(function(kind)).parameters
    for name, field in CHOICES[kind].model_fields.items():
        default = inspect.Parameter.empty if field.is_required() else field.default
        assert parameters[name].default == default, name


# --- what each step must make of an image, by its drawn numbers ---------------------------------------------------

Reference = Callable[..., Iterator[np.ndarray]]


def filled(fill: Any) -> dict[str, Any]:
    return {"mode": MODES[fill]} if isinstance(fill, str) else {"mode": "grid-constant", "cval": fill}


def order(interpolation: str) -> int:
    return {"nearest": 0, "bilinear": 1}[interpolation]


def pad_and_crop(x: np.ndarray, draw: Draws, padding: int, fill: Any = 0.0) -> Iterator[np.ndarray]:
    tops, lefts = draw.integers(0, 2 * padding + 1), draw.integers(0, 2 * padding + 1)
    how = {"padding_mode": fill} if isinstance(fill, str) else {"fill": fill}
    for image, top, left in zip(x, tops, lefts, strict=True):
        padded = functional.pad(torch.from_numpy(image).permute(2, 0, 1), [padding] * 4, **how)
        yield functional.crop(padded, int(top), int(left), *image.shape[:2]).permute(1, 2, 0).numpy()


def flip(x: np.ndarray, draw: Draws, direction: str = "horizontal") -> Iterator[np.ndarray]:
    turn = ImageOps.mirror if direction == "horizontal" else ImageOps.flip
    for image in x:
        planes = [np.asarray(turn(Image.fromarray(plane.astype(np.float32)))) for plane in np.moveaxis(image, 2, 0)]
        yield np.stack(planes, axis=2)


def shift(x: np.ndarray, draw: Draws, by: Any, fill: Any = 0.0, interpolation: str = "bilinear") -> Iterator[Any]:
    down, right = by[0] * x.shape[1], by[1] * x.shape[2]
    for image, dy, dx in zip(x, draw.uniform(-down, down), draw.uniform(-right, right), strict=True):
        yield ndimage.shift(image, (-dy, -dx, 0), order=order(interpolation), **filled(fill))


def rotate(x: np.ndarray, draw: Draws, degrees: float, fill: Any = 0.0, interpolation: str = "bilinear") -> Any:
    for image, angle in zip(x, draw.uniform(-degrees, degrees), strict=True):
        yield ndimage.rotate(image, -angle, reshape=False, order=order(interpolation), **filled(fill))


def zoom(x: np.ndarray, draw: Draws, factor: Any, fill: Any = 0.0, interpolation: str = "bilinear") -> Any:
    centre = (np.array(x.shape[1:3]) - 1) / 2
    for image, times in zip(x, draw.uniform(*factor), strict=True):
        offset = (*(centre - centre / times), 0)
        how = {"order": order(interpolation), **filled(fill)}
        yield ndimage.affine_transform(image, [1 / times, 1 / times, 1], offset, **how)


def shear(x: np.ndarray, draw: Draws, degrees: float, fill: Any = 0.0, interpolation: str = "bilinear") -> Any:
    middle = (x.shape[1] - 1) / 2
    for image, angle in zip(x, draw.uniform(-degrees, degrees), strict=True):
        rows = []
        for number, row in enumerate(image):  # each moves sideways on its own
            by = math.tan(math.radians(angle)) * (number - middle)
            rows.append(ndimage.shift(row, (-by, 0), order=order(interpolation), **filled(fill)))
        yield np.stack(rows)


def brightness(x: np.ndarray, draw: Draws, factor: Any) -> Iterator[np.ndarray]:
    for image, times in zip(x, draw.uniform(*factor), strict=True):
        planes = torch.from_numpy(image / 255).permute(2, 0, 1)
        yield functional.adjust_brightness(planes, times).permute(1, 2, 0).numpy() * 255


def contrast(x: np.ndarray, draw: Draws, factor: Any) -> Iterator[np.ndarray]:
    for image, times in zip(x, draw.uniform(*factor), strict=True):
        grey = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in image.reshape(-1, 3).tolist()]
        mean = math.fsum(grey) / len(grey)
        yield mean + times * (image - mean)


def saturation(x: np.ndarray, draw: Draws, factor: Any) -> Iterator[np.ndarray]:
    for image, times in zip(x, draw.uniform(*factor), strict=True):
        grey = np.array([0.299 * r + 0.587 * g + 0.114 * b for r, g, b in image.reshape(-1, 3).tolist()])
        grey = grey.reshape(*image.shape[:2], 1)
        yield grey + times * (image - grey)


def hue(x: np.ndarray, draw: Draws, degrees: float) -> Iterator[np.ndarray]:
    for image, angle in zip(x, draw.uniform(-degrees, degrees), strict=True):
        turned = []
        for pixel in (image / 255).reshape(-1, 3).tolist():
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            turned.append(colorsys.hsv_to_rgb((h + angle / 360) % 1, s, v))
        yield np.array(turned).reshape(image.shape) * 255


def lighting(x: np.ndarray, draw: Draws, std: float = 0.1) -> Iterator[np.ndarray]:
    values = [0.2175, 0.0188, 0.0045]
    vectors = [(-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203)]
    numbers = [draw.normal() for _ in values]
    for i, image in enumerate(x):
        colour = [
            sum(std * n[i] * e * v[c] for n, e, v in zip(numbers, values, vectors, strict=True)) for c in range(3)
        ]
        yield image + 255 * np.array(colour)


def cutout(x: np.ndarray, draw: Draws, size: int) -> Iterator[np.ndarray]:
    height, width = x.shape[1:3]
    for image, row, column in zip(x, draw.integers(0, height), draw.integers(0, width), strict=True):
        result = image.copy()
        for y in range(row - size // 2, row - size // 2 + size):
            for z in range(column - size // 2, column - size // 2 + size):
                if 0 <= y < height and 0 <= z < width:
                    result[y, z] = 0
        yield result


REFERENCES: dict[str, Reference] = {kind: globals()[kind] for kind in ON_BATCHES}
SCALE_FREE = ("cutout",)  # works after normalisation, and clips nothing


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-2)], ids=["float64", "float32"])
@pytest.mark.parametrize(("kind", "options"), EACH, ids=IDS)
def test_against_reference(kind: str, options: dict[str, Any], dtype: Any, tolerance: float) -> None:
    x = pictures()
    if kind == "flip":  # what the reference takes exactly
        x = x.astype(np.float32).astype(np.float64)
    given = {**options, "probability": 1.0}
    got = function(kind)(x.astype(dtype), draws(len(x)), **given)
    expected = np.stack(
        list(REFERENCES[kind](x, draws(len(x)), **{k: v for k, v in given.items() if k != "probability"}))
    )
    if kind not in SCALE_FREE:
        expected = np.clip(expected, 0, 255)
    assert got.dtype == dtype
    if options.get("interpolation") == "nearest" and dtype == np.float32:
        assert np.mean(np.abs(got - expected) > tolerance) < 0.01  # positions at ties round as they come
    else:
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)
    assert np.mean(np.abs(got - x)) > 0.5, "the step did something"


@pytest.mark.parametrize("kind", [kind for kind in ON_BATCHES if kind not in ON_COLOURS])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_are_changed_alike(kind: str, channels: int) -> None:
    """Grey images, or any number of channels: as each channel would be alone."""
    x = pictures(channels=channels)
    got = function(kind)(x, draws(len(x)), **CASES[kind][0])
    assert got.shape == x.shape
    if kind != "contrast":
        for c in range(channels):
            alone = function(kind)(x[..., c : c + 1], draws(len(x)), **CASES[kind][0])
            np.testing.assert_allclose(got[..., c : c + 1], alone, atol=1e-10)
    else:
        factors = draws(len(x)).uniform(0.0, 2.0)
        for image, new, times in zip(x, got, factors, strict=True):
            np.testing.assert_allclose(new, np.clip(image.mean() + times * (image - image.mean()), 0, 255), atol=1e-9)


@pytest.mark.parametrize(("kind", "options"), EACH, ids=IDS)
def test_images_are_changed_with_the_probability(kind: str, options: dict[str, Any]) -> None:
    """Those that are changed are as they would be if all were; the others have the same bits."""
    x = pictures(300, 6, 6).astype(np.float32)
    always = function(kind)(x, draws(len(x)), **{**options, "probability": 1.0})
    got = function(kind)(x, draws(len(x)), **{**options, "probability": 0.3})
    spared = (got == x).all(axis=(1, 2, 3))
    assert np.array_equal(got[~spared], always[~spared])
    visible = ~(always == x).all(axis=(1, 2, 3))
    assert stats.binomtest(int((~spared).sum()), int(visible.sum()), 0.3).pvalue > 1e-4


@pytest.mark.parametrize(("kind", "options"), EACH, ids=IDS)
def test_bits_do_not_depend_on_the_batch(kind: str, options: dict[str, Any]) -> None:
    x = pictures(7).astype(np.float32)
    before = x.copy()
    whole = function(kind)(x, draws(7), **options)
    assert np.array_equal(x, before), "what is given stays as it is"
    alone = [function(kind)(x[i : i + 1], Draws(11, 0, [100 + i]), **options) for i in range(7)]
    assert np.array_equal(np.concatenate(alone), whole)
    backwards = function(kind)(x[::-1], Draws(11, 0, np.arange(106, 99, -1)), **options)
    assert np.array_equal(backwards[::-1], whole)


@pytest.mark.parametrize("kind", [kind for kind in ON_BATCHES if kind not in SCALE_FREE])
def test_pixels_stay_in_range(kind: str) -> None:
    x = np.where(np.random.default_rng(1).random((200, 6, 5, 3)) < 0.5, np.float32(0), np.float32(255))
    for options in CASES[kind]:
        got = function(kind)(x, draws(len(x)), **options)
        assert got.min() == 0
        assert got.max() == 255


@pytest.mark.parametrize("kind", ["shift", "rotate", "zoom", "shear", "pad_and_crop"])
@pytest.mark.parametrize("fill", [0.0, "edge", "reflect"])
def test_images_of_one_pixel_a_side(kind: str, fill: Any) -> None:
    x = np.full((4, 1, 3, 1), 80, np.float32)
    got = function(kind)(x, draws(4), **{**CASES[kind][0], "fill": fill})
    assert got.shape == x.shape
    if fill != 0.0:
        assert np.all(got == 80)


def test_places_of_pad_and_crop_are_even() -> None:
    x = np.broadcast_to(np.arange(81, dtype=np.float32).reshape(1, 9, 9, 1), (8100, 9, 9, 1))
    corners = steps.pad_and_crop(x, draws(8100), 4, "edge")[:, 4, 4, 0]
    values, counts = np.unique(corners, return_counts=True)
    assert values.tolist() == list(range(81))
    assert stats.chisquare(counts).pvalue > 1e-4


def test_contrast_and_saturation_as_torchvision_has_them() -> None:
    """Its weight of red is 0.2989."""
    x = pictures()
    for ours, theirs in (
        (steps.contrast, functional.adjust_contrast),
        (steps.saturation, functional.adjust_saturation),
    ):
        got = ours(x, draws(len(x)), (0.5, 1.5))
        for image, new, factor in zip(x, got, draws(len(x)).uniform(0.5, 1.5), strict=True):
            expected = theirs(torch.from_numpy(image / 255).permute(2, 0, 1), factor).permute(1, 2, 0).numpy()
            np.testing.assert_allclose(new, 255 * expected, atol=0.03)


@pytest.mark.parametrize("kind", ["rotate", "zoom", "shear"])
def test_warps_as_torchvision_has_them(kind: str) -> None:
    x = pictures()
    options = CASES[kind][0]
    low, high = options.get("factor", (-options.get("degrees", 0), options.get("degrees", 0)))
    got = function(kind)(x, draws(len(x)), **options)
    for image, new, number in zip(x, got, draws(len(x)).uniform(low, high), strict=True):
        how = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        how |= {"rotate": {"angle": number}, "zoom": {"scale": number}, "shear": {"shear": [number, 0.0]}}[kind]
        planes = torch.from_numpy(image).permute(2, 0, 1)
        expected = functional.affine(planes, **how, interpolation=functional.InterpolationMode.BILINEAR)
        expected = expected.permute(1, 2, 0).numpy()
        np.testing.assert_allclose(new, expected, atol=1e-3)


# --- mixup ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_mixup(alpha: float) -> None:
    x = pictures(8).astype(np.float32)
    shares, partners = [], []
    for epoch in range(400):
        mixed, targets = steps.mixup(x, np.arange(8), draws(8, epoch), alpha, 9)
        assert targets.shape == (8, 9)
        assert mixed.dtype == targets.dtype == np.float32
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(mixed.reshape(8, -1), targets[:, :8] @ x.reshape(8, -1), atol=1e-3)
        own = np.diagonal(targets)
        other = targets[:, :8] - np.diag(own)
        moved = other.any(axis=1)
        if not moved.any():  # a share of 0 or 1 leaves the partners open
            continue
        if 1e-3 < own[moved][0] < 1 - 1e-3:
            partners.append(np.where(moved, other.argmax(axis=1), np.arange(8)))
            assert sorted(partners[-1]) == list(range(8)), "the same images in another order"
        shares.append(own[moved][0])
        assert np.all(own[moved] == shares[-1]), "one share for the batch"
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    table = np.array([np.bincount(column, minlength=8) for column in np.array(partners).T])
    assert stats.chisquare(table.ravel()).pvalue > 1e-4


def test_mixup_of_images_of_one_class() -> None:
    _, targets = steps.mixup(pictures(4), np.array([2, 2, 2, 2]), draws(4), 0.5, 3)
    np.testing.assert_allclose(targets, np.tile([0, 0, 1], (4, 1)), atol=1e-7)
