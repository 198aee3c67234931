"""Random numbers of samples: a published generator, of keys and counters that never meet."""

import numpy as np
import pytest
from scipy import stats

from cnnspec.train.snippets.draws import Draws, philox

# The known answers that come with Random123, the generator's first publication: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
LEVEL = 1e-4  # of every test of a distribution; seeds are fixed, so that none fails by chance


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter: str, key: str, answer: str) -> None:
    first, second = words(key)
    column = np.array(words(counter), np.uint64)[:, None]
    assert philox(column, (first, second))[:, 0].tolist() == words(answer)


def test_columns_do_not_touch() -> None:
    columns = np.array([words(KNOWN[0][0]), words(KNOWN[2][0])], np.uint64).T
    together = philox(columns, (5, 6))
    for i in range(2):
        assert together[:, i].tolist() == philox(columns[:, i : i + 1], (5, 6))[:, 0].tolist()


def test_layout_of_counter_and_key() -> None:
    """Block, epoch and sample are the counter, seed and stream the key: stated, so that it stays."""
    draw = Draws(7, 3, [2**32 + 11], stream=2)
    got = [int(draw.words()[0]) for _ in range(8)]
    for block in range(2):
        column = np.array([[block], [3], [11], [1]], np.uint64)
        assert got[4 * block : 4 * block + 4] == philox(column, (7, 2))[:, 0].tolist()


def everything(draw: Draws) -> np.ndarray:
    """One number of every kind, and enough for several blocks."""
    rows = [draw.uniform(-1, 1), draw.integers(0, 9), draw.normal(), draw.chance(0.3), draw.words()]
    return np.array([*rows, *(draw.uniform() for _ in range(9))])


@pytest.mark.parametrize("size", [1, 3, 64])
def test_numbers_do_not_depend_on_the_batch(size: int) -> None:
    whole = everything(Draws(1, 2, np.arange(64)))
    parts = [everything(Draws(1, 2, range(i, min(i + size, 64)))) for i in range(0, 64, size)]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)


def test_numbers_follow_their_samples() -> None:
    order = np.random.default_rng(0).permutation(64)
    assert np.array_equal(everything(Draws(1, 2, order)), everything(Draws(1, 2, np.arange(64)))[:, order])


def test_each_sample_alone() -> None:
    draws = list(Draws(1, 2, [30, 10, 20]).each())
    assert [len(draw) for draw in draws] == [1, 1, 1]
    alone = np.concatenate([everything(draw) for draw in draws], axis=1)
    assert np.array_equal(alone, everything(Draws(1, 2, [30, 10, 20], stream=1)))


@pytest.mark.parametrize("other", [(2, 0, 0), (1, 1, 0), (1, 0, 1)], ids=["seed", "epoch", "stream"])
def test_other_keys_have_other_numbers(other: tuple[int, int, int]) -> None:
    seed, epoch, stream = other
    a = np.array([Draws(1, 0, np.arange(4000)).uniform(), Draws(seed, epoch, np.arange(4000), stream).uniform()])
    assert abs(np.corrcoef(a)[0, 1]) < 4 / np.sqrt(4000)
    assert not np.any(a[0] == a[1])


def test_samples_epochs_and_calls_are_independent() -> None:
    numbers = np.array([[d.uniform() for _ in range(6)] for d in (Draws(0, e, np.arange(500)) for e in range(6))])
    assert len(np.unique(numbers)) == numbers.size
    for axis in range(3):
        for lag in (1, 2, 4):
            moved = np.roll(numbers, lag, axis=axis)
            correlation = np.corrcoef(numbers.ravel(), moved.ravel())[0, 1]
            assert abs(correlation) < 4 / np.sqrt(numbers.size), (axis, lag)
    # pairs of neighbours fill the square evenly
    for axis in range(3):
        first, second = (np.take(numbers, range(i, numbers.shape[axis], 2), axis).ravel() for i in range(2))
        table, _, _ = np.histogram2d(first, second, bins=8, range=[[0, 1], [0, 1]])
        assert stats.chisquare(table.ravel()).pvalue > LEVEL, axis


def test_uniform() -> None:
    numbers = Draws(3, 0, np.arange(20000)).uniform(-2.0, 5.0)
    assert -2 < numbers.min() < numbers.max() < 5
    assert stats.kstest(numbers, stats.uniform(-2, 7).cdf).pvalue > LEVEL


def test_uniform_stays_inside_at_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Draws, "words", lambda self: np.array([0, 2**32 - 1], np.uint64))
    draw = Draws(0, 0, [0, 1])
    assert np.all((draw.uniform() > 0) & (draw.uniform() < 1))
    assert draw.integers(3, 8).tolist() == [3, 7]
    assert np.all(np.isfinite(draw.normal()))
    assert draw.chance(1.0).all()


def test_integers() -> None:
    numbers = Draws(4, 0, np.arange(20000)).integers(-3, 6)
    values, counts = np.unique(numbers, return_counts=True)
    assert values.tolist() == list(range(-3, 6))
    assert stats.chisquare(counts).pvalue > LEVEL


def test_normal() -> None:
    numbers = Draws(5, 0, np.arange(20000)).normal()
    assert stats.kstest(numbers, "norm").pvalue > LEVEL


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_chance(probability: float) -> None:
    chosen = Draws(6, 0, np.arange(20000)).chance(probability)
    assert stats.binomtest(int(chosen.sum()), 20000, probability).pvalue > LEVEL
