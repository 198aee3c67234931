"""The text of files that train from features: what it looks like, and that tools for Python have nothing against it."""

from pathlib import Path

import pytest
from feature_nets import AUX, RECIPE, SPEC
from tools import mypy_says, ruff_says

import cnnspec
from cnnspec.train.generate import build_files
from cnnspec.train.specialise import specialise

GOLDEN = Path(__file__).parent.parent / "golden"
EVERYTHING = (
    "ema: 0.9, gradient_accumulation: 2, metrics: [accuracy, per_class, confusion_matrix], "
    "loss: {cross_entropy: {class_weights: balanced}}, checkpoints: {best: validation_accuracy}"
)
FOLDERS = "{image_folder: {train: images, channels: convert}}"
VARIANTS = {
    "plain": ("small_similar", SPEC, "sample", "epochs: 2"),
    "bfloat16": ("small_different", SPEC, "sample", "precision: mixed_bfloat16, metrics: [accuracy, per_class]"),
    "float16": ("large_similar", SPEC, FOLDERS, "precision: mixed_float16"),
    "heads": ("small_similar", SPEC.replace("transfer:", AUX + "transfer:", 1), FOLDERS, EVERYTHING),
}


def built(folder, variant, backend):
    case, spec, data, more = VARIANTS[variant]
    recipe = RECIPE.replace(", epochs: 2", "" if "epochs" in more else ", epochs: 2")
    path = folder / "tiny.yaml"
    spec = spec.replace("channels: 2", "channels: 3")
    path.write_text(f"{spec}train: {{{recipe}, split: 0.2, data: {data}, {more}}}\n")
    net = cnnspec.load(str(path), transfer=case)
    path.unlink()
    return {
        name: content.decode()
        for name, content in build_files(net.graph, backend, net.recipe).items()
        if name.endswith(".py")
    }


def test_network(snapshot):
    """Two methods, one behind the other; heads of training that move nothing are left out."""
    net = cnnspec.load("googlenet", transfer="small_similar", params={"classes": 10})
    snapshot(GOLDEN / "googlenet_small_similar_torch.txt", net.source("torch"))


def test_heads_of_training_belong_to_the_second_method(tmp_path):
    """The first one hangs off the cut and moves nothing, the second off layers that train."""
    case = "{freeze_through: inception4a, replace: [fc, aux1.fc2, aux2.fc2]}"
    (tmp_path / "some.yaml").write_text(
        f"cnnspec: 1\nextends: googlenet\nname: some\ntransfer: {{cases: {{large_similar: {case}}}}}\n"
    )
    text = cnnspec.load(tmp_path / "some.yaml", transfer="large_similar").source("torch")
    before, behind = text.split("    def forward_head(")
    assert "        return self.inception4a(x)\n" in before
    assert "        if self.training:\n            return y, self.aux2(x)\n" in behind
    assert "aux1" not in text


@pytest.mark.parametrize("backend", ["torch", "keras"])
def test_training(backend, snapshot, tmp_path):
    snapshot(GOLDEN / f"features_{backend}_train.txt", built(tmp_path, "plain", backend)["train.py"])


def test_data(snapshot, tmp_path):
    """The same for both."""
    made = [built(tmp_path, "plain", backend)["data.py"] for backend in ("torch", "keras")]
    assert made[0] == made[1]
    text = made[0]
    snapshot(GOLDEN / "features_data.txt", text[text.index("def batches(") :])
    for name in ("class Features(Part)", "class Numbered(Part)", "def hash_arrays", "def keep("):
        assert name in text
    assert "hash_files" not in text


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "googlenet"])
@pytest.mark.parametrize("case", ["", "large_different", "large_similar"])
def test_nothing_of_it_is_printed_elsewhere(name, case):
    net = cnnspec.load(name, transfer=case)
    for backend in ("torch", "keras"):
        for file, content in build_files(net.graph, backend, net.recipe).items():
            if file.endswith(".py"):
                text = content.decode().lower()
                assert not [word for word in ("features", 'cut = "') if word in text], (backend, file)


@pytest.mark.parametrize("backend", ["torch", "keras"])
def test_ruff_has_nothing_to_say(backend, tmp_path):
    for variant in VARIANTS:
        files = built(tmp_path, variant, backend)
        (tmp_path / variant).mkdir()
        for name, text in files.items():
            assert "cnnspec" not in text.replace('os_cache("cnnspec")', "")
            (tmp_path / variant / name).write_text(text)
        assert ruff_says(tmp_path / variant, "I") == "", variant


@pytest.mark.slow
def test_mypy_has_nothing_to_say(tmp_path):
    pytest.importorskip("torch")
    for variant in VARIANTS:
        (tmp_path / variant).mkdir()
        for name, text in built(tmp_path, variant, "torch").items():
            (tmp_path / variant / name).write_text(text)
    assert mypy_says([tmp_path / variant for variant in VARIANTS], tmp_path / "all", ["data", "train"]) == ""


def test_a_switch_that_chooses_between_values():
    text = "f(a if A else b, c if not A else d)\nif A:\n    g('é', x if B else y)\nz = p if q else r"
    assert specialise(text, {"A": True, "B": False}) == "f(a, d)\ng('é', y)\nz = p if q else r"
    assert specialise(text, {"A": False, "B": False}) == "f(b, c)\nz = p if q else r"
