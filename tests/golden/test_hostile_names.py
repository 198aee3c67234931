"""Specs whose names and texts would break generated code, or run in it, if they were pasted in as they are."""

import ast
import subprocess
import sys

import pytest
from tools import ruff_says

import cnnspec
from cnnspec.lower.backend import CodeBackend, backends

CODE = [name for name, point in backends().items() if isinstance(point.load(), CodeBackend)]
TEXTS = [
    '""" + __import__("os").system("touch owned") + """',
    "{{ 7 * 7 }} {% for x in y %} ${HOME} $(touch owned)",
    "back\\slash \\\" and ' and `ticks`",
    "line one\nimport os\nos.system('touch owned')",
    "\u0430 Cyrillic, \u00e9 accented, \u4e2d wide",
    'ends in quotes"""',
    "ends in a backslash\\",
]
KEYWORDS = ["class", "lambda", "return", "None", "True", "import", "def", "async", "match", "case", "type"]
TAKEN = ["self", "forward", "train", "eval", "x", "y", "torch", "nn", "keras", "layers", "name", "super", "print",
         "parameters", "modules", "children", "half", "double", "training", "class_", "forward_", "F", "range"]  # fmt: skip


def spec(tmp_path, text):
    path = tmp_path / "net.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("backend", CODE)
@pytest.mark.parametrize("text", TEXTS)
def test_text_stays_text(text, backend, tmp_path):
    import json

    shown = json.dumps(text)
    net = cnnspec.load(
        spec(
            tmp_path,
            f"cnnspec: 1\nname: net\ndescription: {shown}\ncite: {shown}\ninput: {{channels: 3, size: 8}}\n"
            f"labels: [{shown}, b]\nblocks:\n  part:\n    description: {shown}\n    layers: [{{conv: 4, kernel: 3}}]\n"
            "layers: [{part: {}, repeat: 2, name: parts}, global_avg_pool, {dense: 2}]\n",
        )
    )
    tree = ast.parse(net.source(backend))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not any("system" in name or "__import__" in name for name in called)
    assert not any(isinstance(node, ast.Import) and node.names[0].name == "os" for node in ast.walk(tree))


@pytest.mark.parametrize("backend", CODE)
@pytest.mark.parametrize("name", KEYWORDS + TAKEN)
def test_a_name_of_python_or_the_framework(name, backend, tmp_path):
    """As a layer, a block, an argument, a stage, a parameter and the network, all at once."""
    path = spec(
        tmp_path,
        f"""cnnspec: 1
name: {name}
input: {{channels: 3, size: 8}}
params: {{{name}: 5}}
blocks:
  {name}:
    args: {{{name}: required, other: 3}}
    layers:
      - {{conv: ${name}, kernel: 3, name: {name}}}
      - {{conv: $other, kernel: 1}}
layers:
  - {{{name}: {{{name}: 4}}, name: {name}, repeat: 2}}
  - {{{name}: {{{name}: 6}}, name: {name}2}}
  - {{conv: 4, kernel: 1, norm: batch_norm, name: b{name}}}
  - stage: s{name}$i
    each: {{{name}: [4, 8]}}
    do: [{{conv: ${name}, kernel: 3}}]
  - global_avg_pool
  - {{dense: ${name}, name: end}}
""",
    )
    problems = [d for d in cnnspec.check(path) if d.severity == "error"]
    if problems:
        assert {d.slug for d in problems} <= {"bad-name"} or name == "name"
        return
    code = cnnspec.load(path).source(backend)
    compile(code, "model.py", "exec")


def longest(tmp_path):
    """Names of 100 characters in a path of 249, near the 255 bytes that a file's name may have."""
    outer, inner = "a" * 100, "b" * 100
    return spec(
        tmp_path,
        f"cnnspec: 1\nname: {'n' * 100}\ninput: {{channels: 1, size: 8}}\nblocks:\n"
        f"  {'c' * 100}: {{layers: [{{conv: 2, kernel: 3, name: {inner}, norm: batch_norm}}]}}\n"
        f"  {'d' * 100}: {{layers: [{{{'c' * 100}: null, name: {inner[:42]}}}]}}\n"
        f"layers: [{{{'d' * 100}: null, name: {outer}}}, flatten, {{dense: 3, name: fc}}]\n",
    )


