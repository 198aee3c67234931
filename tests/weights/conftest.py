from collections.abc import Callable
from pathlib import Path

import pytest
from small_nets import SMALL

import cnnspec


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., cnnspec.Net]:
    """Loads a spec from its text."""

    def load(text: str = SMALL, **params: object) -> cnnspec.Net:
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return cnnspec.load(path, **params)

    return load
