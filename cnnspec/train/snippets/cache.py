"""Training from features, which are kept in files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from data import Data, Features, features

CUT = ""  # the last layer up to which all stays frozen


def with_features(
    data: Data,
    folder: Path | None,
    key: bytes,
    batch_size: int,
    compute: Callable[[np.ndarray], np.ndarray],
) -> tuple[Data, str]:
    """The data with features to train and to validate on, and what to say of them."""
    if folder is None:
        import pooch

        folder = Path(pooch.os_cache("cnnspec")) / "features"
    made: dict[str, Features] = {
        name: features(part, folder, key, batch_size, compute)
        for name, part in data._asdict().items()
        if part is not None and name != "test"  # which is read once
    }
    images = sum(len(part) for part in made.values())
    size = sum(part.path.stat().st_size for part in made.values()) / 1e6
    said = f"features of {CUT}: {images:,} images, {size:,.1f} MB in {folder}"
    if not any(part.new for part in made.values()):
        said += ", from before"
    return data._replace(**made), said
