"""Which images are held out, and batches: the same whatever their size, the processes and the place to start from."""

import threading
import time

import numpy as np
import pytest
from data_files import data_module, numbers, write_idx

from cnnspec.train.snippets.batches import Batches
from cnnspec.train.snippets.checks import convert_channels, require_channels
from cnnspec.train.snippets.parts import Arrays, Data, DataError
from cnnspec.train.snippets.split import held_of_each, hold_out


def data_of(labels):
    """Images of one pixel, which is their number."""
    labels = np.asarray(labels)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Data(Arrays(images, labels, "file"), None, None)


def held(data):
    return data.validation.images.ravel().tolist()


# --- images held out


def test_the_same_share_of_every_class():
    # 10 % of 40, 20 and 10 images.
    labels = np.repeat([0, 1, 2], [40, 20, 10])
    data = hold_out(data_of(labels), 0.1, stratified=True, seed=0)
    assert np.bincount(data.validation.labels).tolist() == [4, 2, 1]
    assert np.bincount(data.train.labels).tolist() == [36, 18, 9]
    assert sorted(held(data) + data.train.images.ravel().tolist()) == list(range(70))
    for part in (data.train, data.validation):
        np.testing.assert_array_equal(part.labels, labels[part.images.ravel()])


@pytest.mark.parametrize(
    ("sizes", "number", "expected"),
    [
        ([40, 20, 10], 7, [4, 2, 1]),
        ([5, 5, 5], 4, [2, 1, 1]),  # 1⅓ of each: who comes first gets what is left
        ([7, 2, 1], 5, [4, 1, 0]),  # 3.5, 1 and 0.5: the first of those that lost a half
        ([1, 1, 98], 10, [0, 0, 10]),  # 0.1, 0.1 and 9.8
    ],
)
def test_how_many_of_each_class(sizes, number, expected):
    counts = held_of_each(np.repeat(np.arange(len(sizes)), sizes), number)
    assert counts == dict(enumerate(expected))


def test_a_number_of_images():
    data = hold_out(data_of([0, 1] * 30), 7, stratified=False, seed=0)
    assert (len(data.validation), len(data.train)) == (7, 53)


