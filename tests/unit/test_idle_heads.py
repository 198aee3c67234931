"""Heads for training under a transfer case: they stay where their losses move what inference depends on."""

from pathlib import Path

import pytest

import cnnspec
from cnnspec.lower.fold import fold
from cnnspec.lower.replay import differences

SPEC = """\
cnnspec: 1
name: some
input: {{channels: 2, size: 8}}
layers:
  - {{conv: 4, kernel: 3, norm: batch_norm, name: a}}
  - {{conv: 4, kernel: 3, norm: {{batch_norm: {{scale: false, shift: false}}}}, name: b}}
  - {{conv: 4, kernel: 3, name: c}}
  - {{conv: 4, kernel: 1, from: b, name: beside}}
  - {{max_pool: 2, from: c, name: pool}}
  - global_avg_pool
  - {{dense: 3, name: fc}}
outputs:
  aux: {{from: {source}, training_only: true, layers: [flatten, {{dense: 4, name: wide}}, {{dense: 3, name: fc}}]}}
{more}transfer:
  head: [fc]
  cases: {{large_similar: {case}}}
"""
FURTHER = "  further: {from: beside}\n"  # of inference, which needs `beside`


def load(folder: Path, source: str, case: str, more: str = "", under: str = "large_similar") -> cnnspec.Net:
    (folder / "some.yaml").write_text(SPEC.format(source=source, case=case, more=more))
    return cnnspec.load(folder / "some.yaml", transfer=under)


@pytest.mark.parametrize(
    ("source", "case", "stays"),
    [
        ("c", "{freeze: ['*'], replace: [fc, aux.fc]}", False),
        ("c", "{freeze_through: b, replace: [fc, aux.fc]}", True),
        ("b", "{freeze_through: b, replace: [fc, aux.fc]}", False),
        ("b", "{freeze_through: b, replace: [fc, aux.fc], unfreeze: {9: [a]}}", True),
        ("b", "{freeze: [a, b.conv]}", False),  # running statistics are no loss's doing
        ("a", "{freeze: [a.conv]}", True),  # but the scale of a norm is
        ("input", "{replace: [fc]}", False),
        ("c", "{replace: [fc]}", True),
        # patterns that name what is left out
        ("c", "{freeze: ['*'], replace: {aux.wide: [{dense: 5}], fc: , aux.fc: }, learning_rate: {aux.*: 2}}", False),
    ],
)
def test_which_stay(source, case, stays, tmp_path):
    net = load(tmp_path, source, case, FURTHER)
    graph = net.graph
    assert [output.name for output in graph.outputs] == (["main", "aux", "further"] if stays else ["main", "further"])
    assert ("aux" in {node.path.split(".")[0] for node in graph.nodes}) == stays
    assert graph.transfer
    assert graph.transfer.left_out == (frozenset() if stays else {"aux"})
    assert graph.transfer.leaves_out("aux.wide.weight") != stays
    assert not graph.transfer.leaves_out("auxiliary.weight")
    assert ("aux.fc" in graph.transfer.anew) == (stays and "aux.fc" in case)
    assert differences(fold(graph), graph) == []
    for backend in ("torch", "keras"):
        assert ("aux" in net.source(backend)) == stays


def test_without_a_case_they_stay(tmp_path):
    graph = load(tmp_path, "input", "{replace: [fc]}", FURTHER, under="").graph
    assert [output.name for output in graph.outputs] == ["main", "aux", "further"]


@pytest.mark.parametrize(("more", "stays"), [(FURTHER, True), ("", False)])
def test_layers_that_lead_to_them_alone(more, stays, tmp_path):
    """All else is frozen. What a further output needs is moved by the head; what nothing else needs goes with it."""
    graph = load(tmp_path, "beside", "{freeze: [a, b, c], replace: [fc, aux.fc]}", more).graph
    both, tops = {"aux", "beside"}, {node.path.split(".")[0] for node in graph.nodes}
    assert both & tops == (both if stays else set())
    assert graph.transfer
    assert graph.transfer.left_out == (set() if stays else both)
    assert differences(fold(graph), graph) == []
