"""torchvision's networks with auxiliary heads as they train: all outputs, all gradients and the statistics after it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import agree
from torch.nn import functional
from vision import models

import cnnspec
from cnnspec.weights.names import mapped_names

from .parity import FLOAT64, images, samples
from .random_torch import randomised

HEADS = {
    "googlenet_torchvision": ("googlenet", ("logits", "aux_logits1", "aux_logits2")),
    "inception_v3": ("inception_v3", ("logits", "aux_logits")),
}
"""torchvision's networks, and their outputs in the order of ours."""


def step(model: Any, x: Any, outputs: tuple[str, ...] | None, cotangents: Any) -> list[Any]:
    """One step in float64, without dropout: outputs, by position, with gradients in the parameters."""
    model.double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    found = model(torch.from_numpy(x).double())
    found = [getattr(found, name) for name in outputs] if outputs else list(found)
    sum((y * torch.from_numpy(c)).sum() for y, c in zip(found, cotangents, strict=True)).backward()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = functional.adaptive_avg_pool2d
    windows = {(4, 4): lambda x: functional.avg_pool2d(x, 5, 3)}  # uneven in torchvision's heads, the paper's in ours
    monkeypatch.setattr(
        functional, "adaptive_avg_pool2d", lambda x, size: windows.get(size, lambda x: pool(x, size))(x)
    )
    application, outputs = HEADS[name]
    net = cnnspec.load(name, classes=10)
    size = net.graph.input.shape[-1]
    model = getattr(models, application)(weights=None, num_classes=10, init_weights=False)
    model = randomised(model, torch.from_numpy(samples(size)))
    torch.save(model.state_dict(), tmp_path / "peer.pth")
    ours = net.build("torch", net.load_weights(f"torchvision:{tmp_path / 'peer.pth'}", training=True))

    x = images(size, 4)
    cotangents = np.random.default_rng(0).normal(size=(len(outputs), 4, 10))
    expected = step(model, x, outputs, cotangents)
    found = step(ours, x, None, cotangents)
    for y, wanted in zip(found, expected, strict=True):
        wanted = wanted.detach().numpy()
        agree(y.detach().numpy(), wanted, FLOAT64 * np.abs(wanted).max())

    names = mapped_names(net.graph, "torchvision")
    theirs, state = dict(model.named_parameters()), model.state_dict()
    largest = max(float(parameter.grad.abs().max()) for parameter in theirs.values())
    trained = 0
    for node in net.graph.nodes:
        for param in node.params:
            key, name = f"{node.path}.{param}", f"{names[node.path]}.{param}"
            if name in theirs:
                agree(ours.get_parameter(key).grad, theirs[name].grad, FLOAT64 * largest)
                trained += 1
            else:
                agree(ours.get_buffer(key), state[name], FLOAT64 * float(state[name].abs().max()))
    assert trained == len(theirs) == len(list(ours.parameters()))
