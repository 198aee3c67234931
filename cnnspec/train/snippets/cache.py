"""Training from features, which are kept in files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from data import Data, Features, features
from tqdm import tqdm

CUT = ""  # the last layer up to which all stays frozen


def with_features(
    data: Data,
    folder: Path | None,
    key: bytes,
    batch_size: int,
    compute: Callable[[np.ndarray], np.ndarray],
    hide: bool | None = None,
) -> tuple[Data, str]:
    """The data with features to train and to validate on, and what to say of them."""
    if folder is None:
        import pooch

        folder = Path(pooch.os_cache("cnnspec")) / "features"
    parts = {"train": data.train, "validation": data.validation}  # a test is read once
    used = {name: part for name, part in parts.items() if part is not None}
    images = sum(map(len, used.values()))
    title, made = f"features of {CUT}", dict[str, Features]()
    with tqdm(None, title, images, False, disable=hide) as bar:

        def counted(batch: np.ndarray) -> np.ndarray:
            bar.update(len(batch))
            return compute(batch)

        for name, part in used.items():
            made[name] = features(part, folder, key, batch_size, counted)
    size = sum(part.path.stat().st_size for part in made.values()) / 1e6
    said = f"{title}: {images:,} images, {size:,.1f} MB in {folder}"
    if not any(part.new for part in made.values()):
        said += ", from before"
    return data._replace(**made), said
