"""Weights of classes in the loss."""

import numpy as np


def balanced(labels: np.ndarray, classes: int) -> np.ndarray:
    """Class weights, n / (classes · n_c) for n_c images of class c out of n."""
    counts = np.bincount(labels, minlength=classes)
    weights: np.ndarray = len(labels) / (classes * np.maximum(counts, 1))
    return weights
