"""Files of features: whole or not there, whatever happens to the process that writes them."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest

from cnnspec.train.snippets import features as snippets
from cnnspec.train.snippets.features import Features, Numbered, hash_arrays, hash_files, is_intact, keep, locked
from cnnspec.train.snippets.files import Files
from cnnspec.train.snippets.parts import Arrays, DataError

IMAGES = np.arange(10 * 2 * 3, dtype=np.uint8).reshape(10, 2, 3, 1)
SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from cnnspec.train.snippets.features import keep
def compute(images):
    with open(sys.argv[2], "a") as file: file.write("batch\\n")
    time.sleep({pause})
    return images.astype(np.float32)
batches = [(np.full(({size}, 2), i), np.arange({size}) + i * {size}) for i in range(5)]
print("ready", flush=True)
keep(Path(sys.argv[1]), 5 * {size}, batches, compute)
"""


def batches(found=range(10), size=4):
    """Images that can be read, with their numbers."""
    for first in range(0, 10, size):
        numbers = np.array([i for i in found if first <= i < first + size], np.int64)
        yield IMAGES[numbers].astype(np.float32), numbers


def double(images):
    return images[..., 0].astype(np.float16) * 2


def slow(tmp_path, pause=0.2, size=10, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", SLOW.format(pause=pause, size=size), tmp_path / "f.npy", tmp_path / "log"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_features_are_read_like_images(tmp_path):
    labels = np.arange(10) % 3
    keep(tmp_path / "a/f.npy", 10, batches(), double)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["f.npy"]
    part = Features(tmp_path / "a/f.npy", labels, True)
    assert isinstance(part.rows, np.memmap)
    for replace in (False, True):
        rows, found = part.read(np.array([7, 2, 2]), replace)
        assert found.tolist() == [7, 2, 2]
        assert type(rows) is np.ndarray
        assert rows.dtype == np.float16
        assert (rows == double(IMAGES[[7, 2, 2]])).all()
        rows += 1  # which changes no file
    assert len(part) == 10
    assert is_intact(part.path)


@pytest.mark.parametrize("found", [range(5), range(5, 10), (0, 3, 6, 9), (4,)])
def test_images_that_are_missing(found, tmp_path):
    """As files of images have it: the next one that can be read, around the end, or none."""
    keep(tmp_path / "f.npy", 10, batches(found), double)
    part = Features(tmp_path / "f.npy", np.zeros(10, int), True)
    for index in range(10):
        after = next(i % 10 for i in range(index, index + 10) if i % 10 in found)
        rows, replaced = part.read(np.array([index]), True)
        assert replaced.tolist() == [after]
        assert (rows == double(IMAGES[[after]])).all()
        rows, left = part.read(np.array([index]), False)
        assert left.tolist() == [index] * (index in found)
        assert rows.shape == (len(left), 2, 3)


def test_none_can_be_read(tmp_path):
    with pytest.raises(DataError, match="no image can be read any more"):
        keep(tmp_path / "f.npy", 10, batches(()), double)
    assert list(tmp_path.iterdir()) == []


def test_numbers_in_place_of_classes():
    part = Numbered(Arrays(IMAGES, np.full(10, 7), "file"))
    assert part.labels.tolist() == list(range(10))
    assert (part.read(np.array([4]), True)[0] == IMAGES[4]).all()


def test_a_failure_leaves_nothing(tmp_path):
    def fails(images):
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        keep(tmp_path / "f.npy", 10, batches(), fails)
    assert list(tmp_path.iterdir()) == []


def test_any_change_is_noticed(tmp_path):
    path = tmp_path / "f.npy"
    keep(path, 10, batches(), double)
    whole = path.read_bytes()
    for end in (0, 3, 128, len(whole) - 5, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert not is_intact(path)
    for place in (0, 70, 200, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not is_intact(path)
    path.write_bytes(whole + b"\0")
    assert not is_intact(path)
    keep(path, 10, batches(), double)
    assert path.read_bytes() == whole
    path.unlink()
    assert not is_intact(path)


def test_killed_in_the_middle(tmp_path):
    """What is left is never taken for whole, and the next process begins anew at once."""
    process = slow(tmp_path, pause=0.5)
    end = time.monotonic() + 60
    while not (tmp_path / "log").exists() or (tmp_path / "log").read_text().count("batch") < 3:
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in tmp_path.glob("*.npy")] == [".part-f.npy"]
    rows = np.arange(50, dtype=np.float32).reshape(50, 1)
    keep(tmp_path / "f.npy", 50, [(rows, np.arange(50))], lambda rows: rows)
    assert (Features(tmp_path / "f.npy", np.zeros(50), True).rows == rows).all()
    assert [path.name for path in tmp_path.glob("*.npy")] == ["f.npy"]


def test_what_others_left_is_removed(tmp_path):
    """And not what another process is writing."""
    (tmp_path / ".part-left.npy").write_bytes(b"some rows")
    with locked(tmp_path / ".part-busy.npy"):
        keep(tmp_path / "f.npy", 10, batches(), double)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".part-busy.npy", "f.npy"]


def test_several_at_once(tmp_path):
    """One makes the file, and the others wait for it."""
    processes = [slow(tmp_path, pause=0.3) for _ in range(3)]
    for process in processes:
        _, error = process.communicate(timeout=100)
        assert process.returncode == 0, error
    assert (tmp_path / "log").read_text().count("batch") == 5
    assert [path.name for path in tmp_path.glob("*.npy")] == ["f.npy"]
    assert is_intact(tmp_path / "f.npy")


def test_a_disk_that_gets_full(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = slow(tmp_path, pause=0, size=10_000, preexec_fn=limited)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1
    assert (
        f"DataError: features cannot be kept in {tmp_path}: File too large; "
        "`--features DIR` names another folder, `--no-features` does without"
    ) in error
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    """It is said before all is computed."""
    monkeypatch.setattr(snippets, "disk_usage", lambda _: namedtuple("Usage", "free")(119))
    with pytest.raises(DataError, match="120 bytes do not fit; `--features DIR`"):
        keep(tmp_path / "f.npy", 10, batches(), double)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="Permission denied"):
        keep(tmp_path / "f.npy", 10, batches(), double)


def test_hashes_are_of_what_is_in_images(tmp_path):
    part = Arrays(IMAGES, np.zeros(10), "one")
    assert hash_arrays(part) == hash_arrays(Arrays(IMAGES.copy(), np.ones(10), "other"))
    assert hash_arrays(part) != hash_arrays(Arrays(IMAGES[::-1], np.zeros(10), "one"))
    assert hash_arrays(part) != hash_arrays(Arrays(IMAGES.reshape(10, 3, 2, 1), np.zeros(10), "one"))

    def files(*contents: bytes) -> Files:
        names = []
        for i, content in enumerate(contents):
            names.append(str(tmp_path / str(i)))
            (tmp_path / str(i)).write_bytes(content)
            os.utime(names[-1], (1, 1))  # times tell nothing
        return Files(names, np.zeros(len(names)), np.zeros((len(names), 2)), 1)

    first = hash_files(files(b"ab", b"cd"))
    assert first != hash_files(files(b"ab", b"ce"))
    assert first != hash_files(files(b"a", b"bcd"))
    assert first == hash_files(files(b"ab", b"cd"))
    part = files(b"ab", b"cd")
    (tmp_path / "1").unlink()
    assert first != hash_files(part)
