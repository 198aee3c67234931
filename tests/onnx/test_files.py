"""Large weights beside the model, and writes that leave all or nothing."""

from errno import EPERM
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from agreement import agree
from onnx_models import drawn_weights

import cnnspec
from cnnspec.backends.onnx import BACKEND, files
from cnnspec.backends.onnx.files import write_model
from cnnspec.backends.onnx.lowering import lower
from cnnspec.backends.onnx.wire import integer, varint


@pytest.fixture(scope="module")
def net():
    return cnnspec.load("lenet5")


@pytest.fixture(scope="module")
def weights(net):
    return drawn_weights(net.graph)


def run(path):
    x = np.random.default_rng(0).normal(size=(2, 1, 28, 28)).astype(np.float32)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_large_weights_lie_beside_the_model(net, weights, dtype, tmp_path):
    model = lower(net.graph, weights, dtype)
    whole, split = tmp_path / "whole.onnx", tmp_path / "split.onnx"
    total = sum(tensor.nbytes for tensor in model.tensors)
    assert write_model(model, whole, limit=total).files == [whole]
    assert write_model(model, split, limit=total - 1).files == [tmp_path / "split.onnx.data", split]
    onnx.checker.check_model(str(split), full_check=True)
    assert split.stat().st_size < 10_000
    agree(run(split), run(whole), 0)
    for path in (whole, split):
        stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        assert all((stored[key] == array.astype(dtype)).all() for key, array in weights.items())


def test_an_export_says_what_it_wrote(net, weights, tmp_path):
    found = BACKEND.export(net.graph, weights, tmp_path / "m.onnx", limit=0)
    assert [path.name for path in found] == ["m.onnx.data", "m.onnx"]
    assert set(found) == set(tmp_path.iterdir())


class Stop(Exception):
    pass


def failing(weights, after):
    """Weights of which the ones behind the first few cannot be read."""

    class Failing(dict):
        read = 0

        def __getitem__(self, key):
            self.read += 1
            if self.read > after:
                raise Stop
            return super().__getitem__(key)

    return Failing(weights)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("after", [0, 3])
def test_a_write_that_fails_leaves_everything_as_it_was(net, weights, limit, after, tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(Stop):
        write_model(lower(net.graph, failing(weights, after)), path, limit)
    assert contents(tmp_path) == {}
    write_model(lower(net.graph, weights), path, limit)
    before = contents(tmp_path)
    other = {key: 2 * array for key, array in weights.items()}
    with pytest.raises(Stop):
        write_model(lower(net.graph, failing(other, after)), path, limit)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("there", [False, True])
def test_the_model_and_its_weights_are_replaced_together(net, weights, there, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    if there:
        write_model(lower(net.graph, weights), path, limit=0)
    before = contents(tmp_path)
    move = Path.replace

    def replace(self, target):
        if target == path:
            raise PermissionError(EPERM, "not here")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(PermissionError):
        write_model(lower(net.graph, {key: 2 * array for key, array in weights.items()}), path, limit=0)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("model_too", [True, False])
def test_old_weights_never_stay_beside_a_new_model(model_too, net, weights, tmp_path):
    path = tmp_path / "m.onnx"
    write_model(lower(net.graph, weights), path, limit=0)
    if not model_too:
        path.unlink()
    other = {key: 2 * array for key, array in weights.items()}
    write_model(lower(net.graph, other), path)
    write_model(lower(net.graph, other), tmp_path / "whole.onnx")
    assert {name: content == path.read_bytes() for name, content in contents(tmp_path).items()} == {
        "m.onnx": True, "whole.onnx": True
    }  # fmt: skip


@pytest.mark.parametrize("what", ["m.onnx", "m.onnx.data"])
def test_old_weights_stay_where_a_model_without_cannot_be_put(what, net, weights, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    write_model(lower(net.graph, weights), path, limit=0)
    before = contents(tmp_path)
    move = Path.replace

    def replace(self, target):
        if self.name == what or (target == path and what == "m.onnx"):
            raise PermissionError(EPERM, "not here")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(PermissionError):
        write_model(lower(net.graph, {key: 2 * array for key, array in weights.items()}), path)
    assert contents(tmp_path) == before


def test_a_folder_called_as_the_weights_is_left_alone(net, weights, tmp_path):
    (tmp_path / "m.onnx.data" / "mine").mkdir(parents=True)
    write_model(lower(net.graph, weights), tmp_path / "m.onnx")
    with pytest.raises(IsADirectoryError):
        write_model(lower(net.graph, weights), tmp_path / "m.onnx", limit=0)
    assert {path.name for path in tmp_path.rglob("*")} == {"m.onnx", "m.onnx.data", "mine"}


def test_arrays_of_any_layout_and_type_are_written_right(net, weights, tmp_path):
    odd = {key: np.asfortranarray(array.astype(">f8")) for key, array in weights.items()}
    write_model(lower(net.graph, weights), tmp_path / "a.onnx")
    write_model(lower(net.graph, odd), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_pieces_join_without_a_seam(net, weights, tmp_path, monkeypatch):
    write_model(lower(net.graph, weights, "float16"), tmp_path / "a.onnx")
    monkeypatch.setattr(files, "_PIECE", 7)
    write_model(lower(net.graph, weights, "float16"), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1])
def test_whole_numbers_are_protobuf_s(number):
    theirs = onnx.TensorProto(dims=[number]).SerializeToString()
    assert integer(1, number) == theirs
    assert varint(number) == theirs[1:]
