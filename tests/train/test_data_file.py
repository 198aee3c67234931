"""The generated `data.py`: its text, and what it says of images that do not fit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import data_module, numbers, source, write_idx
from PIL import Image
from tools import ruff_says

import cnnspec.train
from cnnspec.spec.sections import PreprocessSection
from cnnspec.train.data_file import data_source
from cnnspec.train.fit_lines import fit_of

SAMPLE = Path(cnnspec.train.__path__[0], "sample")
CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
DEEP = "/a/folder/far/down/" + "in/folders/" * 9

COLOURS = {"channels": 3, "size": [32, 24]}
BGR = {
    "resize": 36,
    "crop": [32, 24],
    "mean": [103.9, 116.8, 123.7],
    "channel_order": "bgr",
    "interpolation": "bicubic",
}
LABELS = [f"kind {i}" for i in range(10)]
CROP = [{"random_resized_crop": [0.1, 1]}, "flip", {"brightness": 0.3}, {"cutout": 4}, {"mixup": 0.2}]
RECIPES = {
    "sample": ({}, {}),
    "sample in colours": ({"split": 0.1}, COLOURS | {"preprocess": BGR}),
    "mnist": ({"data": "mnist", "augment": ["flip", {"mixup": 0.2}]}, {"preprocess": {"scale": "1/255"}}),
    "fashion": ({"data": "fashion-mnist", "split": 5000}, {"preprocess": {"mean": 33.3, "std": 2}}),
    "fashion here": ({"data": {"fashion-mnist": DEEP}}, {}),
    "cifar10": ({"data": "cifar10", "augment": CROP}, {"channels": 3, "size": 32}),
    "cifar100": ({"data": {"cifar100": None}}, {"channels": 3, "size": 32, "labels": [f"k{i}" for i in range(100)]}),
    "cifar10 here": ({"data": {"cifar10": "here", "channels": "exact"}}, COLOURS),
    "idx": ({"data": {"idx": "here", "fit": "exact", "channels": "exact"}}, {}),
    "npz": ({"data": {"npz": DEEP + "a.npz", "validation": True, "fit": "pad"}, "split": 0.1}, COLOURS),
    "fold": ({"split": {"folds": 5, "fold": 2, "seed": 3}}, {}),
    "fold of an archive": (
        {"data": {"npz": "a.npz", "validation": True}, "split": {"folds": 1000, "fold": 1000, "seed": 2**31 - 1}},
        COLOURS,
    ),
    "fold of folders": (
        {"data": {"image_folder": "d/train", "validation": "d/val"}, "split": {"folds": 3, "fold": 1}},
        COLOURS,
    ),
    "folders": ({"data": {"image_folder": "d/train", "test": "d/test"}, "augment": CROP}, COLOURS),
    "labelled": (
        {"data": {"image_folder": "d/train", "fit": "crop"}, "split": {"validation": 0.2, "stratified": False}},
        COLOURS | {"labels": LABELS, "preprocess": BGR},
    ),
    "manifest": ({"data": {"csv": DEEP + "train.csv", "image": "file", "validation": "val.csv"}}, COLOURS),
    "hostile": (
        {"data": {"csv": 'a"b\\c/"""\n.csv', "image": 'a"\n', "label": "\\"}},
        {"labels": ['"', "\\", "\n", "'", "é", "#", "{", "}", '"""', " " * 90]},
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_text(tmp_path, name):
    train, sections = RECIPES[name]
    text = source(train, tmp_path, **sections)
    assert text == source(train, tmp_path, **sections)
    file = tmp_path / "alone" / "data.py"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    assert ruff_says(file.parent, "I", ignore="ISC004") == ""  # a label over several lines
    done = subprocess.run([sys.executable, "-I", file], capture_output=True, text=True, cwd=file.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "cnnspec." not in text


def test_only_what_is_used(tmp_path):
    text = source({}, tmp_path)
    for word in (
        "pooch",
        "PIL",
        "pickle",
        "csv",
        "hold_out",
        "fold(",
        "flip",
        "mixup",
        "resize",
        "convert_channels",
        "SCALE",
    ):
        assert word not in text, word


@pytest.mark.parametrize("name", ["mnist_cnn", "lenet5", "cifar_cnn", "resnet50"])
def test_the_zoo_has_data(name):
    net = cnnspec.load(name)
    assert data_source(net.graph, net.recipe)


# --- the sample


def test_sample():
    made = sample_module()
    data = made.load_data()
    assert made.CLASSES == CLOTHES
    assert np.bincount(data.train.labels).tolist() == [250] * 10
    assert np.bincount(data.test.labels).tolist() == [50] * 10
    assert data.validation is None
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) <= 1_500_000
    assert (SAMPLE / "LICENSE.txt").read_text().count("Zalando SE") == 1
    assert (SAMPLE / "labels.txt").read_text().splitlines() == CLOTHES


def sample_module():
    """The `data.py` of LeNet-5, beside the sample."""
    from data_files import module

    net = cnnspec.load("lenet5")
    return module(data_source(net.graph, net.recipe), SAMPLE.parent)


FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_sample_is_the_first_of_each_class():
    made = sample_module()
    sample, whole = made.load_data(), made.load_data(FASHION_MNIST)
    for part, images, count in ((sample.train, whole.train, 250), (sample.test, whole.test, 50)):
        for c in range(10):
            expected = images.images[images.labels == c][:count]
            np.testing.assert_array_equal(part.images[part.labels == c], expected)


# --- names of classes


def test_names_of_classes(tmp_path):
    assert list("0123456789") == data_module({"data": "mnist"}, tmp_path).CLASSES
    assert data_module({"data": "mnist"}, tmp_path, labels=LABELS).CLASSES == LABELS
    assert list("0123456789") == data_module({"data": {"idx": "x"}}, tmp_path).CLASSES
    assert LABELS[:4] == data_module({}, tmp_path, labels=LABELS[:4]).CLASSES
    hundred = data_module(*RECIPES["cifar100"][:1], tmp_path, 3, 32, labels=[f"k{i}" for i in range(100)]).CLASSES
    assert hundred == [f"k{i}" for i in range(100)]


def pictures(folder, names, size=(32, 24)):
    for i, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        Image.fromarray(numbers(i, *size, 3)).save(folder / name / "a.png")


def test_folders_name_classes(tmp_path, capsys):
    pictures(tmp_path / "train", ["dog", "cat"])
    data = data_module({"data": {"image_folder": str(tmp_path / "train")}}, tmp_path, 3, [32, 24])
    assert data.load_data().train.labels.tolist() == [0, 1]
    assert ["cat", "dog", *(f"output {i}" for i in range(2, 10))] == data.CLASSES
    assert "2 classes for 10 outputs" in capsys.readouterr().err
    names = ["dog", "emu", "cat"]
    data = data_module({"data": {"image_folder": str(tmp_path / "train")}}, tmp_path, 3, [32, 24], labels=names)
    assert data.load_data().train.labels.tolist() == [2, 0]
    assert names == data.CLASSES


def test_another_folder_in_place_of_the_recipes(tmp_path):
    pictures(tmp_path / "other" / "train", ["dog", "cat"])
    pictures(tmp_path / "other" / "test", ["cat"])
    train = {"data": {"image_folder": "/nowhere/train", "test": "test"}}
    data = data_module(train, tmp_path, 3, [32, 24])
    parts = data.load_data(tmp_path / "other")
    assert (len(parts.train), len(parts.test)) == (2, 1)
    with pytest.raises(data.DataError, match="there is no folder /nowhere/train"):
        data.load_data()


def test_a_class_that_training_does_not_have(tmp_path):
    pictures(tmp_path / "train", ["dog", "cat"])
    pictures(tmp_path / "test", ["yak"])
    train = {"data": {"image_folder": str(tmp_path / "train"), "test": str(tmp_path / "test")}}
    data = data_module(train, tmp_path, 3, [32, 24])
    with pytest.raises(data.DataError, match="test/yak: the network has no output for the class yak"):
        data.load_data()


def test_manifests(tmp_path):
    pictures(tmp_path, ["x", "y"])
    (tmp_path / "train.csv").write_text("image,label\nx/a.png,zebra\ny/a.png,ape\n")
    data = data_module({"data": {"csv": str(tmp_path / "train.csv")}}, tmp_path, 3, [32, 24])
    assert data.load_data().train.labels.tolist() == [1, 0]
    assert data.CLASSES[:3] == ["ape", "zebra", "output 2"]


# --- sizes and channels

FITS = {
    "stretch": lambda image: np.asarray(Image.fromarray(image).resize((24, 32), Image.Resampling.BILINEAR)),
    # 40×60 covers 32×24 as 32×48, of which 12 columns are cut off on either side.
    "crop": lambda image: np.asarray(Image.fromarray(image).resize((48, 32), Image.Resampling.BILINEAR))[:, 12:36],
}


@pytest.mark.parametrize("fit", FITS)
def test_fit(tmp_path, fit):
    pytest.importorskip("grain")
    pictures(tmp_path / "train", ["cat"], (40, 60))
    train = {"data": {"image_folder": str(tmp_path / "train"), "fit": fit}}
    data = data_module(train, tmp_path, 3, [32, 24])
    ((images, _),) = data.batches(data.load_data().train, 4)
    np.testing.assert_array_equal(images[0], FITS[fit](numbers(0, 40, 60, 3)))


def test_pad(tmp_path):
    pytest.importorskip("grain")
    image = numbers(0, 1, 5, 4)
    np.savez(tmp_path / "a.npz", x_train=image, y_train=[1])
    data = data_module({"data": {"npz": str(tmp_path / "a.npz"), "fit": "pad"}}, tmp_path, 1, [8, 7])
    ((images, _),) = data.batches(data.load_data().train, 4)
    expected = np.zeros((8, 7))
    expected[1:6, 1:5] = image[0]
    np.testing.assert_array_equal(images[0, :, :, 0], expected)


