"""Batches, in an order that depends on nothing but the seed and the epoch."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cnnspec.train.snippets.draws import Draws
from cnnspec.train.snippets.parts import Images, Part

Batch = tuple[np.ndarray, np.ndarray]


@dataclass
class Batches:
    """Batches by their number, or the share of them that is one process's."""

    part: Part
    batch_size: int
    epoch: int | None
    rank: int
    world: int
    seed: int
    prepare: Callable[[Images, Draws | None], np.ndarray]

    def __post_init__(self) -> None:
        self.order = np.arange(len(self.part))
        if self.epoch is not None:
            keys = Draws(self.seed, self.epoch, self.order, stream=2).words()
            self.order = np.argsort(keys, kind="stable")

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, number: int) -> Batch:
        return self.read(self.shared(self.indices(number)))

    def indices(self, number: int) -> np.ndarray:
        """The images of a whole batch."""
        first = number * self.batch_size
        return self.order[first : first + self.batch_size]

    def shared(self, batch: np.ndarray) -> np.ndarray:
        """What is this process's of a whole batch."""
        first = len(batch) * self.rank // self.world
        return batch[first : len(batch) * (self.rank + 1) // self.world]

    def read(self, indices: np.ndarray) -> Batch:
        """Images as the network takes them, and their classes."""
        draw = None
        if self.epoch is not None:
            draw = Draws(self.seed, self.epoch, indices)
        images, found = self.part.read(indices, replace=draw is not None)
        return self.prepare(images, draw), self.part.labels[found]


@dataclass
class MixedBatches(Batches):
    """Batches of which each is mixed as a whole, by every process alike."""

    mix: Callable[[np.ndarray, np.ndarray, Draws], Batch]

    def __getitem__(self, number: int) -> Batch:
        indices = self.indices(number)
        draw = Draws(self.seed, self.epoch or 0, indices, stream=4)
        images, labels = self.mix(*self.read(indices), draw)
        return self.shared(images), self.shared(labels)


def load(source: Batches, start: int) -> Iterator[Batch]:
    """Batches from number `start` on, made ahead of their use by threads."""
    if start >= len(source):
        return
    logging.disable(logging.WARNING)  # what grain says where jax is not installed
    import grain

    logging.disable(logging.NOTSET)
    threads = source.part.threads
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 2)
    dataset = grain.MapDataset.source(source).slice(slice(start, None))
    batches = iter(dataset.to_iter_dataset(ahead))
    try:
        yield from batches
    finally:
        batches.close()
