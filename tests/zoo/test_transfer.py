"""The four transfer cases of every network."""

from fnmatch import fnmatchcase
from functools import cache

import pytest

import cnnspec
from cnnspec.api import Net
from cnnspec.diagnostics import Report
from cnnspec.weights.published import Published, find

NETWORKS = cnnspec.zoo()
REPLACING = ("small_similar", "large_similar", "large_different")
CASES = ("small_similar", "small_different", "large_similar", "large_different")


@cache
def case(name: str, transfer: str, classes: int = 7) -> Net:
    """A network under a case, with another number of classes than it has."""
    return cnnspec.load(name, transfer=transfer, classes=classes)


def trainable(net: Net) -> int:
    return net.summary().cost.totals.trainable


def below(path: str, roots: list[str]) -> bool:
    return any(path == root or path.startswith(root + ".") for root in roots)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_four(name: str) -> None:
    transfer = cnnspec.load(name).spec.transfer
    assert transfer
    assert tuple(transfer.cases) == CASES
    assert [case(name, transfer).warnings for transfer in CASES] == [()] * 4


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("transfer", REPLACING)
def test_replaced(name: str, transfer: str) -> None:
    """What a case replaces is what another number of classes changes, in auxiliary heads too, and no more."""
    before = {node.path: node.params for node in cnnspec.load(name).graph.nodes}
    net = case(name, transfer)
    changed = {node.path for node in net.graph.nodes if node.params != before[node.path]}
    assert net.spec.transfer
    replaced = net.spec.transfer.cases[transfer].anew
    assert replaced
    assert changed == {node.path for node in net.graph.nodes if node.params and below(node.path, replaced)}
    assert set(net.spec.transfer.section.head) <= set(replaced)
    assert not changed & net.graph.frozen


@pytest.mark.parametrize("name", NETWORKS)
def test_small_similar(name: str) -> None:
    """Nothing trains but the new classifier."""
    net = case(name, "small_similar")
    assert net.spec.transfer
    head = net.spec.transfer.section.head
    rows = [row for row in net.summary().cost.layers if below(row.node.path, head)]
    assert trainable(net) == sum(row.params for row in rows)


