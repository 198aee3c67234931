"""The comparison with a peer can fail."""

from pathlib import Path

import numpy as np
import pytest

import cnnspec

from .parity import Array, Logits, check, images, torch_logits

SPEC = """\
cnnspec: 1
name: small
input: {channels: 3, size: 16}
layers:
  - {conv: 8, kernel: 3, activation: relu, name: stem}
  - global_avg_pool
  - {dense: 4, name: fc}
"""


@pytest.fixture
def peer(tmp_path: Path) -> tuple[cnnspec.Net, str, Array, Logits]:
    (tmp_path / "small.yaml").write_text(SPEC)
    net = cnnspec.load(tmp_path / "small.yaml")
    net.save_weights(tmp_path / "w.safetensors", net.weights())
    x = images(16)
    return net, str(tmp_path / "w.safetensors"), x, torch_logits(net.build("torch", net.weights()), x)


def test_the_same_network_agrees(peer: tuple[cnnspec.Net, str, Array, Logits], tmp_path: Path) -> None:
    check(*peer, tmp_path)


@pytest.mark.parametrize(("kind", "by"), [("float32", 1e-4), ("float64", 1e-9)])
def test_another_one_does_not(
    kind: str, by: float, peer: tuple[cnnspec.Net, str, Array, Logits], tmp_path: Path
) -> None:
    *given, logits = peer
    with pytest.raises(AssertionError, match="allowed"):
        check(*given, {**logits, kind: logits[kind] * (1 + by)}, tmp_path)


def test_logits_that_say_nothing_are_refused(peer: tuple[cnnspec.Net, str, Array, Logits], tmp_path: Path) -> None:
    *given, logits = peer
    for value, message in ((np.ones((2, 4)), "the same logits"), (np.zeros((2, 4)), "vanish")):
        with pytest.raises(AssertionError, match=message):
            check(*given, {**logits, "float64": value}, tmp_path)
