"""PyTorch's text for what no network of the zoo has: helpers, types of parameters, long sums, long loops."""

import re
import subprocess
import sys

import pytest

import cnnspec

HEAD = "cnnspec: 1\nname: net\ninput: {channels: 4, size: 12}\n"


@pytest.fixture
def net(tmp_path):
    """A function that gives the network with some layers, whose text ruff has formatted no other way."""

    def load(layers: str, more: str = "") -> cnnspec.Net:
        (tmp_path / "net.yaml").write_text(f"{HEAD}{more}layers: [{layers}]\n")
        found = cnnspec.load(tmp_path / "net.yaml")
        command = [sys.executable, "-m", "ruff", "format", "--isolated", "-"]
        text = found.source("torch")
        run = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        assert run.stdout == text
        return found

    return load


@pytest.mark.parametrize(
    ("first", "second", "declared", "uses"),
    [
        ("1", "same", "padding: int = 0", ["4, 8, padding=1", "8, 16, stride=2"]),
        ("[0, 1]", "same", "padding: int | tuple[int, int] = 0", ["4, 8, padding=(0, 1)", "8, 16, stride=2"]),
        ("[0, 1, 1, 0]", "1", "padding: int = 0", ["4, 8", "8, 16, stride=2, padding=1"]),
        ("1", "[1, 2]", "padding: int | tuple[int, int]", ["4, 8, 1", "8, 16, (1, 2), stride=2"]),
    ],
)
def test_padding_by_hand_is_no_value_of_a_parameter(net, first, second, declared, uses):
    normed = "norm: batch_norm, activation: relu"
    a = f"{{conv: 8, kernel: 3, padding: {first}, {normed}, name: a}}"
    b = f"{{conv: 16, kernel: 3, stride: 2, padding: {second}, {normed}, name: b}}"
    text = net(f"{a}, {b}, global_avg_pool, {{dense: 10}}").source("torch")
    assert re.findall(r"padding: [\w |,=\[\]]*\w\b\]?", text.replace(",\n", "\n")) == [declared]
    assert re.findall(r"self\.[ab] = ConvNormRelu\((.*)\)", text) == uses


def test_a_helper_stands_once_and_ahead_of_those_that_need_it(net):
    shifted = "{layer_norm: {}, scale: false}"
    for norms in ([shifted, "{layer_norm: {}}"], ["{layer_norm: {}}", shifted], [shifted]):
        text = net(", ".join(f"{{conv: 4, kernel: 3}}, {norm}" for norm in norms)).source("torch")
        classes = re.findall(r"^class (\w+)", text, re.MULTILINE)
        assert classes == ["ChannelNorm", "ShiftedChannelNorm", "Net"]


def test_a_block_may_be_called_as_a_helper_is(net):
    blocks = "blocks: {channel_norm: {layers: [{conv: 4, kernel: 1}]}, fast_dropout: {layers: [{dropout: 0.5}]}}\n"
    text = net("channel_norm, {layer_norm: {}}, fast_dropout", blocks).source("torch")
    classes = re.findall(r"^class (\w+)", text, re.MULTILINE)
    assert len(set(classes)) == len(classes) == 5
    assert {"ChannelNorm", "FastDropout", "Net"} < set(classes)


@pytest.fixture
def dropout(net):
    """The class that drops maps, with a rate of 0.3."""
    torch = pytest.importorskip("torch")
    names = {"__name__": "model"}
    exec(net("{dropout: 0.3, name: drop}, {conv: 4, kernel: 1}").source("torch"), names)
    torch.manual_seed(0)
    return names["Net"]().drop


def test_maps_are_dropped_at_their_rate(dropout):
    import torch

    x = torch.rand(64, 8, 28, 28) + 1
    kept = dropout(x) != 0
    deviation = (0.3 * 0.7 / x.numel()) ** 0.5
    assert abs(kept.double().mean() - 0.7) < 5 * deviation
    for axis, size in enumerate(x.shape):  # neighbours know nothing of each other
        both = kept.narrow(axis, 0, size - 1) & kept.narrow(axis, 1, size - 1)
        assert abs(both.double().mean() - 0.49) < 5 * deviation
    assert not torch.equal(kept, dropout(x) != 0)
    assert torch.equal(dropout.eval()(x), x)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["plain", "channels_last", "some channels", "every other pixel"])
