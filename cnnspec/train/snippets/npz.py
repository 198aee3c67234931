"""NumPy archives."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from cnnspec.train.snippets.parts import Arrays, Data, DataError


def npz_data(file: Path, validation: bool) -> Data:
    """The arrays x_train and y_train, and what there is to validate and to test on."""
    try:
        if file.is_file() and not zipfile.is_zipfile(file):
            raise DataError(f"{file} is no NumPy archive, or cut off")
        archive = np.load(file, allow_pickle=False)
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            message = "it holds Python objects, which are not read; save numbers"
            raise DataError(f"{file}: {message}") from error
        raise DataError(f"{file}: {error}") from error
    test = npz_part(file, arrays, "test") if "x_test" in arrays else None
    return Data(
        npz_part(file, arrays, "train"),
        npz_part(file, arrays, "validation") if validation else None,
        test,
    )


def npz_part(file: Path, arrays: dict[str, np.ndarray], name: str) -> Arrays:
    """The images and classes of one part."""
    for key in (f"x_{name}", f"y_{name}"):
        if key not in arrays:
            known = ", ".join(sorted(arrays)[:10])
            raise DataError(f"{file} has no {key}, only {known}")
    images, labels = arrays[f"x_{name}"], arrays[f"y_{name}"]
    whole = np.issubdtype(images.dtype, np.integer)
    if not whole or (images.size and not 0 <= images.min() <= images.max() <= 255):
        found = "others" if whole else images.dtype
        message = f"pixels are whole numbers from 0 to 255, and these are {found}"
        raise DataError(f"{file}: x_{name}: {message}")
    if images.ndim not in (3, 4):
        raise DataError(f"{file}: x_{name} is {images.ndim}-dimensional, not N×H×W(×C)")
    if labels.shape == (len(images), 1):  # as some archives have them
        labels = labels[:, 0]
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        message = f"{len(images)} whole numbers, one for each image"
        raise DataError(f"{file}: y_{name} is not {message}")
    if images.ndim == 3:
        images = images[..., None]
    place = f"{file}: x_{name}"
    return Arrays(images.astype(np.uint8), labels.astype(np.int64), place)
