"""The comparison of graphs can fail: each change below leaves shapes and counts as they are."""

from pathlib import Path

import pytest

from .structure import Step, listing, same, spec_listing

CHANGES = {
    "average divisor": ("inception_v3", "defaults: {avg_pool: {divisor: valid}}"),
    "epsilon": ("resnet18", "defaults: {conv: {norm: {batch_norm: {epsilon: 1e-3}}}}"),
    "momentum": ("resnet18", "defaults: {conv: {norm: {batch_norm: {momentum: 0.99}}}}"),
    "dropout rate": ("inception_v3", "params: {dropout: 0.2}"),
    "padding": ("vgg11", "defaults: {conv: {padding: [2, 2, 0, 0]}}"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_sees(change: str, tmp_path: Path) -> None:
    base, section = CHANGES[change]
    changed = tmp_path / "changed.yaml"
    changed.write_text(f"cnnspec: 1\nname: changed\nextends: {base}\n{section}\n")
    before, after = spec_listing(base), spec_listing(str(changed))
    assert len(before) == len(after)
    assert before != after


def test_sees_a_stride_that_moved() -> None:
    """In every first block of ResNet-50, from the 3×3 convolution to the 1×1 before it."""
    in_3x3, in_1x1 = spec_listing("resnet50"), spec_listing("resnet50_keras")
    assert len(in_3x3) == len(in_1x1)
    assert sum("window 3×3 stride 2×2 pads [1, 1, 1, 1] weight" in line for line in in_3x3) == 3
    assert sum("window 3×3 stride 2×2 pads [1, 1, 1, 1] weight" in line for line in in_1x1) == 0


def test_order_follows_from_the_graph() -> None:
    """Terms of a sum may swap, branches of a concat may not; when a layer was made means nothing."""
    steps = {"in": Step("input", ()), "a": Step("conv a", ["in"]), "b": Step("conv b", ["in"])}
    made_later = {"in": steps["in"], "b": steps["b"], "a": steps["a"]}
    deep = {"a2": Step("relu", ["a"])}

    def lines(first: dict[str, Step], kind: str, inputs: list[str]) -> list[str]:
        return listing({**first, **deep, "end": Step(kind, inputs)}, ["end"])

    assert lines(steps, "add", ["a2", "b"]) == lines(made_later, "add", ["b", "a2"])
    assert lines(steps, "concat", ["a2", "b"]) == lines(made_later, "concat", ["a2", "b"])
    assert lines(steps, "concat", ["a2", "b"]) != lines(steps, "concat", ["b", "a2"])


@pytest.mark.parametrize(
    ("extent", "kernel", "stride", "pads"),
    [(224, 3, 2, (0, 1)), (225, 3, 2, (1, 1)), (32, 2, 1, (0, 1)), (7, 2, 2, (0, 1)), (19, 1, 2, (0, 0))],
)
def test_same(extent: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    assert same((extent, extent), (kernel, kernel), (stride, stride)) == (pads[0], pads[0], pads[1], pads[1])
