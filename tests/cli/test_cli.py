"""The command line as its users meet it: whole processes, what they print and how they end."""

import json
import os
import subprocess
import sys

import pytest

import cnnspec
from cnnspec.spec.locate import zoo

FRAMEWORKS = {"torch", "tensorflow", "keras", "onnx", "onnxruntime", "numpy"}

SPEC = """\
cnnspec: 1
name: small
input: {channels: 3, size: [8, 10]}
params: {classes: 10}
layers:
  - {conv: 4, kernel: 3, activation: relu, name: stem}
  - global_avg_pool
  - {dense: $classes, name: fc}
"""


def run(*arguments, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "cnnspec", *arguments], capture_output=True, text=True, cwd=cwd,
        env=os.environ | (env or {}), timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    return path


def test_summary_as_json_follows_the_contract(spec):
    result = run("summary", str(spec), "--format", "json", "--set", "classes=5")
    assert (result.returncode, result.stderr) == (0, "")
    data = json.loads(result.stdout)
    assert data["name"] == "small"
    assert data["input"] == [3, 8, 10]
    # 4 filters of 3×3×3 and 4 biases; 5 units of 4 and 5 biases; each output pixel of the conv takes 27 multiply-adds
    assert data["params"] == {"total": 112 + 25, "trainable": 137, "non_trainable": 0, "training_only": 0}
    assert data["macs"] == 4 * 80 * 27 + 20
    assert data["activation_bytes"] == 4 * (320 + 320 + 4 + 5)
    assert data["layers"][0] == {
        "path": "stem", "op": "conv", "output": [4, 8, 10], "params": 112, "macs": 8640, "activation_bytes": 1280,
        "receptive_field": [3, 3], "trainable": True, "training_only": False,
    }  # fmt: skip
    assert [layer["path"] for layer in data["layers"]] == ["stem", "stem.relu", "global_avg_pool", "fc"]
    assert data["layers"][2]["receptive_field"] == [8 + 2, 10 + 2]


def test_summary_in_hwc(spec):
    data = json.loads(run("summary", str(spec), "--format", "json", "--layout", "hwc").stdout)
    assert data["input"] == [8, 10, 3]
    assert data["layers"][0]["output"] == [8, 10, 4]
    assert data["layers"][2]["output"] == [4]


def test_summary_is_plain_when_piped_and_whole(spec):
    out = run("summary", str(spec)).stdout
    assert "\033" not in out
    assert "conv 3×3 + relu" in out
    assert "parameters" in out
    assert "162" in out.replace(",", "")  # 112 + 4·10 + 10
    assert "…" not in out


def test_summary_as_markdown(spec):
    title, *parts = run("summary", str(spec), "--format", "markdown").stdout.split("\n\n")
    assert title == "### small   input 3×8×10"
    layers, totals = (part.splitlines() for part in parts)
    assert len(layers) == 2 + 3
    assert len(totals) == 2 + 5
    for table in (layers, totals):
        assert len({tuple(i for i, c in enumerate(line) if c == "|") for line in table}) == 1  # aligned
    assert totals[2].split() == ["|", "parameters", "|", "162", "|", "648", "B", "in", "float32", "|"]


def test_depth_opens_blocks():
    folded, open_ = (run("summary", "resnet50", "--depth", d).stdout for d in ("1", "3"))
    assert "3× bottleneck" in folded
    assert "layer1.0.conv2" not in folded
    assert "layer1.0.conv2" in open_


def test_the_spec_of_the_folder_is_the_default(tmp_path):
    (tmp_path / "cnnspec.yaml").write_text(SPEC)
    assert run("validate", cwd=tmp_path).stdout == "cnnspec.yaml: ok\n"
    assert "small" in run("summary", cwd=tmp_path).stdout


