"""What tests of `verify` share: backends that are made up."""

from types import SimpleNamespace

import pytest

from cnnspec.backends.reference import BACKEND as REFERENCE


@pytest.fixture
def install(monkeypatch):
    """Makes these backends, and the reference, the ones that are installed."""

    def install(*found):
        points = [*found, SimpleNamespace(name="reference", load=lambda: REFERENCE)]
        monkeypatch.setattr("cnnspec.lower.backend.installed", lambda: points)

    return install
