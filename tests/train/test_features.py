"""Features of frozen layers: computed once, kept in files, and trained from as if they had been computed anew."""

import os
import subprocess
import sys

import numpy as np
import pytest
from feature_nets import AUX, SPEC, assert_close, build, kept, rows, train, weights, write_weights
from tiers import KERAS_SLOWLY

pytest.importorskip("grain")
pytest.importorskip("tqdm")

BACKENDS = pytest.mark.parametrize("backend", ["torch", "keras"])
SLOWER = pytest.mark.parametrize("backend", KERAS_SLOWLY)
RECIPES = {
    "plain": "split: 0.2",
    "all": "split: 0.2, ema: 0.9, gradient_accumulation: 2, checkpoints: {best: validation_accuracy}, "
    "clip: {global_norm: 1}, metrics: [accuracy, per_class, confusion_matrix], loss: {cross_entropy: {label_smoothing: 0.1}}",
}
QUICK = {
    ("torch", "small_similar", "all"),
    ("torch", "small_different", "plain"),
    ("torch", "large_similar", "plain"),
    ("keras", "small_different", "plain"),
}


@pytest.fixture(autouse=True)
def framework(request):
    if "backend" in request.fixturenames:
        pytest.importorskip("torch" if request.getfixturevalue("backend") == "torch" else "tensorflow")


@pytest.mark.parametrize(
    ("backend", "case", "more"),
    [
        pytest.param(backend, case, more, marks=[] if (backend, case, more) in QUICK else pytest.mark.slow)
        for backend in ("torch", "keras")
        for case in ("small_similar", "small_different", "large_similar")
        for more in RECIPES
    ],
)
def test_training_comes_to_the_same(backend, case, more, tmp_path, capsys):
    net = build(tmp_path, backend, case, RECIPES[more])
    train(tmp_path, "kept_run")
    said = capsys.readouterr().out
    assert said.startswith("features of ")
    assert f"70 images, 0.0 MB in {tmp_path / 'kept'}\n" in said
    train(tmp_path, "anew", "--no-features")
    assert "features" not in capsys.readouterr().out
    assert len(kept(tmp_path)) == 2  # to train and to validate on
    assert_close(net, backend, tmp_path, "kept_run", "anew", 1e-6)
    first = weights(net, backend, tmp_path, ".", "first")
    last = weights(net, backend, tmp_path, "anew")
    assert any(not np.array_equal(first[key], last[key]) for key in first), "it trains"
    if more == "all":
        for name in ("confusion.csv", "per_class.csv"):
            assert (tmp_path / "kept_run" / name).read_text() == (tmp_path / "anew" / name).read_text()
        best = [weights(net, backend, tmp_path, run, "best") for run in ("kept_run", "anew")]
        assert all(np.allclose(best[0][key], best[1][key], atol=1e-6) for key in first)


@SLOWER
def test_heads_of_training(backend, tmp_path):
    """The head hangs off what trains behind the cut."""
    net = build(
        tmp_path,
        backend,
        more="split: 0.2, metrics: [accuracy, confusion_matrix]",
        spec=SPEC.replace("transfer:", AUX + "transfer:", 1),
    )
    train(tmp_path, "kept_run")
    train(tmp_path, "anew", "--no-features")
    assert_close(net, backend, tmp_path, "kept_run", "anew", 1e-6)
    assert len(kept(tmp_path)) == 2


