"""Weights by parameter key, made or read one at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from cnnspec.diagnostics import Diagnostic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float32]"


class Weights(Mapping[str, Array]):
    """Arrays in canonical layout by key. None is kept: what needs one twice should hold on to it.

    `origin` says where they come from, as `{"seed": "0"}`; files state it. `anew` are keys that a file was without.
    """

    anew: frozenset[str] = frozenset()

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], origin: Mapping[str, str]) -> None:
        self.shapes = dict(shapes)
        self.origin = dict(origin)
        self.warnings: list[Diagnostic] = []
        """What whoever uses them should know."""

    @abstractmethod
    def __getitem__(self, key: str) -> Array: ...

    def stored(self, key: str) -> Iterator[bytearray] | None:
        """The bytes of an array in float32, little-endian, where a file has just these; None where it has not.

        They come a piece at a time, each good until the next one is asked for.
        """
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __contains__(self, key: object) -> bool:  # Mapping's own would make the array
        return key in self.shapes

    def __repr__(self) -> str:
        origin = "".join(f", {name} {value}" for name, value in self.origin.items())
        return f"<{type(self).__name__}: {len(self)} arrays{origin}>"


class Over(Weights):
    """The weights called `keys`: from `above` what is read there, the others drawn, from `below`; no seed gives all."""

    def __init__(self, above: Weights, below: Weights, keys: Iterable[str]) -> None:
        origin = {name: value for name, value in above.origin.items() if name != "seed"}
        read = above.shapes.keys() - above.anew
        sources = {key: above if key in read else below for key in keys}
        super().__init__({key: source.shapes[key] for key, source in sources.items()}, origin)
        self._sources = sources
        self.anew = frozenset(sources.keys() - read)
        self.warnings = above.warnings

    def __getitem__(self, key: str) -> Array:
        return self._sources[key][key]

    def stored(self, key: str) -> Iterator[bytearray] | None:
        return self._sources[key].stored(key)


class Given(Weights):
    """Arrays that are there already, or in a mapping of another kind."""

    def __init__(self, arrays: Mapping[str, Any], origin: Mapping[str, str]) -> None:
        import numpy as np

        super().__init__({key: tuple(np.shape(array)) for key, array in arrays.items()}, origin)
        self._arrays = arrays

    def __getitem__(self, key: str) -> Array:
        import numpy as np

        with np.errstate(over="ignore"):  # an infinity is seen when weights are written
            return np.asarray(self._arrays[key], np.float32)


def as_weights(arrays: Mapping[str, Any]) -> Weights:
    """Arrays of any kind by key."""
    return arrays if isinstance(arrays, Weights) else Given(arrays, {})
