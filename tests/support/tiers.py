"""What runs by default, and what is slow."""

import pytest

KERAS_SLOWLY = ["torch", pytest.param("keras", marks=pytest.mark.slow)]
"""Frameworks for what takes Keras long: by default it is tested with PyTorch alone."""