@BACKENDS
@pytest.mark.parametrize("precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_half_precision(backend, precision, tmp_path):
    """Numbers of 16 bits come back as they were; the mean over a map is taken of those, not of longer ones."""
    net = build(
        tmp_path,
        backend,
        "small_different",
        f"split: 0.2, precision: {precision}, metrics: [accuracy, {{top_k: 2}}, confusion_matrix]",
    )
    train(tmp_path, "kept_run")
    train(tmp_path, "anew", "--no-features")
    assert_close(net, backend, tmp_path, "kept_run", "anew", 1e-3)
    # the table is of the images that the last epoch was validated on, in the same precision
    counts = np.genfromtxt(tmp_path / "anew" / "confusion.csv", delimiter=",", skip_header=1)[:, 1:]
    accuracy = float(rows(tmp_path, "anew")[-1]["validation_accuracy"])
    assert np.trace(counts) / counts.sum() == pytest.approx(accuracy, abs=1e-12)


@BACKENDS
def test_another_run_computes_nothing(backend, tmp_path, capsys, monkeypatch):
    net = build(tmp_path, backend)
    train(tmp_path, "one")
    before = {path: path.stat() for path in kept(tmp_path)}
    assert "from before" not in capsys.readouterr().out

    def called(*_):
        raise AssertionError("the frozen layers ran")

    if backend == "torch":
        from torch import nn

        plain = nn.Conv2d.forward
        monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: called() if x.shape[1] == 2 else plain(self, x))
    else:
        import keras

        monkeypatch.setattr(keras.Model, "predict_on_batch", called)
    train(tmp_path, "two")
    assert "from before\n" in capsys.readouterr().out
    assert {path: path.stat()[:9] for path in kept(tmp_path)} == {path: stat[:9] for path, stat in before.items()}
    assert_close(net, backend, tmp_path, "one", "two", 0)


@SLOWER
def test_what_features_depend_on(backend, tmp_path):
    """Weights, images and what is done to these; not how many are in a batch."""
    net = build(tmp_path, backend)
    train(tmp_path, "one")
    assert len(kept(tmp_path)) == 2
    train(tmp_path, "batch", "--batch-size", "13", "--epochs", "1")
    assert len(kept(tmp_path)) == 2
    write_weights(tmp_path, net, backend, 1)
    train(tmp_path, "weights", "--epochs", "1")
    assert len(kept(tmp_path)) == 4
    with np.load(tmp_path / "data.npz") as file:
        arrays = dict(file)
    arrays["x_train"][3, 4, 5, 0] ^= 1  # one bit of one image, of one part
    np.savez(tmp_path / "data.npz", **arrays)
    train(tmp_path, "image", "--epochs", "1")
    assert len(kept(tmp_path)) == 5
    text = (tmp_path / "data.py").read_text()
    assert "1 / 255" in text
    (tmp_path / "data.py").write_text(text.replace("1 / 255", "1 / 256"))
    train(tmp_path, "scale", "--epochs", "1")
    assert len(kept(tmp_path)) == 7


@SLOWER
def test_damaged_files_are_made_anew(backend, tmp_path, capsys):
    net = build(tmp_path, backend)
    train(tmp_path, "one")
    first, second = kept(tmp_path)
    whole = first.read_bytes(), second.read_bytes()
    first.write_bytes(whole[0][:-100])
    second.write_bytes(whole[1][:300] + bytes([whole[1][300] ^ 1]) + whole[1][301:])
    capsys.readouterr()
    train(tmp_path, "two")
    assert "from before" not in capsys.readouterr().out
    assert (first.read_bytes(), second.read_bytes()) == whole
    assert_close(net, backend, tmp_path, "one", "two", 0)


@SLOWER
def test_a_run_goes_on_to_the_bit(backend, tmp_path):
    """In the middle of an epoch, with the file still there, and with it gone."""
    more = "split: 0.2, ema: 0.9, schedule: {reduce_on_plateau: {patience: 1}}, checkpoints: {steps: 1, keep: all}"
    net = build(tmp_path, backend, more=more)
    train(tmp_path, "whole")
    for name in ("kept_run", "gone"):
        part = tmp_path / name / "checkpoints"
        part.mkdir(parents=True)
        middle = next((tmp_path / "whole/checkpoints").glob("step-000000002*"))
        (part / middle.name).write_bytes(middle.read_bytes())
        if name == "gone":
            for path in kept(tmp_path):
                path.unlink()
        train(tmp_path, name, "--resume")
        assert_close(net, backend, tmp_path, "whole", name, 0)