@pytest.mark.parametrize("backend", CODE)
def test_the_longest_names(backend, tmp_path, monkeypatch):
    pytest.importorskip(backend)
    monkeypatch.chdir(tmp_path)
    net = cnnspec.load(longest(tmp_path))
    weights = net.weights(3)
    assert max(map(len, weights)) > 255
    net.build(backend, weights)
    place = {"torch": "torchvision:w.pth", "keras": "keras:w.weights.h5"}[backend]
    for file in (place, "w.safetensors"):
        net.save_weights(file, weights)
        again = net.load_weights(file)
        assert all((again[key] == array).all() for key, array in weights.items())
    assert net.write_source(backend)[0].is_file()
    (file,) = net.export(f"{net.name}.onnx", weights)
    assert file.is_file()


@pytest.mark.parametrize("backend", CODE)
def test_nothing_but_the_model_runs(backend, tmp_path):
    """The code of hostile specs is executed and its model built while an audit hook watches."""
    pytest.importorskip(backend)
    files = []
    for number, name in enumerate(["class", "forward", "self", "training"]):
        text = TEXTS[number].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        path = tmp_path / f"net{number}.yaml"
        path.write_text(
            f'cnnspec: 1\nname: net\ndescription: "{text}"\ninput: {{channels: 3, size: 8}}\n'
            f"layers: [{{conv: 4, kernel: 3, name: b{name}}}, {{conv: 4, kernel: 3, name: {name}, norm: batch_norm}}, "
            "global_avg_pool, {dense: 2}]\n"
        )
        if not any(d.severity == "error" for d in cnnspec.check(str(path))):
            files.append(str(path))
    assert len(files) >= 3
    script = tmp_path / "run.py"
    script.write_text(
        f"""
import sys, cnnspec
nets = [cnnspec.load(file) for file in {files!r}]
for net in nets:
    net.build({backend!r})  # what the framework itself does when it is first used is done
seen = []
watching = False
FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect", "shutil", "os.remove")

def watch(event, args):
    if watching and (event.startswith(FORBIDDEN) or (event == "open" and "w" in str(args[1]))):
        seen.append((event, str(args)))

sys.addaudithook(watch)
watching = True
for net in nets:
    net.build({backend!r})
watching = False
print(seen)
"""
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip().splitlines()[-1] == "[]"
    assert not (tmp_path / "owned").exists()


def test_pytorchs_attributes_are_known():
    """The names that an attribute may not have are those of PyTorch's modules."""
    nn = pytest.importorskip("torch.nn")
    from cnnspec.backends.torch.modules import attribute

    names = {
        name
        for module in (nn.Module(), nn.Sequential(), nn.ModuleDict())
        for name in dir(module)
        if not name.startswith("_")
    }
    assert {name for name in names if attribute(name) == name} == set()
    given = [*names, *(f"{name}_" for name in names)]
    assert len({attribute(name) for name in given}) == len(given)


def test_words_of_descriptions_and_attributes_import_nothing(tmp_path):
    path = spec(
        tmp_path,
        """cnnspec: 1
name: net
input: {channels: 3, size: 8}
blocks:
  part:
    description: Pure math. F. and ops. and OrderedDict(
    layers: [{scale: 2.0}, {crop: 1}]
  dropped:
    residual: {body: [{conv: $in_channels, kernel: 1}], shortcut: [{dropout: 0.2}]}
layers:
  - {conv: 4, kernel: 1, name: OrderedDict}
  - {conv: 4, kernel: 1, name: math}
  - part
  - dropped
  - flatten
  - {dense: 2}
""",
    )
    code = cnnspec.load(path).source("torch")
    assert "OrderedDict\n\nimport" not in code
    assert "import math" not in code
    part = code[code.index("class Part(") : code.index("class Dropped(")]
    assert "__init__" not in part  # it would say nothing
    assert "self.shortcut = nn.Sequential(FastDropout(0.2))" in code
    (tmp_path / "model.py").write_text(code)
    assert ruff_says(tmp_path) == ""