def test_maps_that_are_dropped_are_zeros_and_the_others_larger(dropout, layout, dtype):
    import torch

    x = torch.randn(3, 8, 5, 7, dtype=getattr(torch, dtype))
    if layout != "plain":
        x = x.to(memory_format=torch.channels_last)
    if layout == "some channels":
        x = x[:, 2:5]
    elif layout == "every other pixel":
        x = x[:, :, ::2, ::2]
    x = x.detach().requires_grad_()
    y = dropout(x)
    y.sum().backward()
    assert y.dtype == x.dtype and y.shape == x.shape
    scale = torch.where(y == 0, 0, torch.tensor(1 / 0.7, dtype=torch.float32).to(x.dtype))
    assert 0 < (y == 0).sum() < y.numel()
    torch.testing.assert_close(y, x * scale)
    torch.testing.assert_close(x.grad, scale)


def test_a_network_that_drops_maps_compiles_whole(dropout):
    import torch

    compiled = torch.compile(dropout, backend="eager", fullgraph=True)
    y = compiled(torch.ones(4, 8, 28, 28))
    assert set(y.unique().tolist()) == {0, torch.tensor(1 / 0.7).item()}
    torch.export.export(torch.nn.Sequential(dropout), (torch.ones(4, 8, 28, 28),))


def test_a_transposed_convolution_with_an_activation_is_still_called_as_one(net):
    up = "{transposed_conv: 4, kernel: 2, stride: 2, activation: relu, repeat: 2, name: up}"
    found = net(f"{{conv: 4, kernel: 1}}, {up}")
    assert "(\n        self, x: torch.Tensor, output_size: list[int] | None = None\n    )" in found.source("torch")
    torch = pytest.importorskip("torch")
    names = {"__name__": "model"}
    exec(found.source("torch"), names)
    model = names["Net"]()
    part = model.up[0]
    x = torch.randn(1, 4, 3, 3)
    plain = torch.nn.functional.conv_transpose2d(x, part.weight, part.bias, stride=2)
    assert torch.equal(part(x), plain.relu())
    assert [key for key in model.state_dict() if key.startswith("up")] == [
        f"up.{at}.{name}" for at in (0, 1) for name in ("weight", "bias")
    ]


PADDED = "[{conv: 6, kernel: 4, padding: same}]"


def branches(merge: str, count: int, more: str = "") -> str:
    made = ", ".join(f"branch_number_{at}: {PADDED}" for at in range(count))
    return f"{{{merge}: {{{made}}}{more}}}, {{conv: 2, kernel: 1}}"


@pytest.mark.parametrize(("merge", "sign"), [("add", "+"), ("multiply", "*")])
def test_long_operands_are_on_lines_of_their_own(net, merge, sign):
    text = net(branches(merge, 3)).source("torch")
    operands = [f'self.branch_number_{at}["0"](F.pad(x, (1, 2, 1, 2)))' for at in range(3)]
    total = f"\n            {sign} ".join(operands)
    assert f"        x = (\n            {total}\n        )\n" in text


@pytest.mark.parametrize("merge", ["add", "multiply"])
def test_two_long_operands_have_names(net, merge):
    text = net(branches(merge, 2)).source("torch")
    assert '        y = self.branch_number_1["0"](F.pad(x, (1, 2, 1, 2)))\n' in text


@pytest.mark.parametrize("activation", ["relu", "gelu", "{leaky_relu: 0.2}", "hard_swish"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_what_is_done_to_a_long_sum(net, activation, count):
    text = net(branches("add", count, f", activation: {activation}")).source("torch")
    assert text.count("            + ") == (count - 1 if count > 2 else 0)


def test_a_sum_in_a_product_has_brackets(net):
    layers = "{conv: 4, kernel: 3, name: a}, {conv: 4, kernel: 3, name: b}, "
    text = net(layers + "{multiply: {one: [{add: [a, b]}], two: [{scale: 0.5}], three: []}}").source("torch")
    assert "return (x + y) * (y * 0.5) * y\n" in text


def test_a_long_item_of_a_loop_is_on_a_line_of_its_own(net):
    options = "norm: batch_norm, activation: hard_sigmoid"
    repeated = f"{{conv: $filters, kernel: 3, {options}, repeat: $n}}"
    stage = f"{{stage: stage$i, each: {{n: [2, 3], filters: [4, 6]}}, do: [{repeated}, {{max_pool: 2}}]}}"
    text = net(f"{{conv: 4, kernel: 1, {options}, name: stem}}, {stage}").source("torch")
    assert (
        "            *[\n                ConvNormHardSigmoid(filters, filters, 3, padding=1)\n"
        "                for _ in range(n - 1)\n            ],\n"
    ) in text