@pytest.mark.parametrize("name", NETWORKS)
def test_small_different(name: str) -> None:
    """The network ends at an early layer, with a new classifier, which alone trains."""
    net = case(name, "small_different")
    (output,) = net.graph.outputs
    assert output.node.shape.channels == 7
    assert below(output.node.path, ["head"])
    moving = {node.path for node in net.graph.nodes if node.params} - net.graph.frozen
    assert moving == {output.node.path}
    whole = cnnspec.load(name).summary().cost.totals
    kept = sum(row.macs for row in net.summary().cost.layers)
    assert 0 < kept < whole.macs
    assert output.node.input_shapes[0].channels * 7 + 7 == trainable(net)


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern of a transfer section matches a path or what contains it."""
    wanted, steps = pattern.split("."), path.split(".")
    return len(wanted) <= len(steps) and all(map(fnmatchcase, steps, wanted))


@pytest.mark.parametrize("name", NETWORKS)
def test_large_similar(name: str) -> None:
    """An early part rests, at last everything trains, and what is not new at a lower rate."""
    net = case(name, "large_similar")
    assert net.spec.transfer
    large_similar = net.spec.transfer.cases["large_similar"]
    assert trainable(case(name, "small_similar")) < trainable(net)
    assert trainable(net) < trainable(case(name, "large_different"))
    thawed = [pattern for patterns in large_similar.section.unfreeze.values() for pattern in patterns]
    heads = [output.name for output in net.graph.outputs if output.training_only]
    for path in (node.path for node in net.graph.nodes if node.params):
        assert path not in net.graph.frozen or any(covers(pattern, path) for pattern in thawed), path
        slowed = any(covers(pattern, path) for pattern in large_similar.section.learning_rate)
        assert slowed != below(path, [*large_similar.anew, *heads]), path


@pytest.mark.parametrize("name", NETWORKS)
def test_large_different(name: str) -> None:
    """Everything trains."""
    net = case(name, "large_different")
    assert net.graph.frozen == frozenset()
    assert trainable(net) == trainable(cnnspec.load(name, classes=7))


@pytest.mark.parametrize("name", NETWORKS)
def test_boundaries(name: str) -> None:
    """Boundaries run from the input to the output, and freezing ends at one of them."""
    net = cnnspec.load(name)
    assert net.spec.transfer
    section = net.spec.transfer.section
    ends = [max(n.index for n in net.graph.nodes if below(n.path, [root])) for root in section.boundaries]
    assert ends == sorted(set(ends))
    assert section.cases["large_similar"].freeze_through in section.boundaries


@pytest.mark.parametrize("name", [name for name in NETWORKS if cnnspec.load(name).published])
def test_published_weights(name: str) -> None:
    """A network as it stands takes what is published for it, and so does every case, whatever its classes are."""
    for entry in cnnspec.load(name).published:
        assert takes(cnnspec.load(name), entry) != bool(entry.without)
        for transfer in CASES:
            assert takes(case(name, transfer), entry) != (bool(entry.without) and transfer != "small_different")


def takes(net: Net, entry: Published) -> bool:
    return find(entry.publisher, entry.name, net.graph, Report()) is not None


HAND = [  # weights and biases that train with ten classes
    ("resnet50", "small_similar", 2048 * 10 + 10),
    ("resnet50", "small_different", 512 * 10 + 10),
    ("resnet50", "large_similar", 7_098_368 + 14_964_736 + 20_490),  # layer3, layer4 and fc
    ("resnet50", "large_different", 25_557_032 - 2_049_000 + 20_490),
    ("resnet18", "small_similar", 512 * 10 + 10),
    ("vgg16", "small_similar", 4096 * 10 + 10),
    ("vgg16", "small_different", 128 * 10 + 10),
    ("vgg16", "large_different", 138_357_544 - 4_097_000 + 40_970),
    ("fashion_cnn", "small_similar", 128 * 10 + 10),
    ("googlenet", "small_similar", 1024 * 10 + 10),
    ("googlenet", "large_different", 6_998_552 - 1_025_000 + 10_250),
    ("inception_v3", "small_different", 288 * 10 + 10),
    ("squeezenet1_1", "small_similar", 512 * 10 + 10),
    ("nin", "small_similar", 192 * 10 + 10),
    ("xception", "small_different", 256 * 10 + 10),
    ("lenet5", "small_different", 16 * 5 * 5 * 10 + 10),
    ("mnist_cnn", "large_similar", 356_234 - 320),
]


@pytest.mark.parametrize(("name", "transfer", "count"), HAND)
def test_counts(name: str, transfer: str, count: int) -> None:
    assert trainable(case(name, transfer, classes=10)) == count


@pytest.mark.parametrize("transfer", ["large_similar", "large_different"])
def test_auxiliary_head_starts_anew(transfer: str) -> None:
    """Of an auxiliary head only its last layer is new: with ten classes, 1024 weights and a bias for each."""
    net = case("googlenet", transfer, classes=10)
    assert net.graph.transfer
    rows = {row.node.path: row for row in net.summary().cost.layers if row.training_only and row.params}
    assert list(rows) == ["aux1.conv", "aux1.fc1", "aux1.fc2", "aux2.conv", "aux2.fc1", "aux2.fc2"]
    assert all(row.trainable for row in rows.values())
    new = {path: row.params for path, row in rows.items() if net.graph.transfer.starts_anew(path)}
    assert new == {"aux1.fc2": 10_250, "aux2.fc2": 10_250}


HEADS = {"googlenet": ["aux1", "aux2"], "googlenet_torchvision": ["aux1", "aux2"], "inception_v3": ["aux"]}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("transfer", CASES)
def test_heads_for_training(name: str, transfer: str) -> None:
    """They are there where they train layers of inference, and only there."""
    assert [o.name for o in cnnspec.load(name).graph.outputs[1:]] == HEADS.get(name, [])
    graph = case(name, transfer).graph
    assert graph.transfer
    large = transfer.startswith("large")
    assert [output.name for output in graph.outputs[1:]] == (HEADS.get(name, []) if large else [])
    assert graph.transfer.left_out == (frozenset(HEADS.get(name, ())) if transfer == "small_similar" else frozenset())
    main = graph.ancestors([graph.outputs[0].node])
    moving = {n.index for n in graph.nodes if n.params and n.path not in graph.frozen - graph.starts.keys()}
    for output in graph.outputs:
        assert graph.ancestors([output.node]) & main & moving, output.name
