"""Random numbers that depend on nothing but what they are for."""

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

PHILOX_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
PHILOX_INCREMENTS = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)
WORD_BITS = np.uint64(32)
LOW_WORD = np.uint64(0xFFFFFFFF)


def philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 (Salmon et al., 2011), which makes four words of a column's four.

    A word is a whole number of 32 bits, in a uint64.
    """
    even, odd = counters[0::2], counters[1::2]
    keys = np.array([[key[0]], [key[1]]], np.uint64)
    for _ in range(10):
        products = (even * PHILOX_MULTIPLIERS)[::-1]
        even, odd = (products >> WORD_BITS) ^ odd ^ keys, products & LOW_WORD
        keys = (keys + PHILOX_INCREMENTS) & LOW_WORD
    return np.stack([even[0], odd[0], even[1], odd[1]])


class Draws:
    """Random numbers for each sample of a batch, new ones with every call.

    They depend on the seed, the epoch, the sample's index and how many were drawn
    before; not on the batch that the sample is in, its place there, or the machine.
    """

    def __init__(
        self,
        seed: int,
        epoch: int,
        samples: Sequence[int] | np.ndarray,
        stream: int = 0,
    ) -> None:
        self.seed, self.epoch, self.stream = seed, epoch, stream
        self.samples = np.asarray(samples, np.uint64)
        self.drawn = 0
        self.block = np.empty((4, len(self.samples)), np.uint64)

    def __len__(self) -> int:
        return len(self.samples)

    def each(self, stream: int = 1) -> Iterator["Draws"]:
        """Draws for each sample alone; another `stream` has other numbers."""
        for i in range(len(self)):
            yield Draws(self.seed, self.epoch, self.samples[i : i + 1], stream)

    def words(self) -> np.ndarray:
        """Whole numbers of 32 bits, as uint64."""
        block, word = divmod(self.drawn, 4)
        if word == 0:
            counters = np.zeros((4, len(self)), np.uint64)
            counters[:2] = [[block], [self.epoch]]
            counters[2:] = self.samples & LOW_WORD, self.samples >> WORD_BITS
            self.block = philox(counters, (self.seed, self.stream))
        self.drawn += 1
        words: np.ndarray = self.block[word]
        return words

    def uniform(self, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Numbers between `low` and `high`."""
        numbers: np.ndarray = low + (high - low) * ((self.words() + 0.5) / 2**32)
        return numbers

    def integers(self, low: int, high: int) -> np.ndarray:
        """Whole numbers from `low` up to, not including, `high`."""
        steps = self.words() * np.uint64(high - low) >> WORD_BITS
        return low + steps.astype(np.int64)

    def normal(self) -> np.ndarray:
        """Numbers of mean 0 and deviation 1."""
        quantile = NormalDist().inv_cdf
        return np.array([quantile(share) for share in self.uniform().tolist()])

    def chance(self, probability: float) -> np.ndarray:
        """True with this probability."""
        return self.uniform() < probability