WRONG_SIZES = {
    "exact": ({"fit": "exact"}, {}, "40×60 pixels, and the network takes 32×24"),
    "pad": ({"fit": "pad"}, {}, "40×60 pixels are too many to pad them to 32×24"),
    "crop": ({}, {"crop": [48, 48]}, "40×60 pixels are too few to crop 48×48 out of them"),
}


@pytest.mark.parametrize("name", WRONG_SIZES)
@pytest.mark.parametrize("kind", ["image_folder", "npz"])
def test_sizes_that_do_not_fit(tmp_path, name, kind):
    fit, preprocess, message = WRONG_SIZES[name]
    pictures(tmp_path / "train", ["cat"], (40, 60))
    np.savez(tmp_path / "a.npz", x_train=numbers(0, 2, 40, 60, 3), y_train=[0, 1])
    place = {"image_folder": tmp_path / "train", "npz": tmp_path / "a.npz"}[kind]
    train = {"data": {kind: str(place), **fit}}
    data = data_module(train, tmp_path, 3, [32, 24], preprocess=preprocess)
    named = {"image_folder": r"cat/a\.png", "npz": r"a\.npz: x_train: image 0"}[kind]
    with pytest.raises(data.DataError, match=f"{named}: {message}"):
        data.load_data()


def test_what_is_cropped_for_training_may_have_any_size(tmp_path):
    pictures(tmp_path / "train", ["cat"], (40, 60))
    train = {"data": {"image_folder": str(tmp_path / "train"), "fit": "exact"}}
    data = data_module(train | {"augment": ["random_resized_crop"]}, tmp_path, 3, [32, 24])
    assert len(data.load_data().train) == 1


@pytest.mark.parametrize("kind", ["image_folder", "npz"])
def test_channels_that_do_not_fit(tmp_path, kind):
    pictures(tmp_path / "train", ["cat"])
    np.savez(tmp_path / "a.npz", x_train=numbers(0, 2, 32, 24, 3), y_train=[0, 1])
    place = {"image_folder": tmp_path / "train", "npz": tmp_path / "a.npz"}[kind]
    data = data_module({"data": {kind: str(place), "channels": "exact"}}, tmp_path, 1, [32, 24])
    named = {"image_folder": r"cat/a\.png: an image", "npz": r"a\.npz: x_train: images"}[kind]
    with pytest.raises(data.DataError, match=f"{named} of 3 channels, and the network takes 1"):
        data.load_data()


def test_a_published_set_of_another_size(tmp_path):
    write_idx(tmp_path, "train", numbers(0, 3, 32, 32), [0, 1, 2])
    data = data_module({"data": {"mnist": str(tmp_path)}}, tmp_path)
    with pytest.raises(data.DataError, match=r"train-images-idx3-ubyte: images of 32×32×1, in place of 28×28×1"):
        data.load_data()


def test_batches_without_images(tmp_path):
    pytest.importorskip("grain")
    pictures(tmp_path / "train", ["cat", "dog"])
    train = {
        "data": {"image_folder": str(tmp_path / "train")},
        "augment": ["random_resized_crop", "flip", {"rotate": 9}],
    }
    data = data_module(train, tmp_path, 3, [32, 24])
    part = data.load_data().train
    for epoch in (None, 0):
        ((images, labels),) = data.batches(part, 8, epoch=epoch, rank=0, world=3)
        assert (images.shape, labels.shape) == ((0, 32, 24, 3), (0,))


# --- which images are left as they are

SECTIONS = [
    {},
    {"resize": [28, 28]},
    {"resize": [28, 28], "crop": [28, 28]},
    {"resize": [32, 32], "crop": [28, 28]},
    {"resize": [28, 28], "crop": [24, 24]},
    {"resize": [20, 28]},
    {"resize": [28, 20], "resize_to": "exact"},
    {"crop": [28, 20]},
    {"crop": [20, 20]},
    {"resize": [20, 20]},
    {"resize": [20, 20], "crop": [28, 20]},
    {"resize": [20, 20], "resize_to": "exact"},
]


@pytest.mark.parametrize("size", [(28, 28), (28, 20)])
@pytest.mark.parametrize("options", SECTIONS)
def test_images_that_are_left_as_they_are(options, size):
    from cnnspec.spec.recipe.data import Npz
    from cnnspec.train.snippets import resize

    section = PreprocessSection(**options)
    for fit in ("stretch", "crop", "pad", "exact"):
        found = fit_of(Npz(file="x", fit=fit), section, size)

        def made(image, steps=found.steps):
            for name, arguments in steps:
                image = eval(f"resize.{name}(image, {arguments})", {"resize": resize, "Image": Image, "image": image})
            return image

        image = numbers(0, *size, 1)
        failed = False
        for shape in ((9, 13), (28, 28), (28, 20), (20, 28), (60, 31), (200, 20)):
            try:
                assert made(numbers(1, *shape, 1)).shape == (*size, 1)
            except resize.DataError:
                failed = True
        assert failed <= found.can_fail
        try:
            same = made(image).tobytes() == image.tobytes()
        except resize.DataError:
            same = False
        assert found.keeps_size == same