def test_the_seed_decides():
    labels = [0, 1, 2] * 20
    first, again, other = (held(hold_out(data_of(labels), 0.2, True, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_without_strata_any_may_be_held():
    labels = np.repeat([0, 1], [100, 100])
    counts = {int((hold_out(data_of(labels), 20, False, seed).validation.labels == 0).sum()) for seed in range(10)}
    assert len(counts) > 1


@pytest.mark.parametrize(("share", "number"), [(0.01, 0), (10, 10), (50, 50), (0.99, 10)])
def test_no_images_left(share, number):
    with pytest.raises(DataError, match=f"cannot hold {number} images out of 10 to validate on"):
        hold_out(data_of([0] * 10), share, stratified=True, seed=0)


# --- batches


def prepare(images, draw):
    """Whole images, with a number that is drawn for each."""
    drawn = np.zeros(len(images)) if draw is None else draw.uniform()
    return np.stack([np.asarray(images)[:, 0, 0, 0], drawn], axis=1)


def all_of(part, size, epoch, rank=0, world=1):
    source = Batches(part, size, epoch, rank, world, 5, prepare)
    return [source[i] for i in range(len(source))]


def joined(batches):
    return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])


PART = data_of(np.arange(103) % 10).train


def test_an_epoch_shows_every_image_once():
    batches = all_of(PART, 10, 0)
    assert [len(labels) for _, labels in batches] == [10] * 10 + [3]
    images, labels = joined(batches)
    assert sorted(images[:, 0]) == list(range(103))
    np.testing.assert_array_equal(labels, images[:, 0] % 10)


def test_epochs_differ_and_repeat():
    first, second, again = (joined(all_of(PART, 10, epoch))[0] for epoch in (0, 1, 0))
    np.testing.assert_array_equal(first, again)
    assert (first[:, 0] != second[:, 0]).any()
    drawn = [dict(images.tolist()) for images in (first, second)]
    assert all(drawn[0][image] != drawn[1][image] for image in range(103))


def test_evaluation_is_in_order_and_draws_nothing():
    images, labels = joined(all_of(PART, 10, None))
    assert images[:, 0].tolist() == list(range(103))
    assert not images[:, 1].any()
    np.testing.assert_array_equal(labels, PART.labels)


@pytest.mark.parametrize("size", [1, 7, 64, 103, 1000])
def test_the_size_of_batches_changes_nothing(size):
    np.testing.assert_array_equal(joined(all_of(PART, size, 3))[0], joined(all_of(PART, 10, 3))[0])


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("epoch", [None, 2])
def test_processes_share_each_batch(world, epoch):
    whole = all_of(PART, 10, epoch)
    shares = [all_of(PART, 10, epoch, rank, world) for rank in range(world)]
    for number, batch in enumerate(whole):
        mine = [share[number] for share in shares]
        sizes = [len(labels) for _, labels in mine]
        assert max(sizes) - min(sizes) <= 1
        for together, expected in zip(joined(mine), batch, strict=True):
            np.testing.assert_array_equal(together, expected)


# --- of generated files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("grain")
    made = tmp_path_factory.mktemp("data")
    write_idx(made, "train", numbers(0, 103, 28, 28), np.arange(103) % 10)
    write_idx(made, "t10k", numbers(1, 20, 28, 28), np.arange(20) % 10)
    return made


AUGMENT = [{"pad_and_crop": 2}, "flip", {"rotate": 10}, {"brightness": 0.2}, {"cutout": 6}]


def made(folder, **train):
    options = {"data": {"idx": str(folder)}, "augment": AUGMENT, "seed": 3, **train}
    return data_module(options, folder, preprocess={"scale": "1/255", "mean": 0.5, "std": 0.25})


def same(actual, expected):
    assert len(actual) == len(expected)
    for batch, other in zip(actual, expected, strict=True):
        for array, wanted in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("mixup", [False, True])
def test_starting_in_the_middle_changes_nothing(folder, mixup):
    data = made(folder, augment=AUGMENT + [{"mixup": 0.4}] * mixup)
    part = data.load_data().train
    whole = list(data.batches(part, 10, epoch=4))
    assert len(whole) == 11
    for start in (1, 6, 10, 11):
        same(list(data.batches(part, 10, epoch=4, start=start)), whole[start:])


@pytest.mark.parametrize("mixup", [False, True])
def test_processes_share_what_is_drawn(folder, mixup):
    data = made(folder, augment=AUGMENT + [{"mixup": 0.4}] * mixup)
    part = data.load_data().train
    whole = list(data.batches(part, 10, epoch=1))
    shares = [list(data.batches(part, 10, epoch=1, rank=rank, world=3)) for rank in range(3)]
    same([joined(batch) for batch in zip(*shares, strict=True)], whole)


def test_another_size_of_batches_draws_the_same(folder):
    data = made(folder)
    part = data.load_data().train
    np.testing.assert_array_equal(
        joined(list(data.batches(part, 10, epoch=1)))[0], joined(list(data.batches(part, 33, epoch=1)))[0]
    )


def test_augmentation_is_for_training_alone(folder):
    data, plain = made(folder), made(folder, augment=[])
    parts = data.load_data()
    for part in parts[::2]:
        same(list(data.batches(part, 10)), list(plain.batches(part, 10)))
    trained = joined(list(data.batches(parts.train, 10, epoch=0)))[0]
    assert (trained != joined(list(plain.batches(parts.train, 10, epoch=0)))[0]).mean() > 0.5


def test_seeds_differ(folder):
    images = []
    for seed in (3, 4):
        data = made(folder, seed=seed)
        images.append(joined(list(data.batches(data.load_data().train, 103, epoch=0)))[1])
    assert (images[0] != images[1]).any()


def test_mixed_labels_are_shares(folder):
    data = made(folder, augment=[{"mixup": 1.0}])
    part = data.load_data().train
    for _, labels in data.batches(part, 10, epoch=0):
        assert (labels.dtype, labels.shape[1]) == (np.float32, 10)
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    assert next(data.batches(part, 10))[1].dtype == np.int64


def test_pixels_by_hand(folder):
    data = made(folder)
    images, _ = next(data.batches(data.load_data().test, 5))
    expected = (numbers(1, 20, 28, 28)[:5, ..., None] / 255 - 0.5) / 0.25
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert images.dtype == np.float32


def test_threads_end(folder):
    data = made(folder)
    part = data.load_data().train
    batches = data.batches(part, 5, epoch=0)
    next(batches)
    batches.close()
    with pytest.raises(ZeroDivisionError):
        for _ in data.batches(part, 5, epoch=0):
            raise ZeroDivisionError  # what goes wrong in training
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("grain") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_goes_wrong_in_a_thread_is_raised(folder, monkeypatch):
    data = made(folder)

    def fail(pixels, draw):
        raise data.DataError("it broke")

    monkeypatch.setattr(data, "prepare", fail)
    with pytest.raises(data.DataError, match="it broke"):
        list(data.batches(data.load_data().train, 10, epoch=0))


# --- what does not fit


def test_a_class_without_an_output(tmp_path):
    write_idx(tmp_path, "train", numbers(0, 3, 28, 28), [0, 12, 1])
    data = made(tmp_path)
    place = "train-images-idx3-ubyte: image 1"
    with pytest.raises(data.DataError, match=f"{place}: class 12, and the network has 10 outputs, from 0"):
        data.load_data()


@pytest.mark.parametrize("name", ["train", "t10k"])
def test_no_images(tmp_path, name):
    write_idx(tmp_path, "train", numbers(0, 3, 28, 28), [0, 1, 2])
    write_idx(tmp_path, name, np.zeros((0, 28, 28)), [])
    data = made(tmp_path)
    part = {"train": "train", "t10k": "test"}[name]
    with pytest.raises(data.DataError, match=f"there are no images in the {part} part"):
        data.load_data()


def test_colours_to_grey_as_pillow_makes_it():
    from PIL import Image

    images = np.concatenate(
        [numbers(0, 4, 30, 30, 3), np.zeros((1, 30, 30, 3), np.uint8), np.full((1, 30, 30, 3), 255)]
    )
    images = images.astype(np.uint8)
    data = convert_channels(Data(Arrays(images, np.zeros(6), "a"), None, None), 1)
    expected = [np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in images]
    np.testing.assert_array_equal(data.train.images, expected)


def test_grey_to_colours():
    images = numbers(0, 4, 5, 5, 1)
    data = convert_channels(Data(Arrays(images, np.zeros(4), "a"), None, None), 3)
    np.testing.assert_array_equal(data.train.images, np.concatenate([images] * 3, axis=3))


def test_channels_that_do_not_fit():
    data = Data(Arrays(numbers(0, 4, 5, 5, 2), np.zeros(4), "a"), None, None)
    with pytest.raises(DataError, match="a: 2 channels, in place of 3"):
        convert_channels(data, 3)
    assert convert_channels(data, 2).train.images.shape == (4, 5, 5, 2)
    with pytest.raises(DataError, match="a: images of 2 channels, and the network takes 3"):
        require_channels(data, 3)
