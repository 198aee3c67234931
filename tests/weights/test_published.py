"""Weights by the names that they are published under, from a server in their publishers' place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fast_yaml
import numpy as np
import pytest
from safetensors.numpy import load_file
from serving import Server

import cnnspec
from cnnspec.lower.backend import MissingDependency
from cnnspec.spec.locate import zoo_folder
from cnnspec.weights import download
from cnnspec.weights import published as module

pytest.importorskip("pooch")
torch = pytest.importorskip("torch")
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("none"))  # needs compiled operators
models = pytest.importorskip("torchvision.models")

FILE = "squeezenet1_1-b8a52dc0.pth"
NAME = "torchvision:IMAGENET1K_V1"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    made = Server(tmp_path / "served")
    yield made
    made.stop()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cnnspec"


class Zoo:
    """A copy of the zoo whose lists of what is published have the server's address, and checksums of what it has."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        shutil.copytree(zoo_folder(), folder)
        for path in (folder / "published").iterdir():
            self.change(path.stem, lambda content: content.update(address=server.url))

    def change(self, publisher: str, change: Callable[[Any], None]) -> None:
        path = self.folder / "published" / f"{publisher}.yaml"
        content = fast_yaml.load(path.read_text())
        change(content)
        path.write_text(fast_yaml.dump(content))

    def publish(self, publisher: str, network: str, name: str, made: Path) -> None:
        """Serve a file as the published one."""
        content = made.read_bytes()

        def change(listed: Any) -> None:
            entry = listed["networks"][network][name]
            path = self.server.folder / entry["file"]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            for algorithm in {"sha256", "md5"} & entry.keys():
                entry[algorithm] = hashlib.new(algorithm, content).hexdigest()[: len(entry[algorithm])]

        self.change(publisher, change)


@pytest.fixture
def zoo(tmp_path: Path, server: Server, cache: Path) -> Zoo:
    return Zoo(tmp_path / "zoo", server)


@pytest.fixture
def run(tmp_path: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch, cli: Run) -> Run:
    """Runs a command on a network of that zoo: exit code, output, errors."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(command: str, network: str, *arguments: str) -> tuple[int, str, str]:
        spec = network if network.endswith(".yaml") else str(zoo.folder / f"{network}.yaml")
        return cli(command, spec, *arguments)

    return run


def peer(name: str, folder: Path) -> tuple[Any, Path]:
    """torchvision's network with random weights, and the file that it saved them in."""
    torch.manual_seed(1)
    model = getattr(models, name)(weights=None)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.01, 0.1)
    torch.save(model.state_dict(), folder / f"{name}.pth")
    return model, folder / f"{name}.pth"


@pytest.fixture
def squeezenet(zoo: Zoo, tmp_path: Path) -> Any:
    """torchvision's SqueezeNet with random weights, which are published."""
    model, file = peer("squeezenet1_1", tmp_path)
    zoo.publish("torchvision", "squeezenet1_1", "IMAGENET1K_V1", file)
    return model


# --- what is read


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_torchvisions_weights(name: str, run: Run, zoo: Zoo, server: Server, cache: Path, tmp_path: Path) -> None:
    model, file = peer(name, tmp_path)
    zoo.publish("torchvision", name, "IMAGENET1K_V1", file)
    code, out, err = run("weights", name, "--from", NAME, "--to", "torchvision:back.pth", "-o", "w.safetensors")
    assert (code, out) == (0, "wrote torchvision:back.pth\nwrote w.safetensors\n")
    assert err.splitlines() == [f"downloading {server.url}/{next(iter(server.asked))}"]
    back, state = torch.load("back.pth", weights_only=True), model.state_dict()
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], tensor) for key, tensor in state.items())
    assert len(server.asked) == 1
    (kept,) = (cache / "torchvision").iterdir()
    assert kept.read_bytes() == file.read_bytes()
    assert cnnspec.load(name).load_weights("w.safetensors").origin == {"from": NAME}