@SLOWER
def test_a_run_may_go_on_without_features(backend, tmp_path):
    """The state is that of the whole network."""
    net = build(tmp_path, backend)
    train(tmp_path, "one", "--epochs", "1")
    train(tmp_path, "one", "--resume", "--no-features")
    train(tmp_path, "two", "--no-features", "--epochs", "1")
    train(tmp_path, "two", "--resume")
    assert_close(net, backend, tmp_path, "one", "two", 1e-6)
    assert len(rows(tmp_path, "one")) == 2


@SLOWER
def test_images_that_cannot_be_read(backend, tmp_path, capsys):
    """One that is damaged in the middle: the next takes its place in training, and evaluation leaves it out."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for part, count in (("train", 20), ("validation", 8)):
        for name in ("a", "b", "c"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i:02}.png")
    broken = [tmp_path / "images/train/a/04.png", *(tmp_path / f"images/validation/a/{i:02}.png" for i in range(8))]
    for path in broken:  # of the validation part's first batch, all but one in another run
        content = bytearray(path.read_bytes())
        content[45:75] = bytes(30)
        path.write_bytes(content)
    spec = SPEC.replace("channels: 2", "channels: 3")
    folders = f"{{image_folder: {{train: {tmp_path}/images/train, validation: {tmp_path}/images/validation}}}}"
    net = build(tmp_path, backend, spec=spec, data=folders, more="ema: 0.9")
    train(tmp_path, "kept_run", "--batch-size", "8")
    assert "04.png" in capsys.readouterr().err
    train(tmp_path, "anew", "--no-features", "--batch-size", "8")
    assert_close(net, backend, tmp_path, "kept_run", "anew", 1e-6)
    again = tmp_path / "images/validation/b/00.png"
    again.write_bytes(again.read_bytes() + b"\0")  # behind its end
    assert len(kept(tmp_path)) == 2
    train(tmp_path, "changed", "--batch-size", "8", "--epochs", "1")
    assert len(kept(tmp_path)) == 3


@pytest.mark.slow
def test_several_processes(tmp_path):
    """One makes the files, the other waits for it, and each trains on its share of a batch."""
    pytest.importorskip("torch")
    net = build(tmp_path, "torch")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = [tmp_path / "train.py", "--device", "cpu", "--weights", tmp_path / "first.pt", "-o"]
    for last in ([tmp_path / "kept_run", "--features", tmp_path / "kept"], [tmp_path / "anew", "--no-features"]):
        done = subprocess.run([*launcher, *options, *last], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("features of") == (last[1] == "--features")
    assert len(kept(tmp_path)) == 2
    assert_close(net, "torch", tmp_path, "kept_run", "anew", 1e-6)


@pytest.mark.slow
def test_keras_on_pytorch(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("keras")
    build(tmp_path, "keras")
    command = [sys.executable, tmp_path / "train.py", "--weights", tmp_path / "first.weights.h5", "-o"]
    for last in ([tmp_path / "kept_run", "--features", tmp_path / "kept"], [tmp_path / "anew", "--no-features"]):
        environment = os.environ | {"KERAS_BACKEND": "torch"}
        done = subprocess.run([*command, *last], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    for a, b in zip(rows(tmp_path, "kept_run"), rows(tmp_path, "anew"), strict=True):
        assert a == pytest.approx(b, rel=1e-6)
    assert len(kept(tmp_path)) == 2


def test_the_usual_place(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build(tmp_path, "torch")
    import feature_nets

    monkeypatch.setattr(feature_nets, "any", lambda _: True, raising=False)  # no --features
    train(tmp_path, "run", "--epochs", "1")
    assert f"in {tmp_path / 'cache/cnnspec/features'}\n" in capsys.readouterr().out
    assert len(list((tmp_path / "cache/cnnspec/features").iterdir())) == 2


def test_a_place_that_cannot_be_written(tmp_path):
    pytest.importorskip("torch")
    build(tmp_path, "torch")
    (tmp_path / "file").write_text("")
    message = (
        f"error: features cannot be kept in {tmp_path / 'file/kept'}: Not a directory; "
        "`--features DIR` names another folder, `--no-features` does without"
    )
    train(tmp_path, "run", "--features", str(tmp_path / "file/kept"), status=message)
