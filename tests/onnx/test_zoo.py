"""Every network of the zoo as ONNX: valid, and of our shape on every node."""

import onnx
import pytest
from onnx_models import Zeros, disagreements

import cnnspec
from cnnspec.backends.onnx.files import write_model
from cnnspec.backends.onnx.lowering import lower


@pytest.mark.parametrize("name", cnnspec.zoo())
def test_onnx_agrees_with_us_on_every_shape(name, tmp_path):
    graph = cnnspec.load(name).graph
    model = lower(graph, Zeros(graph))
    path, data = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    write_model(model, path, limit=0)  # ONNX infers from the shapes of weights, which need not be read for it
    onnx.checker.check_model(str(path), full_check=True)
    assert disagreements(graph, model, onnx.load(path, load_external_data=False)) == []
    assert data.stat().st_size >= sum(4 * p.size for node in graph.inference().nodes for p in node.params.values())
    data.unlink()


def test_a_wrong_shape_is_seen(tmp_path):
    graph = cnnspec.load("lenet5").graph
    model = lower(graph, Zeros(graph))
    write_model(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    (pool, *_) = (node for node in proto.graph.node if node.op_type in ("MaxPool", "AveragePool"))
    (pads,) = (a for a in pool.attribute if a.name == "pads")
    pads.ints[:] = [1, 1, 1, 1]
    assert pool.name in "".join(disagreements(graph, model, proto))
