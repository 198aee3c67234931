"""The comparator of arrays can fail."""

import numpy as np
import pytest
from agreement import agree

RIGHT = np.arange(6.0).reshape(2, 3)


def changed(value: float) -> np.ndarray:
    array = RIGHT.copy()
    array[1, 0] = value
    return array


@pytest.mark.parametrize(
    "other", [RIGHT, changed(3 + 1e-13), RIGHT.astype(np.float32)], ids=["same", "near", "float32"]
)
def test_what_is_near_agrees(other):
    agree(other, RIGHT, 1e-12)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (changed(3 + 1e-11), r"at \(1, 0\), expected .*3\.0.*: 1e-11 apart, 1e-12 allowed"),
        (changed(-3), "6 apart"),
        (changed(np.nan), "1 numbers not finite"),
        (changed(np.inf), "1 numbers not finite"),
        (RIGHT.T, r"shape \(3, 2\), expected \(2, 3\)"),
        (RIGHT[None], r"shape \(1, 2, 3\)"),
        (RIGHT[:1], r"shape \(1, 3\)"),
        (np.float64(3), r"shape \(\)"),
    ],
    ids=["near", "wrong", "nan", "infinite", "transposed", "one more axis", "shorter", "scalar"],
)
def test_what_is_not_near_does_not(other, message):
    with pytest.raises(AssertionError, match=message):
        agree(other, RIGHT, 1e-12)
    with pytest.raises(AssertionError):
        agree(RIGHT, other, 1e-12)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_a_number_agrees_with_nothing(number):
    with pytest.raises(AssertionError, match="not finite"):
        agree(changed(number), changed(number), 1e-12)
