"""Every op's ONNX: valid, of our shape on every node, and with PyTorch's values in ONNX Runtime and in double precision."""

from zlib import crc32

import numpy as np
import onnxruntime
import pytest
import torch
from agreement import agree
from onnx.reference import ReferenceEvaluator
from onnx_models import case_model, case_nodes, inferred, written
from op_cases import CASES, Case
from torch_ops import expected

from cnnspec.backends.onnx import BACKEND
from cnnspec.backends.onnx.corrected import OPERATORS
from cnnspec.backends.onnx.exact import EXACT
from cnnspec.ops import OPS


def drawn(case: Case, dtype: str) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Inputs for a batch of two, and parameters: the same ones every time."""
    random = np.random.default_rng(crc32(str(case).encode()))
    inputs = [2 * random.normal(size=(2, *shape)) for shape in case.inputs]
    params = {
        name: random.uniform(0.5, 2, p.shape) if name.endswith("running_var") else random.normal(size=p.shape)
        for name, p in case.op.params(case.inputs).items()
    }
    return [x.astype(dtype) for x in inputs], {name: array.astype(dtype) for name, array in params.items()}


def torch_says(case: Case, inputs: list[np.ndarray], params: dict[str, np.ndarray]) -> np.ndarray:
    tensors = {name: torch.from_numpy(array).double() for name, array in params.items()}
    return expected(case.op, [torch.from_numpy(x).double() for x in inputs], tensors).numpy()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_onnx_agrees_with_us_on_every_shape(case, tmp_path):
    _, params = drawn(case, "float32")
    model = case_model(case, params, "float32")
    shapes = inferred(written(model, tmp_path))
    _, nodes = case_nodes(case)
    assert {n.path: shapes[model.values[n.path]] for n in nodes} == {n.path: ("N", *n.shape) for n in nodes}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_onnx_runtime_gives_pytorch_s_values(case, tmp_path):
    inputs, params = drawn(case, "float32")
    proto = written(case_model(case, params, "float32"), tmp_path)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {f"x{i}": x for i, x in enumerate(inputs)})
    wanted = torch_says(case, inputs, params)
    agree(found, wanted, 2e-6 * max(1.0, float(np.abs(wanted).max())))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_double_precision_is_exact(case, tmp_path):
    inputs, params = drawn(case, "float64")
    proto = written(case_model(case, params, "float64"), tmp_path)
    (found,) = ReferenceEvaluator(proto, new_ops=OPERATORS).run(None, {f"x{i}": x for i, x in enumerate(inputs)})
    assert found.dtype == np.float64
    agree(found, torch_says(case, inputs, params), 1e-11)


def test_the_table_has_every_kind():
    kinds = {op.kind for op in OPS.values() if not op.kind.startswith("adaptive_") and op.kind != "separable_conv"}
    assert set(BACKEND.kinds) == kinds
    assert EXACT.keys() == kinds
