"""Random numbers that are the same bytes on every machine.

A counter-based generator, Philox 4x64-10, gives 64-bit words; each half of a word, the low one first, gives 24 bits;
these make a number between 0 and 1, of which neither is reached. What follows is + − × ÷ and √ in float64 alone, which
IEEE 754 rounds in one way; a library's log and exp are other ones on another processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CHUNK = 1 << 15  # even, as a word has two halves; small enough for a processor's cache

# The inverse of the normal distribution's cumulative function, as ratios of polynomials, highest power first, fitted
# here: between these probabilities to 1.6e-9 as q·P(r)/Q(r) with q = p − 1/2 and r = q², outside to 1.4e-9 as P(w)/Q(w)
# with w the 16th root of the nearer tail, down to the smallest that 24 bits give.
_CENTRE = 0.4775  # |q|
_P = -47.48240849564991, 246.1924148926407, -295.6850120288015, 144.12901490454144, -31.23762487220269
_P_CENTRE = *_P, 2.5066283192685246
_Q = -62.88802007745768, 177.70155868464667, -165.71412081447863, 69.34292558290049, -13.509204131334227
_Q_CENTRE = *_Q, 1.0
_P = -42.87478800259086, 107.6146353057594, 18.75615864659175, -183.1646181163947, 87.62953303107899
_P_TAIL = *_P, 11.617644557199702
_Q = -2.530400995443931, 19.454250753371834, -24.40365554601364, -6.706243621293833, 13.513089453550784
_Q_TAIL = *_Q, 1.0

_BELOW_TWO = 0.022750131948179195  # the share of a normal distribution below −2 deviations
TRUNCATED_DEVIATION = 0.8796256610342398
"""The deviation of a standard normal distribution that is cut at ±2."""


def draw(
    seed: int, key: str, size: int, standard: Callable[[Floats], Floats], mean: float, spread: float
) -> NDArray[np.float32]:
    """`size` values mean + spread·`standard`(u) in float32, of the stream that belongs to `seed` and `key`."""
    stream = np.random.Philox(key=stream_key(seed, key))
    if size >= 1 << 60:  # NumPy would say something else
        raise MemoryError(f"{size:,} values")
    out = np.empty(size, np.float32)
    for start in range(0, size, _CHUNK):
        part = out[start : start + _CHUNK]
        values = standard(_uniforms(stream, part.size))
        values *= spread
        values += mean
        with np.errstate(over="ignore"):  # an infinity is seen when weights are written
            part[:] = values
    return out


def stream_key(seed: int, key: str) -> int:
    """The 128-bit key of a parameter's stream."""
    return int.from_bytes(sha256(f"cnnspec-init-v1\0{seed}\0{key}".encode()).digest()[:16], "little")


def _uniforms(stream: np.random.Philox, size: int) -> Floats:
    words = stream.random_raw((size + 1) // 2).astype("<u8", copy=False)
    values = (words.view("<u4")[:size] >> 8).astype(np.float64)
    values += 0.5
    values *= 2.0**-24
    return values


def uniform(u: Floats) -> Floats:
    """Even between −1 and 1."""
    return 2.0 * u - 1.0


def normal(u: Floats) -> Floats:
    """With mean 0 and deviation 1."""
    q = u - 0.5
    values = _centre(q)
    tails = np.flatnonzero(np.abs(q) > _CENTRE)
    q = q[tails]
    w = 0.5 - np.abs(q)
    for _ in range(4):
        w = np.sqrt(w)
    values[tails] = np.copysign(_polynomial(_P_TAIL, w) / _polynomial(_Q_TAIL, w), q)
    return values


def truncated_normal(u: Floats) -> Floats:
    """As `normal`, where that is between −2 and 2."""
    return _centre((u - 0.5) * (1.0 - 2.0 * _BELOW_TWO))


def _centre(q: Floats) -> Floats:
    r = q * q
    values = _polynomial(_P_CENTRE, r)
    values *= q
    values /= _polynomial(_Q_CENTRE, r)
    return values


def _polynomial(coefficients: Sequence[float], x: Floats) -> Floats:
    values = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        values *= x
        values += coefficient
    return values