def test_init_starts_a_project_and_overwrites_nothing(tmp_path):
    assert run("init", "resnet18", cwd=tmp_path).stdout == "wrote cnnspec.yaml\n"
    assert "resnet18" in run("summary", cwd=tmp_path).stdout
    (tmp_path / "cnnspec.yaml").write_text(SPEC)
    again = run("init", "vgg16", cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr.startswith("error[file-exists]")
    assert (tmp_path / "cnnspec.yaml").read_text() == SPEC
    assert [path.name for path in tmp_path.iterdir()] == ["cnnspec.yaml"]


def test_init_of_an_unknown_network_writes_nothing(tmp_path):
    assert run("init", "resnet19", cwd=tmp_path).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_size_can_be_set():
    data = json.loads(run("summary", "resnet50", "--set", "input.size=64", "--format", "json").stdout)
    assert data["input"] == [3, 64, 64]
    assert data["layers"][-1]["output"] == [1000]


def test_list_shows_every_network():
    result = run("list", "--format", "json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert sorted(rows) == zoo()
    assert rows["vgg16"]["params"] == 138_357_544
    text = run("list").stdout
    assert all(name in text for name in rows)


def test_validate_reports_all_files_and_both_streams(tmp_path, spec):
    bad = tmp_path / "bad.yaml"
    bad.write_text(SPEC.replace("kernel: 3", "kernle: 3").replace("dense", "dens"))
    result = run("validate", str(spec), str(bad))
    assert result.returncode == 1
    assert result.stdout == f"{spec}: ok\n"
    assert "2 errors" in result.stderr
    assert "Traceback" not in result.stderr
    found = json.loads(run("validate", str(spec), str(bad), "--format", "json").stdout)
    assert [(d["slug"], d["line"]) for d in found] == [("unknown-key", 6), ("unknown-op", 8)]
    github = run("validate", str(bad), "--format", "github")
    assert github.returncode == 1
    assert github.stdout.startswith(f"::error file={bad},line=6,col=")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("summary", "resnet50"), 0),
        (("summary", "no_such_network"), 1),
        (("summary", "resnet50", "--set", "clases=3"), 1),
        (("summary", "resnet50", "--transfer", "nonsense"), 1),
        (("summary", "resnet50", "--set", "classes"), 2),
        (("summary", "resnet50", "--set", "classes=3", "--set", "classes=4"), 2),
        (("summary", "resnet50", "--transfer", ""), 2),
        (("summary", ""), 1),
        (("validate", ""), 1),
        (("summary", "resnet50", "--depth", "0"), 2),
        (("summary", "resnet50", "--format", "xml"), 2),
        (("sumary", "resnet50"), 2),
        (("--version",), 0),
        (("--help",), 0),
    ],
)
def test_exit_codes(arguments, code):
    result = run(*arguments)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    if code == 1:
        assert result.stdout == ""
        assert result.stderr.startswith("error[")


def test_a_typing_mistake_in_set_is_answered():
    assert "did you mean `classes`?" in run("summary", "resnet50", "--set", "clases=3").stderr


def test_every_mistake_in_set_is_told_once():
    result = run("summary", "resnet50", "--set", "clas=1", "--set", "clos=2", "--set", "depths=3", "--set", "classes=x")
    lines = result.stderr.splitlines()
    assert [line.strip() for line in lines if "-->" in line] == [
        f"--> --set {option}" for option in ("clas=1", "clos=2", "classes=x", "depths=3")
    ]
    assert lines[-1] == "4 errors"


def test_a_value_of_set_that_no_layer_takes_is_shown_at_the_layer():
    error = run("summary", "lenet5", "--set", "classes=0").stderr
    assert "`units`: expected at least 1, got 0" in error
    assert "^^^^^^^^ `classes` is set to 0" in error


def test_what_is_inherited_for_other_channels_is_left_out(tmp_path):
    (tmp_path / "grey.yaml").write_text("cnnspec: 1\nname: grey\nextends: resnet50\ninput: {channels: 1}\n")
    net = cnnspec.load(tmp_path / "grey.yaml")
    assert [w.slug for w in net.warnings] == ["preprocess-dropped"]
    assert net.spec.preprocess is None
    assert net.recipe is None
    (tmp_path / "own.yaml").write_text("cnnspec: 1\nname: own\nextends: grey.yaml\ntrain: {recipe: mnist_mlp}\n")
    assert cnnspec.load(tmp_path / "own.yaml").recipe.epochs == 15


def test_a_terminal_without_unicode_gets_no_traceback():
    result = run("summary", "resnet50", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert result.returncode == 0
    assert "3?224?224" in result.stdout


@pytest.mark.parametrize("arguments", [("list",), ("validate", "resnet50"), ("summary", "resnet50"), ("schema",)])
def test_no_framework_is_imported(arguments):
    code = (
        "import sys\n"
        f"sys.argv = ['cnnspec', *{arguments!r}]\n"
        "from cnnspec.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('MODULES', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    modules = set(result.stdout.splitlines()[-1].split()[1:])
    assert "pydantic" in modules  # the list is not empty for some other reason
    assert not modules & FRAMEWORKS


@pytest.mark.parametrize("command", ["summary", "validate"])
def test_a_folder_without_a_spec_is_told_how_to_get_one(command, tmp_path):
    (tmp_path / "unet.yaml").write_text(SPEC)
    result = run(command, cwd=tmp_path)
    assert result.returncode == 1
    assert "there is no file `cnnspec.yaml`\nhelp: name a spec, or make this one: `cnnspec init`" in result.stderr


def test_multiply_adds_of_small_networks_are_in_millions():
    assert "0.417 M multiply-adds an image" in run("summary", "lenet5").stdout
    assert "15.470 G multiply-adds an image" in run("summary", "vgg16").stdout


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m cnnspec summary resnet152 --depth 3 | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert "resnet152" in result.stdout
    assert "Traceback" not in result.stderr


def test_too_little_memory_is_said(tmp_path):
    (tmp_path / "cnnspec.yaml").write_text(SPEC.replace("size: [8, 10]", "size: 2000000000"))
    result = run("verify", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: not enough memory")
