"""Published sets: found where they lie, or downloaded from a server."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from data_files import data_module, idx_bytes, numbers, write_idx
from serving import Server

from cnnspec.train.snippets import published as snippet
from cnnspec.train.snippets.parts import DataError
from cnnspec.train.snippets.published import idx_files, published

pytest.importorskip("pooch")

NAMES = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    made = Server(folder)
    yield made
    made.stop()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cnnspec" / "tiny"


def files_of(server):
    """Two files and their hashes."""
    made = {}
    for name in ("a.gz", "b.gz"):
        content = gzip.compress(name.encode() * 10000)
        (server.folder / name).write_bytes(content)
        made[name] = hashlib.sha256(content).hexdigest()
    return made


def test_files_come_from_the_server_once(server, cache):
    files = files_of(server)
    assert published("tiny", server.url, files) == cache
    assert sorted(server.asked) == ["a.gz", "b.gz"]
    for name in files:
        assert (cache / name).read_bytes() == (server.folder / name).read_bytes()
    server.asked.clear()
    assert published("tiny", server.url, files) == cache
    assert server.asked == []


def test_a_broken_file_in_the_cache_comes_again(server, cache):
    files = files_of(server)
    cache.mkdir(parents=True)
    (cache / "a.gz").write_bytes(b"half")
    published("tiny", server.url, files)
    assert (cache / "a.gz").read_bytes() == (server.folder / "a.gz").read_bytes()


def refused(server, cache, files, reason):
    """The message, with nothing left of the file."""
    with pytest.raises(DataError) as error:
        published("tiny", server.url, files)
    start = f"cannot download {server.url}/a.gz: "
    assert str(error.value).startswith(start)
    found, _, help = str(error.value).removeprefix(start).partition("; ")
    assert reason in found
    assert help == f"put a.gz into {cache}, or say with --data where it lies"
    assert list(cache.iterdir()) == []


def test_another_checksum(server, cache):
    files = files_of(server)
    (server.folder / "a.gz").write_bytes(b"something else")
    refused(server, cache, files, "what came is not the published file, its SHA-256 is another")


def test_half_a_file(server, cache):
    files = files_of(server)
    server.cut = True
    refused(server, cache, files, "the connection to 127.0.0.1")


def test_no_file(server, cache):
    files = files_of(server)
    (server.folder / "a.gz").unlink()
    refused(server, cache, files, "answers 404 File not found")


def test_no_server(server, cache):
    files = files_of(server)
    server.server.server_close()
    refused(server, cache, files, "the connection to 127.0.0.1")


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot download .*: .*(Not a directory|File exists).*; put a\.gz into"):
        published("tiny", server.url, files_of(server))


def test_names_of_four_files():
    assert idx_files(dict.fromkeys(("train-images", "t10k-labels"), "0")) == {
        "train-images-idx3-ubyte.gz": "0",
        "t10k-labels-idx1-ubyte.gz": "0",
    }


def test_hashes_are_whole():
    listed = [*snippet.MNIST_SHA256.values(), *snippet.FASHION_MNIST_SHA256.values()]
    listed += [snippet.CIFAR10_SHA256, snippet.CIFAR100_SHA256]
    assert len({bytes.fromhex(sha256) for sha256 in listed}) == 10
    assert {len(sha256) for sha256 in listed} == {64}


def test_a_generated_file_downloads(server, cache, tmp_path, monkeypatch):
    # MNIST, of two images, from a server in its publisher's place.
    hashes = {}
    for name in NAMES:
        shape = (2, 28, 28) if "images" in name else (2,)
        content = gzip.compress(idx_bytes(numbers(0, *shape) % 10))
        (server.folder / f"{name}-ubyte.gz").write_bytes(content)
        hashes[name.rpartition("-")[0]] = hashlib.sha256(content).hexdigest()
    made = data_module({"data": "mnist"}, tmp_path)
    monkeypatch.setattr(made, "MNIST_URL", server.url)
    monkeypatch.setattr(made, "MNIST_SHA256", hashes)
    data = made.load_data()
    np.testing.assert_array_equal(data.train.images, numbers(0, 2, 28, 28, 1) % 10)
    assert len(server.asked) == 4
    monkeypatch.setattr(made, "MNIST_SHA256", hashes | {"t10k-labels": "0" * 64})
    with pytest.raises(made.DataError, match=r"t10k-labels-idx1-ubyte\.gz: what came is not"):
        made.load_data()


def test_a_folder_is_not_downloaded_into(tmp_path, monkeypatch):
    write_idx(tmp_path / "mine", "train", numbers(0, 2, 28, 28), [0, 1])
    made = data_module({"data": {"mnist": str(tmp_path / "mine")}}, tmp_path)
    assert not hasattr(made, "published")
    assert len(made.load_data().train) == 2
    made = data_module({"data": "mnist"}, tmp_path)
    monkeypatch.setattr(made, "published", lambda *_: pytest.fail("it is there"))
    assert len(made.load_data(tmp_path / "mine").train) == 2
    with pytest.raises(made.DataError, match="has no train-images"):
        made.load_data(tmp_path)


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_files_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = data_module({"data": "fashion-mnist"}, tmp_path)
    assert len(made.load_data().train) == 60000
    assert not (tmp_path / "cache").exists()
