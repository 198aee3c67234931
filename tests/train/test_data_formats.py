"""Images in memory: IDX, CIFAR and NumPy archives."""

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_files import idx_bytes, numbers, write_idx

from cnnspec.train.snippets.cifar import cifar_data
from cnnspec.train.snippets.idx import idx_data, read_idx
from cnnspec.train.snippets.npz import npz_data
from cnnspec.train.snippets.parts import DataError

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


# --- IDX


@pytest.mark.parametrize("packed", [True, False])
def test_idx(tmp_path, packed):
    train, test = numbers(1, 5, 4, 3), numbers(2, 2, 4, 3)
    write_idx(tmp_path, "train", train, [0, 1, 2, 3, 9], packed)
    write_idx(tmp_path, "t10k", test, [7, 8], packed)
    data = idx_data(tmp_path)
    np.testing.assert_array_equal(data.train.images, train[..., None])
    assert data.train.labels.tolist() == [0, 1, 2, 3, 9]
    assert data.train.labels.dtype == np.int64
    assert data.validation is None
    np.testing.assert_array_equal(data.test.images, test[..., None])
    assert data.test.labels.tolist() == [7, 8]


def test_idx_without_a_test_part(tmp_path):
    write_idx(tmp_path, "train", numbers(1, 5, 4, 3), [0] * 5)
    assert idx_data(tmp_path).test is None


