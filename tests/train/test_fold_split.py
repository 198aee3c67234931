"""Which images are held out in which fold."""

import numpy as np
import pytest
from data_files import data_module, numbers
from PIL import Image

import cnnspec
from cnnspec.train.snippets.folds import one_fold
from cnnspec.train.snippets.parts import Arrays, Data, DataError

NAMES = ["cat", "dog", "fox", "yak"]


def data_of(labels):
    """Images of two pixels, which say their number."""
    labels = np.asarray(labels)
    images = np.arange(len(labels), dtype=np.uint16).view(np.uint8).reshape(-1, 1, 2, 1)
    return Data(Arrays(images, labels, "file"), None, None)


def numbers_of(part):
    return part.images.reshape(-1).view(np.uint16).tolist()


def held(labels, folds, seed=0):
    """The numbers of the images that each fold validates on."""
    made = [one_fold(data_of(labels), NAMES, folds, fold, seed) for fold in range(1, folds + 1)]
    return [numbers_of(data.validation) for data in made]


@pytest.mark.parametrize("folds", [2, 3, 5, 7])
@pytest.mark.parametrize("sizes", [[40, 20, 10], [7, 8, 9, 23], [101, 7, 7, 7]])
def test_every_image_is_held_out_once_and_classes_are_even(folds, sizes):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = held(labels, folds)
    assert sorted(number for part in parts for number in part) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        counts = {int((labels[part] == label).sum()) for part in parts}
        assert counts <= {size // folds, -(-size // folds)}
    assert {len(part) for part in parts} <= {len(labels) // folds, -(-len(labels) // folds)}


def test_the_others_are_trained_on_and_keep_their_classes():
    labels = np.arange(90) % 3
    data = one_fold(data_of(labels), NAMES, 4, 2, seed=1)
    assert sorted(numbers_of(data.train) + numbers_of(data.validation)) == list(range(90))
    for part in (data.train, data.validation):
        assert part.labels.tolist() == [number % 3 for number in numbers_of(part)]
        assert numbers_of(part) == sorted(numbers_of(part))


def test_the_seed_decides():
    labels = np.arange(100) % 4
    assert held(labels, 5, seed=1) == held(labels, 5, seed=1)
    assert held(labels, 5, seed=1) != held(labels, 5, seed=2)


def test_images_of_a_class_are_drawn():
    """The order of the data, in which images that are alike may follow each other, does not say which are held out."""
    parts = held(np.zeros(200, int), 2)
    gaps = np.diff(parts[0])
    assert (gaps == 1).sum() > 20
    assert (gaps > 2).sum() > 10


def test_a_class_that_is_not_there_is_none():
    parts = held([0] * 6 + [3] * 6, 3)
    assert [len(part) for part in parts] == [4, 4, 4]


def test_a_class_with_fewer_images_than_folds():
    with pytest.raises(DataError, match="the class fox has 4 images, too few for 5 folds"):
        one_fold(data_of([0] * 9 + [1] * 5 + [2] * 4), NAMES, 5, 1, seed=0)
    assert len(one_fold(data_of([0] * 9 + [1] * 5 + [2] * 4), NAMES, 4, 1, seed=0).validation) == 5


# --- in generated code


def fold_of(folder, fold, data, **sections):
    train = {"data": data, "split": {"folds": 3, "fold": fold}}
    return data_module(train, folder, size=4, **sections).load_data()


def test_images_to_validate_on_are_dealt_out_too(tmp_path):
    x, more, test = numbers(0, 20, 4, 4), numbers(1, 10, 4, 4), numbers(2, 6, 4, 4)
    arrays = {"x_train": x, "y_train": np.arange(20) % 2, "x_validation": more, "y_validation": np.arange(10) % 2}
    np.savez(tmp_path / "a.npz", **arrays, x_test=test, y_test=np.arange(6) % 2)
    place = {"npz": str(tmp_path / "a.npz"), "validation": True}
    parts = [fold_of(tmp_path, fold, place) for fold in (1, 2, 3)]
    seen = [image.tobytes() for data in parts for image in data.validation.images]
    assert sorted(seen) == sorted(image.tobytes() for image in [*x, *more])
    for data in parts:
        assert np.array_equal(data.test.images[..., 0], test)
        assert not {image.tobytes() for image in data.train.images} & {i.tobytes() for i in data.validation.images}
        assert len(data.train) == 20
        assert np.bincount(data.validation.labels).tolist() == [5, 5]


def test_archives_whose_parts_differ_in_size(tmp_path):
    arrays = {"x_train": numbers(0, 20, 4, 4), "y_train": np.arange(20) % 2}
    arrays |= {"x_validation": numbers(1, 10, 5, 5), "y_validation": np.arange(10) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(Exception, match="differ in size: no folds of both") as raised:
        fold_of(tmp_path, 1, {"npz": str(tmp_path / "a.npz"), "validation": True})
    assert type(raised.value).__name__ == "DataError"


def test_folders(tmp_path):
    """Files of both parts; one that is broken is in no fold."""
    for part, count, seed in (("train", 4, 0), ("val", 2, 50)):
        for label, name in enumerate(("ant", "bee")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((4, 4), seed + 10 * label + i, np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "train" / "ant" / "9.png").write_bytes(b"no image")
    place = {"image_folder": str(tmp_path / "train"), "validation": str(tmp_path / "val")}
    parts = [fold_of(tmp_path, fold, place, labels=["ant", "bee"]) for fold in (1, 2, 3)]
    files = [file for data in parts for file in data.validation.files]
    assert len(files) == len(set(files)) == 12
    for data in parts:
        assert np.bincount(data.validation.labels).tolist() == [2, 2]
        assert set(data.train.files) | set(data.validation.files) == set(files)
        images, _ = data.validation.read(np.arange(4), replace=False)
        for image, label in zip(images, data.validation.labels, strict=True):
            assert (image[0, 0, 0] % 50) // 10 == label


def test_both_backends_have_the_same_file(tmp_path):
    from cnnspec.train.generate import build_files

    spec = "cnnspec: 1\nname: n\ninput: {channels: 1, size: 28}\nlayers: [flatten, {dense: 10}]\n"
    spec += "train: {split: {folds: 5, fold: 2}, optimizer: {sgd: 0.1}, epochs: 1, batch_size: 10}\n"
    (tmp_path / "n.yaml").write_text(spec)
    net = cnnspec.load(tmp_path / "n.yaml")
    torch, keras = (build_files(net.graph, backend, net.recipe) for backend in ("torch", "keras"))
    assert torch["data.py"] == keras["data.py"]
    assert b"one_fold(data, CLASSES, 5, 2, seed=0)" in torch["data.py"]
