"""Generated code: what it looks like, that tools for Python have nothing against it, and that it is the whole network."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from random_specs import loaded, random_spec
from tools import ruff_says

import cnnspec
from cnnspec.lower.backend import CodeBackend, backends
from cnnspec.lower.fold import fold
from cnnspec.lower.replay import Made, differences, replay

HERE = Path(__file__).parent
PRINTED = ["lenet5", "mnist_cnn", "vgg16", "googlenet", "resnet50", "xception", "inception_v2", "se_resnet50"]
CASES = ["small_similar", "small_different", "large_similar", "large_different"]
CODE = [name for name, point in backends().items() if isinstance(point.load(), CodeBackend)]
RANDOM = range(5000, 5060)
LIMITS = {"resnet50": 110, "resnet152": 110, "googlenet": 110, "vgg16": 60}


@cache
def network(name: str) -> cnnspec.Net:
    return cnnspec.load(name)


@cache
def source(name: str, backend: str) -> str:
    return network(name).source(backend)


@cache
def random_networks() -> dict[str, cnnspec.Net]:
    return {f"random{seed}": loaded(random_spec(seed)) for seed in RANDOM}


def test_two_backends_print_code():
    assert {"torch", "keras"} <= set(CODE)


@pytest.mark.parametrize("backend", CODE)
@pytest.mark.parametrize("name", PRINTED)
def test_text(name, backend, snapshot):
    snapshot(HERE / f"{name}_{backend}.txt", source(name, backend))


@pytest.mark.parametrize("name", cnnspec.zoo())
def test_the_program_is_the_graph(name):
    graph = network(name).graph
    assert differences(fold(graph), graph) == []


@pytest.mark.parametrize("name", ["resnet18", "xception", "googlenet_torchvision"])
def test_the_program_without_shared_texts_is_the_graph(name):
    graph = network(name).graph
    assert differences(fold(graph, shared=False), graph) == []


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["resnet18", "googlenet", "inception_v3_keras", "nin", "mlp"])
def test_a_transfer_case_is_folded(name, case):
    net = cnnspec.load(name, transfer=case, classes=7)
    assert differences(fold(net.graph), net.graph) == []
    for backend in CODE:
        ast.parse(net.source(backend))


@pytest.mark.parametrize("change", ["path", "kind", "attrs", "channels", "inputs"])
def test_a_difference_is_found(change, monkeypatch):
    graph = network("lenet5").graph
    program = fold(graph)
    ops = replay(program)
    wrong = {"path": "other", "kind": "relu6", "attrs": {}, "channels": -1, "inputs": ("other",)}[change]
    tampered = [*ops[:3], ops[3]._replace(**{change: wrong}), *ops[4:]]
    monkeypatch.setattr("cnnspec.lower.replay.replay", lambda _: tampered)
    assert differences(program, graph)
    assert isinstance(tampered[3], Made)


@pytest.mark.parametrize("lost", [True, False])
def test_a_lost_or_doubled_op_is_found(lost, monkeypatch):
    graph = network("lenet5").graph
    program = fold(graph)
    ops = replay(program)
    monkeypatch.setattr("cnnspec.lower.replay.replay", lambda _: ops[1:] if lost else [*ops, ops[0]])
    assert differences(program, graph)


@pytest.mark.parametrize("backend", CODE)
@pytest.mark.parametrize(("name", "limit"), LIMITS.items())
def test_length(name, limit, backend):
    assert len(source(name, backend).splitlines()) <= limit


@pytest.mark.parametrize("backend", CODE)
def test_a_deeper_network_is_no_longer(backend):
    assert len(source("resnet152", backend).splitlines()) == len(source("resnet50", backend).splitlines())


@pytest.mark.parametrize("backend", CODE)
def test_ruff_has_nothing_to_say(backend, tmp_path):
    for name in cnnspec.zoo():
        (tmp_path / f"{name}.py").write_text(source(name, backend))
    assert ruff_says(tmp_path) == ""


def test_ruff_has_nothing_to_say_of_random_specs(tmp_path):
    for name, net in random_networks().items():
        for backend in CODE:
            (tmp_path / f"{name}_{backend}.py").write_text(net.source(backend))
    assert ruff_says(tmp_path) == ""


@pytest.mark.parametrize("imports", ["skip", pytest.param("normal", marks=pytest.mark.slow)])
def test_mypy_has_nothing_to_say(imports, tmp_path):
    """Without reading PyTorch's own types, too: those take it ten times as long as all networks together."""
    for name in cnnspec.zoo():
        (tmp_path / f"{name}.py").write_text(source(name, "torch"))
    for name, net in random_networks().items() if imports == "normal" else ():
        (tmp_path / f"{name}.py").write_text(net.source("torch"))
    files = sorted(map(str, tmp_path.glob("*.py")))
    options = ["--config-file=", "--cache-dir", str(tmp_path / "cache"), "--follow-imports", imports]
    command = [sys.executable, "-m", "mypy", *options, *files]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("backend", CODE)
@pytest.mark.parametrize("name", cnnspec.zoo())
def test_it_imports_its_framework_alone(name, backend):
    found = set()
    for statement in ast.walk(ast.parse(source(name, backend))):
        if isinstance(statement, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            found.add((statement.module or "").partition(".")[0])
    assert found <= {backend, "math", "collections"}


@pytest.mark.parametrize("backend", CODE)
def test_the_same_spec_gives_the_same_bytes(backend):
    command = f"import cnnspec; print(cnnspec.load('googlenet').source({backend!r}), end='')"
    texts = {
        subprocess.run(
            [sys.executable, "-c", command], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {source("googlenet", backend)}


@pytest.mark.parametrize("backend", CODE)
def test_build_writes_whole_files_alone(backend, tmp_path):
    target, *others = network("lenet5").write_source(backend, tmp_path / "new")
    assert target == tmp_path / "new" / "model.py"
    assert target.read_text() == source("lenet5", backend)
    assert {target, *others} == {path for path in (tmp_path / "new").rglob("*") if path.is_file()}


def test_printing_needs_no_framework():
    command = (
        "import sys, cnnspec; net = cnnspec.load('googlenet'); net.source('torch'); net.source('keras'); "
        "print([m for m in ('torch', 'keras', 'tensorflow', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