def test_idx_by_hand(tmp_path):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 255, 7]))
    assert read_idx(tmp_path, "a-images-idx3").tolist() == [[[255, 7]]]


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian():
    data = idx_data(FASHION_MNIST)
    assert data.train.images.shape == (60000, 28, 28, 1)
    assert np.bincount(data.train.labels).tolist() == [6000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    # The mean and deviation of all pixels, which its users normalise with.
    pixels = data.train.images / 255
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (0.2860, 0.3530)


WRONG_IDX = {
    "no file": (None, "has no train-images-idx3-ubyte.gz, nor train-images-idx3-ubyte"),
    "another type": (b"\0\0\x0d\3" + bytes(12), "no IDX file of bytes with 3 axes"),
    "another number of axes": (idx_bytes(np.zeros(4)), "no IDX file of bytes with 3 axes"),
    "cut off": (idx_bytes(np.zeros((5, 4, 3)))[:-1], "59 values in place of 5×4×3"),
    "cut off in the header": (idx_bytes(np.zeros((5, 4, 3)))[:9], "in place of 5×"),
    "empty": (b"", "no IDX file"),
    "no gzip": ("gz", "Not a gzipped file"),
    "gzip, cut off": ("cut", "ended before"),
}


@pytest.mark.parametrize("wrong", WRONG_IDX)
def test_wrong_idx(tmp_path, wrong):
    content, message = WRONG_IDX[wrong]
    write_idx(tmp_path, "train", np.zeros((5, 4, 3)), [0] * 5, packed=False)
    path = tmp_path / "train-images-idx3-ubyte"
    if content is None:
        path.unlink()
    elif isinstance(content, str):
        packed = gzip.compress(path.read_bytes())
        path.with_name(path.name + ".gz").write_bytes(b"no" + packed if content == "gz" else packed[:-12])
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        idx_data(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_idx_of_other_lengths(tmp_path):
    write_idx(tmp_path, "train", np.zeros((5, 4, 3)), [0] * 4)
    with pytest.raises(DataError, match="5 train images, but 4 classes"):
        idx_data(tmp_path)


# --- CIFAR


def planes(images):
    """Rows of a red, a green and a blue plane."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), 3072)


def cifar_files(classes, python):
    """Names, contents, images and classes."""
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"] if classes == 10 else ["train", "test"]
    for i, name in enumerate(names):
        images, labels = numbers(i, 2, 32, 32, 3), [i, classes - 1 - i]
        if python:
            keys = {b"labels": labels} if classes == 10 else {b"fine_labels": labels, b"coarse_labels": [1, 2]}
            yield name, pickle.dumps({b"data": planes(images), **keys}), images, labels
        else:
            before = [[c] if classes == 10 else [19, c] for c in labels]
            content = np.concatenate([np.array(before, np.uint8), planes(images)], axis=1).tobytes()
            yield f"{name}.bin", content, images, labels


FOLDERS = {
    (10, False): ("cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
    (10, True): ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    (100, False): ("cifar-100-binary", "cifar-100-binary.tar.gz"),
    (100, True): ("cifar-100-python", "cifar-100-python.tar.gz"),
}


def write_cifar(folder, classes, python, place, change=lambda name, content: content):
    inside, archive = FOLDERS[classes, python]
    files = {n: change(n, content) for n, content, _, _ in cifar_files(classes, python)}
    if place == "archive":
        with tarfile.open(folder / archive, "w:gz") as packed:
            for name, content in files.items():
                info = tarfile.TarInfo(f"{inside}/{name}")
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
        return
    target = folder / inside if place == "unpacked" else folder
    target.mkdir(exist_ok=True)
    for name, content in files.items():
        (target / name).write_bytes(content)


@pytest.mark.parametrize("place", ["archive", "unpacked", "flat"])
@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(tmp_path, classes, python, place):
    write_cifar(tmp_path, classes, python, place)
    *train, (_, _, test_images, test_labels) = cifar_files(classes, python)
    data = cifar_data(tmp_path, classes)
    np.testing.assert_array_equal(data.train.images, np.concatenate([images for _, _, images, _ in train]))
    assert data.train.labels.tolist() == [label for *_, labels in train for label in labels]
    np.testing.assert_array_equal(data.test.images, test_images)
    assert data.test.labels.tolist() == test_labels
    assert data.test.labels.dtype == np.int64
    if place == "archive":
        assert len(list(tmp_path.iterdir())) == 1, "nothing is unpacked"


class Malicious:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_runs_nothing(tmp_path):
    mark = tmp_path / "ran"
    content = pickle.dumps({b"data": Malicious(mark), b"labels": [1]})
    pickle.loads(content)
    mark.rmdir()  # so it does what it is meant to
    write_cifar(tmp_path, 10, True, "flat", lambda name, old: content if name == "data_batch_2" else old)
    with pytest.raises(DataError, match=r"data_batch_2: it asks for (posix|nt)\.mkdir: nothing was run"):
        cifar_data(tmp_path, 10)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["numpy.load", "builtins.eval", "numpy._core.multiarray.fromfile", "numpy.ndarray.tofile"]
)
def test_a_pickle_gets_no_other_function(tmp_path, name):
    module, _, function = name.rpartition(".")
    content = f"c{module}\n{function}\n.".encode()
    write_cifar(tmp_path, 10, True, "flat", lambda name, old: content)
    with pytest.raises(DataError, match="nothing was run"):
        cifar_data(tmp_path, 10)


def test_a_pickle_of_python_2(tmp_path):
    # What the published files hold: strings in place of bytes, and NumPy's old name of its module.
    array = numbers(0, 2, 3072)
    state = b"(I1\n(I2\nI3072\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\n"
    state += b"S" + repr(array.tobytes())[1:].encode() + b"\ntb"
    content = b"(dS'data'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR" + state
    content += b"sS'labels'\n(lI3\naI4\nas."
    write_cifar(tmp_path, 10, True, "flat", lambda name, old: content)
    data = cifar_data(tmp_path, 10)
    np.testing.assert_array_equal(planes(data.test.images), array)
    assert data.test.labels.tolist() == [3, 4]


WRONG_CIFAR = {
    "binary, cut off": (False, lambda content: content[:-1], "is cut off"),
    "binary, empty": (False, lambda content: b"", "is cut off"),
    "python, cut off": (True, lambda content: content[:100], "test_batch"),
    "python, no pickle": (True, lambda content: b"hello", "test_batch"),
    "python, a list": (True, lambda content: pickle.dumps([1]), "test_batch"),
    "python, no data": (True, lambda content: pickle.dumps({}), "test_batch: b'data'"),
    "python, too few classes": (
        True,
        lambda content: pickle.dumps({b"data": numbers(0, 2, 3072), b"labels": [1]}),
        r"data of \(2, 3072\) for 1 classes",
    ),
}


@pytest.mark.parametrize("place", ["archive", "flat"])
@pytest.mark.parametrize("wrong", WRONG_CIFAR)
def test_wrong_cifar(tmp_path, wrong, place):
    python, change, message = WRONG_CIFAR[wrong]
    write_cifar(tmp_path, 10, python, place, lambda name, old: change(old) if "test" in name else old)
    with pytest.raises(DataError, match=message):
        cifar_data(tmp_path, 10)


def test_no_cifar(tmp_path):
    with pytest.raises(DataError, match=r"has no cifar-10-binary.tar.gz or cifar-10-python.tar.gz, nor what is in it"):
        cifar_data(tmp_path, 10)


def test_a_file_of_cifar_is_missing(tmp_path):
    write_cifar(tmp_path, 10, False, "beside", lambda _, content: content)
    for path in (missing := sorted(tmp_path.rglob("data_batch_4*"))):
        path.unlink()
    assert missing
    with pytest.raises(DataError, match=r"has no data_batch_4.bin$"):
        cifar_data(tmp_path, 10)


@pytest.mark.parametrize("content", [b"", b"x_train, y_train", b"PK\x03\x04 and no more"])
def test_what_is_no_npz(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a.npz is no NumPy archive, or cut off$"):
        npz_data(tmp_path / "a.npz", validation=False)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_broken_archive(tmp_path, content):
    write_cifar(tmp_path, 10, False, "archive")
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-2000] if content is None else content)
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz: "):
        cifar_data(tmp_path, 10)


# --- NumPy archives


def test_npz(tmp_path):
    arrays = {"x_train": numbers(0, 4, 5, 6), "y_train": np.array([1, 2, 3, 4], np.uint8)}
    arrays |= {"x_test": numbers(1, 2, 5, 6, 3).astype(np.int32), "y_test": np.array([[5], [6]])}
    np.savez(tmp_path / "a.npz", **arrays)
    data = npz_data(tmp_path / "a.npz", validation=False)
    np.testing.assert_array_equal(data.train.images, arrays["x_train"][..., None])
    assert data.train.labels.tolist() == [1, 2, 3, 4]
    assert data.validation is None
    np.testing.assert_array_equal(data.test.images, arrays["x_test"])
    assert (data.test.images.dtype, data.test.labels.dtype) == (np.uint8, np.int64)
    assert data.test.labels.tolist() == [5, 6]


def test_npz_with_validation(tmp_path):
    part = {"x_train": numbers(0, 4, 5, 6), "y_train": np.arange(4)}
    np.savez_compressed(tmp_path / "a.npz", **part, x_validation=numbers(1, 2, 5, 6), y_validation=np.arange(2))
    data = npz_data(tmp_path / "a.npz", validation=True)
    np.testing.assert_array_equal(data.validation.images[..., 0], numbers(1, 2, 5, 6))
    assert data.test is None


GOOD = {"x_train": numbers(0, 4, 5, 6), "y_train": np.arange(4)}
WRONG_NPZ = {
    "no images": ({"y_train": np.arange(4)}, "has no x_train, only y_train"),
    "no classes": ({"x_train": GOOD["x_train"]}, "has no y_train, only x_train"),
    "fractions": (GOOD | {"x_train": np.ones((4, 5, 6), np.float32)}, "these are float32"),
    "beyond 255": (GOOD | {"x_train": np.full((4, 5, 6), 256)}, "these are others"),
    "negative": (GOOD | {"x_train": np.full((4, 5, 6), -1)}, "these are others"),
    "rows": (GOOD | {"x_train": numbers(0, 4, 30)}, "2-dimensional"),
    "too few classes": (GOOD | {"y_train": np.arange(3)}, "y_train is not 4 whole numbers"),
    "one-hot classes": (GOOD | {"y_train": np.eye(4)}, "y_train is not 4 whole numbers"),
    "fractional classes": (GOOD | {"y_train": np.ones(4)}, "y_train is not 4 whole numbers"),
    "objects": (GOOD | {"y_train": np.array([1, "a", None, 2], object)}, "Python objects, which are not read"),
}


@pytest.mark.parametrize("wrong", WRONG_NPZ)
def test_wrong_npz(tmp_path, wrong):
    arrays, message = WRONG_NPZ[wrong]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        npz_data(tmp_path / "a.npz", validation=False)
    assert str(tmp_path / "a.npz") in str(error.value)


def test_npz_runs_nothing(tmp_path):
    mark = tmp_path / "ran"
    np.savez(tmp_path / "a.npz", x_train=np.array([Malicious(mark)], object), y_train=np.arange(1))
    with pytest.raises(DataError, match="Python objects, which are not read"):
        npz_data(tmp_path / "a.npz", validation=False)
    assert not mark.exists()


@pytest.mark.parametrize("change", ["missing", "cut", "text", "array"])
def test_no_npz(tmp_path, change):
    file = tmp_path / "a.npz"
    if change == "text":
        file.write_text("hello")
    elif change == "array":
        with file.open("wb") as target:
            np.save(target, np.zeros(3))
    elif change == "cut":
        np.savez(file, **GOOD)
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"a\.npz"):
        npz_data(file, validation=False)
