"""PyTorch's ReLUs write over their input only where nobody misses it: gradients are those of ReLUs that do not."""

import re

import pytest

import cnnspec

torch = pytest.importorskip("torch")

HEAD = "cnnspec: 1\nname: net\ninput: {channels: 3, size: 8}\n"
END = "[{conv: 4, kernel: 3, name: stem}, BODY, global_avg_pool, {dense: 2, name: fc}]"
PRE = "[batch_norm, relu, {conv: 4, kernel: 3}, batch_norm, relu, {conv: 4, kernel: 3}]"
CASES = {
    # what stands between stem and head, and how many ReLUs write over what they read
    "pre-activation": ("{residual: {body: " + PRE + "}, repeat: 2, name: parts}", 2),
    "pre-activation in a block": ("{pre: null, repeat: 3, name: parts}", 2),
    "a list": ("{pre_list: null, name: part}", 1),
    "behind a convolution": ("relu", 1),
    "read again": ("{add: {a: [relu], b: []}}", 0),
    "read again by name": ("relu, {add: [previous, stem]}", 0),
    "behind a ReLU": ("relu, relu", 1),
    "behind a sigmoid": ("sigmoid, relu", 0),
    "behind a pool": ("{max_pool: 2}, relu", 0),
    "behind a dropout": ("{dropout: 0.0}, relu, {add: [previous, stem]}", 0),
    "in a loop": ("{one: null, repeat: 3, name: parts}", 0),
    "in a loop that ends in a sigmoid": ("{many: null, name: part}", 0),
    "repeated": ("{relu: null, repeat: 2, name: r}", 0),
    "under a condition": ("{maybe: {on: true}, name: a}, {maybe: {on: false}, name: b}", 0),
    "an output of its own": ("{conv: 4, kernel: 1, name: seen}, relu", 0),
}
BLOCKS = f"""blocks:
  pre: {{layers: [{{residual: {{body: {PRE}}}}}]}}
  pre_list: {{layers: [{{conv: 4, kernel: 1}}, relu, {{conv: 4, kernel: 1}}]}}
  one: {{layers: [relu, {{conv: 4, kernel: 3}}]}}
  many: {{layers: [{{conv: 4, kernel: 1}}, {{max_pool: 1}}, {{one: null, repeat: 2, name: ones}}, sigmoid]}}
  maybe: {{args: [on], layers: [{{conv: 4, kernel: 1}}, {{relu: null, if: $on}}, {{conv: 4, kernel: 1}}]}}
"""


def gradients(source):
    names = {"__name__": "model"}
    exec(source, names)
    torch.manual_seed(0)
    model = names["Net"]().double().train()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    outputs = model(images)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum((y * torch.randn_like(y)).sum() for y in outputs).backward()
    return [images.grad, *(parameter.grad for parameter in model.parameters())], outputs, model.eval()(images)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_plain_relus(name, tmp_path):
    body, written_over = CASES[name]
    text = HEAD + BLOCKS + "layers: " + END.replace("BODY", body) + "\n"
    if name == "an output of its own":
        text += "outputs: {side: {from: seen}}\n"
    (tmp_path / "net.yaml").write_text(text)
    source = cnnspec.load(tmp_path / "net.yaml").source("torch")
    plain, count = re.subn(r"inplace=True|\.relu_\(\)", lambda m: ".relu()" if "_" in m[0] else "", source)
    assert count == written_over, source
    for ours, theirs in zip(gradients(source), gradients(plain), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b), source