KERAS = {
    "xception": "Xception",
    "resnet50_keras": "ResNet50",
    "inception_v3_keras": "InceptionV3",
    "inception_resnet_v2": "InceptionResNetV2",
    "resnet101_keras": "ResNet101",
    "resnet152_keras": "ResNet152",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KERAS)
def test_keras_weights(name: str, run: Run, zoo: Zoo, server: Server, cache: Path, tmp_path: Path) -> None:
    """As keras.applications has them: weights alone, in HDF5 as Keras 2 wrote it."""
    keras = pytest.importorskip("keras")
    model = getattr(keras.applications, KERAS[name])(weights=None)
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(array.shape, np.float32) for array in model.weights])
    zoo.publish("keras", name, "imagenet", legacy(model, tmp_path / "made.h5"))
    assert run("weights", name, "--from", "keras:imagenet", "--to", "keras:back.weights.h5")[0] == 0
    assert [path.parent.name for path in cache.glob("*/*")] == ["keras"]
    arrays = model.get_weights()
    model.set_weights([np.zeros_like(array) for array in arrays])
    model.load_weights("back.weights.h5")
    for back, array in zip(model.get_weights(), arrays, strict=True):
        np.testing.assert_array_equal(back, array, strict=True)
    keras.utils.clear_session(free_memory=False)


def legacy(model: Any, path: Path, rename: Callable[[str], str] = str) -> Path:
    """Weights in the form that keras.applications publishes."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
        names = [name.decode() if isinstance(name, bytes) else name for name in file.attrs["layer_names"]]
        for name in names:
            if rename(name) != name:
                file.move(name, rename(name))
        file.attrs["layer_names"] = [rename(name).encode() for name in names]
    return path


def test_names_of_keras_1(run: Run, zoo: Zoo, tmp_path: Path) -> None:
    """Xception's file is from its time, when layers without a name were called by other words, counted from 1."""
    keras = pytest.importorskip("keras")
    model = keras.applications.Xception(weights=None)

    def rename(name: str) -> str:
        for new, old in (("conv2d", "convolution2d"), ("batch_normalization", "batchnormalization")):
            if name == new or name.startswith(f"{new}_"):
                return f"{old}_{int(name.removeprefix(new).strip('_') or 0) + 1}"
        return name

    for number, layer in enumerate(layer for layer in model.layers if layer.weights):
        layer.set_weights([np.full_like(array, number) for array in layer.get_weights()])
    zoo.publish("keras", "xception", "imagenet", legacy(model, tmp_path / "old.h5", rename))
    assert run("weights", "xception", "--from", "keras:imagenet", "--to", "keras:back.weights.h5")[0] == 0
    model.load_weights("back.weights.h5")
    for number, layer in enumerate(layer for layer in model.layers if layer.weights):
        assert all((array == number).all() for array in layer.get_weights()), layer.name
    keras.utils.clear_session(free_memory=False)


def test_another_name_for_them(run: Run, squeezenet: Any) -> None:
    assert run("weights", "squeezenet1_1", "--from", "torchvision:DEFAULT", "-o", "w.safetensors")[0] == 0
    assert cnnspec.load("squeezenet1_1").load_weights("w.safetensors").origin == {"from": NAME}


