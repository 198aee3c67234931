"""Every step of augmentation with all of its options, and images to change."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from scipy import ndimage

from cnnspec.spec.recipe.augment import Augmentation
from cnnspec.spec.tagged import choices
from cnnspec.train.snippets import augment, crops
from cnnspec.train.snippets.draws import Draws

CHOICES = choices(get_args(Augmentation)[0])
CROPS = ("random_crop", "random_resized_crop")

WARPS = [{}, {"fill": 200.0}, {"fill": "edge"}, {"fill": "reflect"}]
WARPS += [{"interpolation": "nearest"}, {"fill": "reflect", "interpolation": "nearest"}, {"probability": 0.5}]
CASES: dict[str, list[dict[str, Any]]] = {
    "pad_and_crop": [
        {"padding": 3},
        {"padding": 2, "fill": 9.5},
        {"padding": 4, "fill": "edge"},
        {"padding": 4, "fill": "reflect", "probability": 0.5},
    ],
    "flip": [{}, {"direction": "vertical"}, {"probability": 1.0}],
    "shift": [{"by": (0.2, 0.3), **options} for options in WARPS] + [{"by": (0.0, 0.9)}],
    "rotate": [{"degrees": 40.0, **options} for options in WARPS] + [{"degrees": 180.0}],
    "zoom": [{"factor": (0.6, 1.5), **options} for options in WARPS],
    "shear": [{"degrees": 30.0, **options} for options in WARPS],
    "brightness": [{"factor": (0.2, 1.8)}, {"factor": (1.5, 4.0), "probability": 0.5}],
    "contrast": [{"factor": (0.0, 2.0)}, {"factor": (1.5, 4.0), "probability": 0.5}],
    "saturation": [{"factor": (0.0, 2.0)}, {"factor": (1.5, 4.0), "probability": 0.5}],
    "hue": [{"degrees": 180.0}, {"degrees": 20.0, "probability": 0.5}],
    "lighting": [{}, {"std": 2.0, "probability": 0.5}],
    "cutout": [{"size": 4}, {"size": 5, "probability": 0.5}],
    "mixup": [{"alpha": 0.2}, {"alpha": 3.0}],
    "random_crop": [{"shorter_side": (13, 20)}, {"shorter_side": (16, 16), "square": True}],
    "random_resized_crop": [{}, {"area": (0.3, 0.4)}, {"ratio": (0.5, 0.6)}],
}


def function(kind: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(crops if kind in CROPS else augment, kind)
    return found


def pictures(count: int = 6, height: int = 13, width: int = 11, channels: int = 3) -> np.ndarray:
    """Smooth, so that positions count, with noise and with pixels at both ends of the range."""
    random = np.random.default_rng(0)
    coarse = random.uniform(-60, 320, (count, 5, 4, channels))
    smooth = ndimage.zoom(coarse, (1, height / 5, width / 4, 1), order=1, mode="nearest", grid_mode=True)
    return np.asarray(np.clip(smooth + random.uniform(-9, 9, smooth.shape), 0, 255))


def draws(count: int, epoch: int = 0) -> Draws:
    return Draws(11, epoch, np.arange(100, 100 + count))
