"""Makes the sample: a balanced part of Fashion-MNIST, from the files in a folder.

python scripts/make_sample.py [FOLDER]
"""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np

from cnnspec.train.snippets.idx import idx_part

TARGET = Path(__file__).parent.parent / "cnnspec/train/sample"
PER_CLASS = {"train": 250, "t10k": 50}
CLASSES = 10


def main(folder: Path) -> None:
    """Write the first images of every class, in the order in which they are published."""
    TARGET.mkdir(exist_ok=True)
    for name, count in PER_CLASS.items():
        part = idx_part(folder, name)
        first = [np.flatnonzero(part.labels == c)[:count] for c in range(CLASSES)]
        chosen = np.sort(np.concatenate(first))
        write(f"{name}-images-idx3", part.images[chosen, :, :, 0])
        write(f"{name}-labels-idx1", part.labels[chosen].astype(np.uint8))


def write(name: str, array: np.ndarray) -> None:
    """One IDX file; the same bytes on every day."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    packed = gzip.compress(header + array.tobytes(), 9, mtime=0)
    path = TARGET / f"{name}-ubyte.gz"
    path.write_bytes(packed)
    print(f"{path.name}: {len(packed)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist"))
