"""Whether two arrays agree."""

from typing import Any

import numpy as np


def agree(actual: Any, expected: Any, tolerance: float) -> None:
    """Fail unless both have one shape, hold finite numbers alone and differ nowhere by more than `tolerance`."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    for name, array in (("the result", actual), ("what is expected", expected)):
        assert np.isfinite(array).all(), f"{name} holds {np.count_nonzero(~np.isfinite(array))} numbers not finite"
    if actual.size == 0:
        return
    apart = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    worst = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape))
    assert apart[worst] <= tolerance, (
        f"{actual[worst]!r} at {worst}, expected {expected[worst]!r}: {apart[worst]:.3g} apart, {tolerance:g} allowed"
    )