def test_a_copy_of_a_network(run: Run, zoo: Zoo, squeezenet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `cnnspec init` makes it: it has the network's name, and nothing else says where it is from."""
    monkeypatch.setattr(module, "zoo_folder", lambda: zoo.folder)
    shutil.copy(zoo.folder / "squeezenet1_1.yaml", "cnnspec.yaml")
    assert run("weights", "cnnspec.yaml", "--from", NAME, "-o", "w.safetensors")[:2] == (0, "wrote w.safetensors\n")
    Path("mine.yaml").write_text(f"cnnspec: 1\nname: mine\nextends: {zoo.folder / 'squeezenet1_1.yaml'}\n")
    assert run("weights", "mine.yaml", "--from", NAME, "-o", "v.safetensors")[:2] == (0, "wrote v.safetensors\n")
    mine, copied = load_file("v.safetensors"), load_file("w.safetensors")
    assert all(np.array_equal(mine[key], copied[key]) for key in copied)


def test_a_file_of_that_name(run: Run, squeezenet: Any, server: Server) -> None:
    """What is no published name may be a file's, as `./NAME` is in any case."""
    state = {key: tensor + 1 for key, tensor in squeezenet.state_dict().items()}
    for file in ("IMAGENET1K_V1", "mine"):
        torch.save(state, file)
    for text in ("torchvision:mine", "torchvision:./IMAGENET1K_V1"):
        assert run("weights", "squeezenet1_1", "--from", text, "-o", "w.safetensors") == (
            0,
            "wrote w.safetensors\n",
            "",
        )
        expected = state["features.0.bias"].numpy()
        np.testing.assert_array_equal(load_file("w.safetensors")["conv1.bias"], expected)
        net = cnnspec.load("squeezenet1_1")
        assert net.suited("w.safetensors") is net, "labels are unknown"
    assert server.asked == []


# --- what belongs to them


def described(path: str | Path) -> dict[str, str]:
    onnx = pytest.importorskip("onnx")
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_labels_and_preprocessing_are_exported(run: Run, zoo: Zoo, squeezenet: Any) -> None:
    zoo.change("torchvision", lambda content: content["preprocess"].update(resize=232, mean=[0.5, 0.4, 0.3]))
    code, out, err = run("export", "squeezenet1_1", "--weights", NAME, "-o", "m.onnx", "--preprocess")
    assert (code, out) == (0, "wrote m.onnx\n")
    own = "preprocessing (resize (232, 232), mean [0.5, 0.4, 0.3])"
    warning = f"warning[published-preprocess]: `{NAME}` brings its own {own}, in place of the spec's"
    assert warning in err.splitlines()
    found = described("m.onnx")
    assert json.loads(found["cnnspec.labels"]) == models.SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"]
    section = json.loads(found["cnnspec.preprocess"])
    assert (section["resize"], section["crop"], section["mean"]) == ([232, 232], [224, 224], [0.5, 0.4, 0.3])
    assert found["cnnspec.weights.from"] == NAME


def test_what_the_spec_says_already_needs_no_word(run: Run, squeezenet: Any) -> None:
    code, _, err = run("export", "squeezenet1_1", "--weights", NAME, "-o", "m.onnx")
    assert code == 0
    assert len(err.splitlines()) == 1, "only the download"
    assert json.loads(described("m.onnx")["cnnspec.labels"])[:2] == ["tench", "goldfish"]


def test_a_canonical_file_remembers(run: Run, zoo: Zoo, squeezenet: Any) -> None:
    zoo.change("torchvision", lambda content: content["preprocess"].update(mean=[0.5, 0.4, 0.3]))
    run("weights", "squeezenet1_1", "--from", NAME, "-o", "w.safetensors")
    code, _, err = run("export", "squeezenet1_1", "--weights", "w.safetensors", "-o", "m.onnx")
    assert code == 0
    assert "warning[published-preprocess]" in err
    found = described("m.onnx")
    assert json.loads(found["cnnspec.preprocess"])["mean"] == [0.5, 0.4, 0.3]
    assert len(json.loads(found["cnnspec.labels"])) == 1000


def test_sizes_are_the_specs_for_another_input(zoo: Zoo, squeezenet: Any) -> None:
    zoo.change("torchvision", lambda content: content["preprocess"].update(resize=232, mean=[0.5, 0.4, 0.3]))
    net = cnnspec.load(zoo.folder / "squeezenet1_1.yaml", params={"input.size": 64})
    section = net.suited(net.load_weights(NAME)).spec.preprocess
    assert section
    assert (section.resize, section.crop, section.mean) == ((256, 256), (224, 224), [0.5, 0.4, 0.3])


def test_labels_of_the_spec_give_way(zoo: Zoo, squeezenet: Any, tmp_path: Path) -> None:
    spec = tmp_path / "mine.yaml"
    labels = json.dumps([f"class {i}" for i in range(1000)])
    spec.write_text(f"cnnspec: 1\nname: mine\nextends: {zoo.folder / 'squeezenet1_1.yaml'}\nlabels: {labels}\n")
    net = cnnspec.load(spec)
    suited = net.suited(net.load_weights(NAME))
    assert suited.spec.labels
    assert suited.spec.labels[0] == "tench"
    (warning,) = suited.warnings
    assert warning.message == f"`{NAME}` brings its own labels, in place of the spec's"
    assert suited.suited(net.load_weights(NAME)) is suited


def test_other_weights_change_nothing(zoo: Zoo, squeezenet: Any) -> None:
    net = cnnspec.load(zoo.folder / "squeezenet1_1.yaml")
    assert net.suited(net.weights()) is net
    assert net.suited({}) is net


def test_predictions_are_torchvisions(run: Run, zoo: Zoo, tmp_path: Path) -> None:
    """A photograph of any size, through the exported file and through torchvision with its own transforms."""
    pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    torch.manual_seed(0)
    model = models.resnet18(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "made.pth")
    zoo.publish("torchvision", "resnet18", "IMAGENET1K_V1", tmp_path / "made.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
    photo = image.fromarray(pixels).resize((340, 290), image.Resampling.BICUBIC)
    photo.save("photo.png")
    run("export", "resnet18", "--weights", NAME, "-o", "m.onnx")
    from cnnspec.lower.backend import backends

    classifier = backends()["onnx"].load().classifier(Path("m.onnx"), "cpu")
    ((_, guesses, error),) = classifier.predict(["photo.png"], 5)
    assert not error
    published = models.ResNet18_Weights.IMAGENET1K_V1
    with torch.no_grad():
        expected = model(published.transforms()(photo)[None])[0].softmax(0)
    top = expected.topk(5)
    assert [guess.label for guess in guesses] == [published.meta["categories"][i] for i in top.indices]
    np.testing.assert_allclose([guess.probability for guess in guesses], top.values, rtol=1e-4)


# --- under a transfer case, and without one


def test_other_classes_need_a_transfer_case(run: Run, zoo: Zoo, squeezenet: Any, server: Server) -> None:
    code, out, err = run("export", "squeezenet1_1", "--set", "classes=10", "--weights", NAME, "-o", "m.onnx")
    assert (code, out) == (1, "")
    assert (
        f"error[published-mismatch]: `{NAME}` is for `squeezenet1_1` as it stands, and 2 parameters differ here" in err
    )
    assert "`conv10.weight`, `conv10.bias`" in err
    assert "help: take them under a transfer case, where these start anew: `--transfer small_similar`" in err
    assert server.asked == [], "nothing is downloaded that cannot be used"
    options = ("--set", "classes=10", "--transfer", "small_similar", "--weights", NAME, "-o", "m.onnx")
    assert run("export", "squeezenet1_1", *options)[:2] == (0, "wrote m.onnx\n")
    assert "cnnspec.labels" not in described("m.onnx")


def test_replaced_heads_are_not_read(zoo: Zoo, squeezenet: Any) -> None:
    net = cnnspec.load(zoo.folder / "squeezenet1_1.yaml", transfer="small_similar")
    weights = net.load_weights(NAME)
    np.testing.assert_array_equal(weights["conv10.weight"], net.weights()["conv10.weight"])
    np.testing.assert_array_equal(weights["conv1.weight"], squeezenet.state_dict()["features.0.weight"].numpy())
    assert net.suited(weights).spec.labels is None, "a thousand new classes are not ImageNet's"


def test_another_architecture(run: Run, zoo: Zoo) -> None:
    text = f"cnnspec: 1\nname: wide\nextends: {zoo.folder / 'squeezenet1_1.yaml'}\n"
    rows = "blocks: {fire: {args: [squeeze, expand], layers: [{conv: $squeeze, kernel: 1, name: squeeze}, {conv: $expand, kernel: 3}]}}\n"
    Path("wide.yaml").write_text(text + rows)
    code, _, err = run("weights", "wide.yaml", "--from", NAME, "-o", "w.safetensors")
    assert code == 1
    assert "error[published-mismatch]" in err
    assert "only a transfer case that replaces these layers can take them" in err


def test_layers_without_values(run: Run, zoo: Zoo, server: Server) -> None:
    name = "torchvision:IMAGENET1K_FEATURES"
    code, _, err = run("weights", "vgg16", "--from", name, "-o", "w.safetensors")
    assert code == 1
    assert f"`{name}` has no values for 6 parameters: `fc6.weight`" in err
    assert "where these start anew: `--transfer small_different`\n" in err
    options = ("--transfer", "small_similar", "--weights", name, "-o", "m.onnx")
    code, _, err = run("export", "vgg16", *options)
    assert "has no values for 4 parameters" in err
    assert "under `small_similar` only what starts anew may differ: `fc8`; another case can take them: " in err
    assert "can take them: `--transfer small_different`\n" in err
    assert server.asked == []


@pytest.mark.parametrize(
    ("network", "text", "message", "help"),
    [
        ("inception_v4", NAME, "`inception_v4` has no published weights under `torchvision:`", "read a file"),
        ("resnet50_keras", NAME, "`resnet50_keras` has no published weights under", "known here: `keras:imagenet`"),
        (
            "resnet50",
            "torchvision:IMAGENET1K_V3",
            "`torchvision:` has no weights called `IMAGENET1K_V3` for `resnet50`",
            "known here: `IMAGENET1K_V1`, `IMAGENET1K_V2`, `DEFAULT`",
        ),
        ("resnet50", "keras:imagenet", "`resnet50` has no published", "known here: `torchvision:IMAGENET1K_V1`, "),
    ],
)
def test_unknown(network: str, text: str, message: str, help: str, run: Run) -> None:
    code, out, err = run("weights", network, "--from", text, "-o", "w.safetensors")
    assert (code, out) == (1, "")
    assert f"error[unknown-published]: {message}" in err
    assert help in err.partition("\nhelp: ")[2]
    assert not list(Path().iterdir())


def test_a_file_of_another_network(run: Run, zoo: Zoo, squeezenet: Any, tmp_path: Path) -> None:
    zoo.publish("torchvision", "resnet18", "IMAGENET1K_V1", tmp_path / "squeezenet1_1.pth")
    code, _, err = run("weights", "resnet18", "--from", NAME, "-o", "w.safetensors")
    assert code == 1
    assert "error[foreign-weights]" in err


def test_training_takes_their_preprocessing(
    zoo: Zoo, squeezenet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the code and the spec of the run; its labels are those of the data."""
    from cnnspec.train.finish import Products
    from cnnspec.train.run import Run as Training

    monkeypatch.setattr(Training, "_train", lambda *_, **options: Products())
    zoo.change("torchvision", lambda content: content["preprocess"].update(resize=240, mean=[0.5, 0.4, 0.3]))
    net = cnnspec.load(zoo.folder / "squeezenet1_1.yaml", transfer="small_similar", classes=10)
    made = net.train(tmp_path / "run", weights="torchvision:DEFAULT", data="cifar10")
    assert f"warning: `{NAME}` brings its own preprocessing (resize (240, 240), " in capsys.readouterr().err
    spec = cnnspec.load(made.path / "spec.yaml").spec
    assert spec.preprocess
    assert (spec.preprocess.resize, spec.preprocess.mean, spec.labels) == ((240, 240), [0.5, 0.4, 0.3], None)
    data = (made.path / "data.py").read_text()
    assert "MEAN = np.array([0.5, 0.4, 0.3], np.float32)" in data
    assert "resize_shorter(image, 240, " in data
    assert json.loads((made.path / "run.json").read_text())["weights"] == NAME


def test_backends_agree_with_them(run: Run, squeezenet: Any) -> None:
    pytest.importorskip("onnxruntime")
    options = ("--set", "input.size=32", "--weights", NAME, "--backends", "onnx", "--format", "json")
    code, out, err = run("verify", "squeezenet1_1", *options)
    assert code == 0, err
    assert json.loads(out)["agrees"]


def test_a_run_that_cannot_take_them_leaves_nothing(zoo: Zoo, server: Server, tmp_path: Path) -> None:
    net = cnnspec.load(zoo.folder / "squeezenet1_1.yaml", classes=10)
    with pytest.raises(cnnspec.SpecError, match="published-mismatch"):
        net.train(tmp_path / "run", weights=NAME, data="cifar10")
    assert not (tmp_path / "run").exists()
    assert server.asked == []


# --- the download


def refused(run: Run, reason: str) -> str:
    code, out, err = run("weights", "squeezenet1_1", "--from", NAME, "-o", "w.safetensors")
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert "error[no-download]: cannot download http://127.0.0.1:" in err
    assert reason in err
    assert not Path("w.safetensors").exists()
    return err


def test_the_second_time_needs_no_network(run: Run, server: Server, squeezenet: Any) -> None:
    assert run("weights", "squeezenet1_1", "--from", NAME, "-o", "w.safetensors")[0] == 0
    server.server.server_close()
    assert run("weights", "squeezenet1_1", "--from", NAME, "-o", "v.safetensors") == (0, "wrote v.safetensors\n", "")
    assert Path("v.safetensors").read_bytes() == Path("w.safetensors").read_bytes()


def test_no_network(run: Run, server: Server, squeezenet: Any, cache: Path) -> None:
    server.server.server_close()
    err = refused(run, f"{FILE}: the connection to 127.0.0.1:")
    assert f"help: put the file at {cache / 'torchvision' / FILE}, or name one: `torchvision:FILE`" in err
    shutil.copy(server.folder / FILE, cache / "torchvision" / FILE)  # by hand
    assert run("weights", "squeezenet1_1", "--from", NAME, "-o", "w.safetensors")[0] == 0


def test_another_checksum(run: Run, server: Server, squeezenet: Any, cache: Path) -> None:
    content = (server.folder / FILE).read_bytes()
    (server.folder / FILE).write_bytes(content + b"!")
    wrong, right = (hashlib.sha256(data).hexdigest()[:8] for data in (content + b"!", content))
    refused(run, f"what came is not the published file, its SHA-256 begins with {wrong} and not {right}")
    assert list((cache / "torchvision").iterdir()) == []


def test_another_md5(run: Run, zoo: Zoo, server: Server, tmp_path: Path) -> None:
    (tmp_path / "made.h5").write_bytes(b"right")
    zoo.publish("keras", "xception", "imagenet", tmp_path / "made.h5")
    (file,) = server.folder.glob("xception/*.h5")
    file.write_bytes(b"wrong")
    code, _, err = run("weights", "xception", "--from", "keras:imagenet", "-o", "w.safetensors")
    assert code == 1
    assert f"its MD5 is {hashlib.md5(b'wrong').hexdigest()} and not {hashlib.md5(b'right').hexdigest()}" in err


def test_half_a_file(run: Run, server: Server, squeezenet: Any, cache: Path) -> None:
    server.cut = True
    refused(run, "the connection to 127.0.0.1:")
    assert list((cache / "torchvision").iterdir()) == []


def test_no_file(run: Run, server: Server, squeezenet: Any) -> None:
    (server.folder / FILE).unlink()
    refused(run, "answers 404 File not found")


def test_a_broken_file_in_the_cache_comes_again(run: Run, server: Server, squeezenet: Any, cache: Path) -> None:
    (cache / "torchvision").mkdir(parents=True)
    (cache / "torchvision" / FILE).write_bytes(b"by hand")
    assert run("weights", "squeezenet1_1", "--from", NAME, "-o", "w.safetensors")[0] == 0
    assert server.asked == [FILE]
    (cache / "torchvision" / FILE).write_bytes(b"by hand")
    server.server.server_close()
    Path("w.safetensors").unlink()
    refused(run, "is not the published file either, its SHA-256 begins with")
    assert list((cache / "torchvision").iterdir()) == []


def test_another_process_at_the_same_time(
    run: Run, server: Server, squeezenet: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes the broken file first, and its own part is gone between being listed and looked at."""
    (cache / "torchvision").mkdir(parents=True)
    (cache / "torchvision" / FILE).write_bytes(b"by hand")
    (cache / "torchvision" / f".1.part.{FILE}").symlink_to("gone")

    def mismatch(path: Path, entry: module.Published) -> str:
        found = original(path, entry)
        if found:
            path.unlink()
        return found

    original = download._mismatch
    monkeypatch.setattr(download, "_mismatch", mismatch)
    assert run("weights", "squeezenet1_1", "--from", NAME, "-o", "w.safetensors")[0] == 0
    assert server.asked == [FILE]


def test_a_cache_that_cannot_be_written(
    run: Run, squeezenet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    refused(run, ": Not a directory")


def test_a_download_that_is_killed(zoo: Zoo, server: Server, squeezenet: Any, cache: Path, tmp_path: Path) -> None:
    """Nothing takes the file's place; what is left of it goes when it is old enough to be nobody's."""
    command = [sys.executable, "-m", "cnnspec", "weights", str(zoo.folder / "squeezenet1_1.yaml"), "--from", NAME]
    command += ["-o", str(tmp_path / "w.safetensors")]
    server.stall = True
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert server.halfway.wait(60)
    process.kill()
    process.wait()
    server.stall = False
    server.go_on.set()
    (part,) = (cache / "torchvision").iterdir()
    assert part.name != FILE
    hours_ago = part.stat().st_mtime - 2 * 3600
    os.utime(part, (hours_ago, hours_ago))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (cache / "torchvision").iterdir()] == [FILE]


def test_progress_is_shown_on_a_terminal(
    zoo: Zoo, squeezenet: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    shown = []
    real = pooch.HTTPDownloader

    def note(**options: Any) -> Any:
        shown.append(options["progressbar"])
        return real(**options)

    monkeypatch.setattr(pooch, "HTTPDownloader", note)
    net = cnnspec.load(zoo.folder / "squeezenet1_1.yaml")
    net.load_weights(NAME)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    (cache / "torchvision" / FILE).unlink()
    net.load_weights(NAME)
    assert shown == [False, True]


def test_nothing_is_downloaded_that_cannot_be_read(
    zoo: Zoo, server: Server, squeezenet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="`torch` is not installed") as error:
        cnnspec.load(zoo.folder / "squeezenet1_1.yaml").load_weights(NAME)
    assert error.value.extra == "torch"
    assert server.asked == []


# --- the list


def test_the_list(run: Run, zoo: Zoo, server: Server) -> None:
    code, out, err = run("weights", "resnet50", "--published")
    assert (code, err) == (0, "")
    first, second = (line.split("  ") for line in out.splitlines())
    assert first[0] == "torchvision:IMAGENET1K_V1"
    assert second == [
        "torchvision:IMAGENET1K_V2 (DEFAULT)",
        "top-1 80.858 %, top-5 95.434 %",
        f"{server.url}/resnet50-11ad3fa6.pth",
    ]
    assert run("weights", "vgg16", "--published")[1].splitlines()[2].startswith("keras:imagenet ")
    assert run("weights", "nin", "--published") == (0, "no weights of `nin` are published under a name\n", "")
    code, _, err = run("weights", "vgg16", "--published", "-o", "w.safetensors")
    assert code == 2
    assert "it stands alone" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "what is published is a mapping with `address` and `networks`"),
        ("address: http://a\nnetworks: {mine: {v1: {file: a.pth}}}", "expected a checksum, `sha256` or `md5`"),
        ("address: http://a\nnetworks: {mine: {v1: {file: a.pth, sha256: a, size: 3}}}", "has no `size`"),
        ("networks: {}", "needs `address`"),
        (
            "address: http://a\npreprocess: {mean: x}\nnetworks: {mine: {v1: {file: a.pth, sha256: a}}}",
            "`mean`: expected a number",
        ),
    ],
)
def test_bad_lists(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "torchvision.yaml").write_text(text)
    (tmp_path / "mine.yaml").write_text(
        "cnnspec: 1\nname: mine\ninput: {channels: 3, size: 8}\nlayers: [global_avg_pool, {dense: 5}]\n"
    )
    with pytest.raises(cnnspec.SpecError) as error:
        _ = cnnspec.load(tmp_path / "mine.yaml").published
    assert message in error.value.diagnostics[0].message
