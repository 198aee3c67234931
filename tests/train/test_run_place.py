"""What `--data` names, seen from what is there."""

import gzip
from pathlib import Path

import numpy as np
import plain_training
import pytest
from PIL import Image

import cnnspec
from cnnspec.diagnostics import Report
from cnnspec.source import plain
from cnnspec.train.place import absolute_section, data_section


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (14, 14)).save(path)


def section(given, recipe=None):
    report = Report()
    node = data_section(str(given), recipe, report)
    report.raise_errors()
    return plain(node)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["train-images-idx3-ubyte.gz"], "idx"),
        (["train-images-idx3-ubyte"], "idx"),
        (["data_batch_1.bin"], "cifar10"),
        (["data_batch_1"], "cifar10"),
        (["train.bin", "test.bin"], "cifar100"),
    ],
)
def test_files_as_they_are_published(tmp_path, files, kind):
    for name in files:
        (tmp_path / name).touch()
    assert section(tmp_path) == {kind: {"folder": str(tmp_path)}}


def test_a_folder_that_is_called_as_its_set(tmp_path):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b""))
    assert section(folder) == {"fashion-mnist": {"folder": str(folder)}}  # which names its classes


def test_folders_of_images(tmp_path):
    for part in ("train", "val", "test"):
        picture(tmp_path / part / "cat" / "1.png")
    expected = {
        part: str(tmp_path / name) for part, name in [("train", "train"), ("validation", "val"), ("test", "test")]
    }
    assert section(tmp_path) == {"image_folder": expected}
    assert section(tmp_path / "test") == {"image_folder": {"train": str(tmp_path / "test")}}


@pytest.mark.parametrize(
    "names", [("Train", "Valid", "Test"), ("training", "VAL", "testing"), ("TRAIN", "Validation", "test")]
)
def test_parts_under_other_names(tmp_path, names):
    expected = dict(zip(("train", "validation", "test"), (str(tmp_path / name) for name in names), strict=True))
    for name in names:
        picture(tmp_path / name / "cat" / "more" / "1.JPG")  # further down
    assert section(tmp_path) == {"image_folder": expected}


@pytest.mark.parametrize(("classes", "flat"), [("train", "test"), ("val", "train")])
def test_a_part_without_classes_is_not_passed_over(tmp_path, classes, flat):
    picture(tmp_path / "train" / ("" if flat == "train" else "cat") / "1.png")
    picture(tmp_path / classes / "cat" / "1.png")
    picture(tmp_path / flat / "2.png")
    with pytest.raises(cnnspec.SpecError, match=f"{flat}` has images that no folder gives a class to"):
        section(tmp_path)


def test_classes_that_are_called_as_parts(tmp_path):
    for name in ("car", "train"):
        picture(tmp_path / name / "1.png")
    assert section(tmp_path) == {"image_folder": {"train": str(tmp_path)}}


def test_the_columns_of_a_manifest_stay(tmp_path):
    spec = tmp_path / "plain.yaml"
    given = "train:\n  data: {csv: a.csv, image: file, label: class, fit: crop}\n"
    spec.write_text(plain_training.SPEC.replace("train:\n", given))
    recipe = cnnspec.load(spec).recipe
    (tmp_path / "b.csv").write_text("file,class\n")
    assert section(tmp_path / "b.csv", recipe)["csv"] == {
        "train": str(tmp_path / "b.csv"), "image": "file", "label": "class", "fit": "crop",
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", x_train=1)
    assert section(tmp_path / "a.npz", recipe)["npz"] == {"file": str(tmp_path / "a.npz"), "fit": "crop"}


def test_archives_and_manifests(tmp_path):
    arrays = {"x_train": np.zeros((1, 2, 2)), "y_train": np.zeros(1)}
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez(tmp_path / "b.npz", x_validation=1, **arrays)
    assert section(tmp_path / "a.npz") == {"npz": {"file": str(tmp_path / "a.npz")}}
    assert section(tmp_path / "b.npz") == {"npz": {"file": str(tmp_path / "b.npz"), "validation": True}}
    for name in ("train.csv", "validation.csv"):
        (tmp_path / name).write_text("image,label\n")
    assert section(tmp_path / "train.csv") == {"csv": {"train": str(tmp_path / "train.csv")}}
    expected = {part: str(tmp_path / f"{part}.csv") for part in ("train", "validation")}
    assert section(tmp_path) == {"csv": expected}


def test_a_name_and_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert section("mnist") == "mnist"
    picture(Path("mnist", "one", "1.png"))
    assert section("mnist") == {"image_folder": {"train": str(tmp_path / "mnist")}}


@pytest.mark.parametrize("name", ["empty", "text.txt", "flat", "missing", "cifar"])
def test_nothing_that_is_known(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").touch()
    picture(tmp_path / "flat" / "1.png")  # no classes
    with pytest.raises(cnnspec.SpecError) as raised:
        section(tmp_path / name)
    (found,) = raised.value.diagnostics
    assert found.slug == "bad-data"
    assert found.span.source.name == "--data"
    assert found.help


def test_what_the_recipe_says_of_sizes_stays(tmp_path):
    spec = tmp_path / "plain.yaml"
    text = plain_training.SPEC.replace("train:\n", "train:\n  data: {idx: photos, fit: crop, channels: exact}\n")
    spec.write_text(text)
    recipe = cnnspec.load(spec).recipe
    np.savez(tmp_path / "a.npz", x_train=1)
    assert section(tmp_path / "a.npz", recipe)["npz"] == {
        "file": str(tmp_path / "a.npz"), "fit": "crop", "channels": "exact",
    }  # fmt: skip
    assert plain(absolute_section(recipe)) == {
        "idx": {"folder": str(Path("photos").absolute()), "fit": "crop", "channels": "exact"}
    }
