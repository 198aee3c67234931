"""Pieces of decoded images, against torchvision's and Pillow's."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cnnspec.train.snippets import crops
from cnnspec.train.snippets.draws import Draws


def photo(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)


def draw(sample: int = 0) -> Draws:
    return Draws(5, 2, [sample])


def pillow(image: np.ndarray, height: int, width: int, filter: int, place: tuple[int, int, int, int]) -> np.ndarray:
    """A channel at a time: resized, then the piece at (left, top, right, bottom)."""
    planes = [Image.fromarray(plane).resize((width, height), filter).crop(place) for plane in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("filter", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_random_crop(channels: int, filter: int) -> None:
    image = photo(37, 50, channels)
    for sample in range(20):
        numbers = draw(sample)
        side = numbers.integers(20, 31)[0]
        width = 50 * side // 37
        top, left = numbers.integers(0, side - 17)[0], numbers.integers(0, width - 15)[0]
        expected = pillow(image, side, width, filter, (left, top, left + 16, top + 18))
        got = crops.random_crop(image, draw(sample), (18, 16), (20, 30), filter=filter)
        assert got.dtype == np.uint8
        assert np.array_equal(got, expected)


def test_random_crop_of_the_centre_square() -> None:
    """32 of 64 columns, from 16 on: of an image that says its column, resized by none."""
    image = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None], (32, 64, 1))
    lefts = [crops.random_crop(image, draw(i), (24, 24), (32, 32), square=True)[0, 0, 0] for i in range(400)]
    assert sorted(set(lefts)) == list(range(16, 16 + 9))
    free = [crops.random_crop(image, draw(i), (24, 24), (32, 32))[0, 0, 0] for i in range(2000)]
    assert sorted(set(free)) == list(range(41))


def test_sizes_of_random_crop_are_even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5 to 8 pixels, each a quarter of the time, both ends included."""
    sides: list[int] = []
    monkeypatch.setattr(crops, "resize_shorter", lambda image, side, filter: (sides.append(side), image)[1])
    for i in range(2000):
        crops.random_crop(photo(9, 9), draw(i), (5, 5), (5, 8))
    values, counts = np.unique(sides, return_counts=True)
    assert values.tolist() == [5, 6, 7, 8]
    assert stats.chisquare(counts).pvalue > 1e-4


def places(monkeypatch: pytest.MonkeyPatch, height: int, width: int, count: int, **options: Any) -> np.ndarray:
    """(top, left, height, width) of pieces: those of an image whose pixels say where they are."""
    where = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=2)
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(crops, "resize", lambda image, *size: image)
        for i in range(count):
            piece = crops.random_resized_crop(where, draw(i), (8, 8), **options)
            found.append([*piece[0, 0], *piece.shape[:2]])
    return np.array(found)


@pytest.mark.parametrize("filter", [Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
def test_random_resized_crop_resizes_its_piece(monkeypatch: pytest.MonkeyPatch, filter: int) -> None:
    image = photo(60, 45)
    for i, (top, left, height, width) in enumerate(places(monkeypatch, 60, 45, 20)):
        piece = Image.fromarray(image[top : top + height, left : left + width])
        got = crops.random_resized_crop(image, draw(i), (14, 9), filter=filter)
        assert np.array_equal(got, np.asarray(piece.resize((9, 14), filter)))


def test_areas_ratios_and_places_are_even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Areas that always fit: 400 × 400 pixels, of which a tenth to a half, at ratios of a half to 2."""
    found = places(monkeypatch, 400, 400, 2000, area=(0.1, 0.5), ratio=(0.5, 2.0))
    top, left, height, width = found.T
    assert stats.kstest(height * width / 400**2, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-4
    assert stats.kstest(np.log2(width / height), stats.uniform(-1, 2).cdf).pvalue > 1e-4
    for first, side in ((top, height), (left, width)):
        jittered = (first + np.random.default_rng(0).random(2000)) / (400 - side + 1)
        assert stats.kstest(jittered, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (30, 300, (0, 130, 30, 40)),  # 4/3 of the height, at the centre
        (300, 30, (130, 0, 40, 30)),  # 3/4 of the height is the width
        (1, 50, (0, 24, 1, 1)),
    ],
)
def test_pieces_that_never_fit(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int, expected: tuple[int, ...]
) -> None:
    found = places(monkeypatch, height, width, 5, area=(0.9, 1.0))
    assert {tuple(place) for place in found.tolist()} == {expected}


def test_a_whole_image_within_bounds_is_its_own_largest_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is asked for, at a ratio that no tried piece has."""
    found = places(monkeypatch, 30, 31, 40, area=(1.0, 1.0), ratio=(0.5, 2.0))
    assert (0, 0, 30, 31) in {tuple(place) for place in found.tolist()}
    assert np.all(found[:, 2:] <= (30, 31))
