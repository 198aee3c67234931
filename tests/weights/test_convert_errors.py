"""Files that do not fit, are damaged or mean harm: one error each, and nothing is run."""

import io
import json
import os
import pickle
import struct
import zipfile
from argparse import Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnspec
from cnnspec.graph import Graph
from cnnspec.weights.contract import contract
from cnnspec.weights.convert import read_foreign, write_foreign

SPEC = """cnnspec: 1
name: small
input: {channels: 3, size: 4}
layers: [{conv: 2, kernel: 1, name: conv}, flatten, {dense: 5, name: fc}]
"""


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    (tmp_path / "small.yaml").write_text(SPEC)
    return cnnspec.load(tmp_path / "small.yaml").graph


def arrays(graph: Graph) -> dict[str, Any]:
    return {key: np.full(param.shape, 0.5, np.float32) for key, param in contract(graph).items()}


def error(graph: Graph, format: str, file: Path, slug: str = "bad-weight-file") -> str:
    """The one error that reading `file` gives."""
    with pytest.raises(cnnspec.SpecError) as caught:
        read_foreign(graph, format, file)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.slug == slug
    assert str(file) in diagnostic.message
    return f"{diagnostic.message} {diagnostic.help}"


# --- what does not fit


def changed(state: dict[str, Any]) -> dict[str, Any]:
    del state["fc.bias"]
    return state | {"fc.weight": np.zeros((6, 32), np.float32), "other.weight": np.zeros(2, np.float32)}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_everything_that_does_not_fit_is_one_error(graph: Graph, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch = pytest.importorskip("torch")
        torch.save({key: torch.from_numpy(array) for key, array in changed(arrays(graph)).items()}, file)
    else:
        from safetensors.numpy import save_file

        save_file(changed(arrays(graph)), file)
    message = error(graph, "torchvision", file, "foreign-weights")
    assert (
        "1 missing: `fc.bias`; 1 left over: `other.weight`; 1 of another shape: `fc.weight` is 6×32 and not 5×32"
        in message
    )
    assert "no name map has small" in message


def test_other_shapes_alone_are_not_for_want_of_a_name_map(graph: Graph, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    file = tmp_path / "a.safetensors"
    save_file(arrays(graph) | {"fc.weight": np.zeros((6, 32), np.float32)}, file)
    message = error(graph, "torchvision", file, "foreign-weights")
    assert "does not fit small: 1 of another shape: `fc.weight` is 6×32 and not 5×32" in message
    assert "no name map" not in message


def test_both_sides_are_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    graph = cnnspec.load("alexnet_torchvision", classes=2).graph
    torch.save({"features.0.weight": torch.zeros(1, 1), "features.1.weight": torch.zeros(1)}, tmp_path / "a.pth")
    message = error(graph, "torchvision", tmp_path / "a.pth", "foreign-weights")
    assert "15 missing: `features.0.bias` for `conv1.bias`, `features.3.weight` for `conv2.weight`" in message
    assert "and 12 more; 1 left over: `features.1.weight`" in message
    assert "`features.0.weight` for `conv1.weight` is 1×1 and not 64×3×11×11" in message


def test_what_is_written_has_to_be_whole(graph: Graph, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"as it was")
    with pytest.raises(cnnspec.SpecError, match=r"1 missing: `fc\.bias`; 1 left over: `other\.weight`"):
        write_foreign(graph, "torchvision", file, changed(arrays(graph)))
    assert file.read_bytes() == b"as it was"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.filterwarnings("error")
def test_arrays_may_be_read_only(graph: Graph, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    given = arrays(graph)
    for array in given.values():
        array.flags.writeable = False
    write_foreign(graph, "torchvision", tmp_path / "a.pth", given)
    with read_foreign(graph, "torchvision", tmp_path / "a.pth") as weights:
        assert weights["fc.bias"].tolist() == [0.5] * 5


@pytest.mark.parametrize(("format", "name"), [("keras", "a.keras"), ("torchvision", "a.h5")])
def test_names_that_cannot_be_written(format: str, name: str, graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(cnnspec.SpecError, match="is no name for"):
        write_foreign(graph, format, tmp_path / name, arrays(graph))
    assert not (tmp_path / name).exists()


def test_unknown_format(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no format 'caffe'"):
        read_foreign(graph, "caffe", tmp_path / "a")


# --- what is no file of weights


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.h5", "a.keras"])
@pytest.mark.parametrize("content", [b"", b"hello, world", b"PK\x03\x04" + bytes(40), b"\x89HDF\r\n\x1a\n" + bytes(40)])
def test_other_files(name: str, content: bytes, graph: Graph, tmp_path: Path) -> None:
    if name == "a.pth":
        pytest.importorskip("torch")
    else:
        pytest.importorskip("h5py")
    (tmp_path / name).write_bytes(content)
    error(graph, "keras" if name in ("a.h5", "a.keras") else "torchvision", tmp_path / name)


def test_no_file(graph: Graph, tmp_path: Path) -> None:
    assert "does not exist" in error(graph, "keras", tmp_path / "nothing.h5")
    assert "is not a file" in error(graph, "keras", tmp_path)


@pytest.mark.parametrize("name", ["whole.pth", "whole.weights.h5", "whole.h5"])
def test_cut_short(name: str, graph: Graph, tmp_path: Path) -> None:
    format = "torchvision" if name.endswith(".pth") else "keras"
    pytest.importorskip("torch" if format == "torchvision" else "h5py")
    whole = tmp_path / name
    write_foreign(graph, format, whole, arrays(graph))
    with read_foreign(graph, format, whole) as weights:
        assert weights["fc.bias"].tolist() == [0.5] * 5
    content = whole.read_bytes()
    for end in (len(content) // 3, len(content) - 30):
        whole.write_bytes(content[:end])
        error(graph, format, whole)


@pytest.mark.parametrize("name", ["whole.pth", "whole.keras"])
def test_a_flipped_bit_is_seen(name: str, graph: Graph, tmp_path: Path) -> None:
    """PyTorch itself reads on: no checksum of its archives is compared."""
    format = "torchvision" if name.endswith(".pth") else "keras"
    pytest.importorskip("torch" if format == "torchvision" else "h5py")
    file = tmp_path / name
    if format == "keras":
        write_foreign(graph, format, tmp_path / "a.weights.h5", arrays(graph))
        keras_archive(file, (tmp_path / "a.weights.h5").read_bytes())
    else:
        write_foreign(graph, format, file, arrays(graph))
    content = bytearray(file.read_bytes())
    content[content.index(np.full(160, 0.5, np.float32).tobytes()) + 100] ^= 1
    file.write_bytes(content)
    assert "is damaged" in error(graph, format, file)


def test_an_archive_without_checksums_is_read(graph: Graph, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.serialization.set_crc32_options(False)
    try:
        write_foreign(graph, "torchvision", tmp_path / "a.pth", arrays(graph))
    finally:
        torch.serialization.set_crc32_options(True)
    with read_foreign(graph, "torchvision", tmp_path / "a.pth") as weights:
        assert weights["fc.bias"].tolist() == [0.5] * 5


def test_parts_that_overlap(graph: Graph, tmp_path: Path) -> None:
    """A small archive may not take long to be compared."""
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(9999)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth", "a") as archive:
        archive.filelist += archive.filelist * 20
        archive.writestr("last", "")
    assert "is damaged: its parts overlap" in error(graph, "torchvision", tmp_path / "a.pth")


# --- what training scripts put around weights

WRAPPERS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "parallel": (lambda s: {f"module.{k}": v for k, v in s.items()}, "without `module.` before its names"),
    "compiled": (
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()}, "without `module._orig_mod.` before its names"
    ),
    "averaged": (
        lambda s: {"model_ema": {"n_averaged": s["fc.bias"][0], **{f"module.{k}": v for k, v in s.items()}}},
        "as the checkpoint that it is, of which `model_ema` is used and without `module.` before its names",
    ),
    "torchvision's script": (
        lambda s: {"model": s, "optimizer": {"state": {}}, "epoch": 3, "args": Namespace(lr=0.1)},
        "as the checkpoint that it is, of which `model` is used",
    ),
    "timm's script": (
        lambda s: {"epoch": 3, "arch": "small", "state_dict": s, "metric": 0.5, "args": Namespace(device="cpu")},
        "as the checkpoint that it is, of which `state_dict` is used",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_a_script_put_around_weights_is_taken_off(name: str, graph: Graph, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    wrap, text = WRAPPERS[name]
    torch.save(wrap({k: torch.from_numpy(v) for k, v in arrays(graph).items()}), file := tmp_path / "a.pth")
    with read_foreign(graph, "torchvision", file) as weights:
        assert {key: weights[key].tobytes() for key in weights} == {k: v.tobytes() for k, v in arrays(graph).items()}
    (warning,) = weights.warnings
    assert (warning.slug, warning.message) == ("unwrapped-weights", f"`{file}` is read {text}")


def test_a_plain_file_is_read_without_a_word(graph: Graph, tmp_path: Path) -> None:
    write_foreign(graph, "torchvision", tmp_path / "a.safetensors", arrays(graph))
    with read_foreign(graph, "torchvision", tmp_path / "a.safetensors") as weights:
        assert weights.warnings == []


def test_layers_may_be_called_as_a_wrapper_is(tmp_path: Path) -> None:
    text = SPEC.replace("layers: ", "blocks: {part: {layers: ").replace(
        "}]\n", "}]}}\nlayers: [{part: null, name: module}]\n"
    )
    (tmp_path / "small.yaml").write_text(text)
    graph = cnnspec.load(tmp_path / "small.yaml").graph
    assert all(key.startswith("module.") for key in contract(graph))
    write_foreign(graph, "torchvision", tmp_path / "a.safetensors", arrays(graph))
    with read_foreign(graph, "torchvision", tmp_path / "a.safetensors") as weights:
        assert weights.warnings == []


def test_of_several_state_dicts_none_is_chosen(graph: Graph, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {k: torch.from_numpy(v) for k, v in arrays(graph).items()}
    torch.save({"model": state, "model_ema": state}, tmp_path / "a.pth")
    message = error(graph, "torchvision", tmp_path / "a.pth")
    assert "holds several state dicts: `model`, `model_ema`" in message


def test_one_name_without_the_prefix_keeps_it_on_all(graph: Graph, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({f"module.{k}": v for k, v in arrays(graph).items()} | {"x": np.zeros(1)}, tmp_path / "a.safetensors")
    assert "5 left over: `x`, `module." in error(graph, "torchvision", tmp_path / "a.safetensors", "foreign-weights")


# --- Keras's files that mean harm


def keras_archive(path: Path, content: bytes, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("model.weights.h5", content)
    return path


def test_archives(graph: Graph, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    whole = tmp_path / "whole.weights.h5"
    write_foreign(graph, "keras", whole, arrays(graph))
    packed = keras_archive(tmp_path / "packed.keras", whole.read_bytes(), compression=zipfile.ZIP_DEFLATED)
    with read_foreign(graph, "keras", packed) as weights:
        assert weights["fc.bias"].tolist() == [0.5] * 5
    packed.write_bytes(packed.read_bytes()[:-40])
    assert "cannot be unpacked" in error(graph, "keras", packed)
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({}))
    assert "has no `model.weights.h5`" in error(graph, "keras", tmp_path / "empty.keras")


def test_a_bomb(graph: Graph, tmp_path: Path) -> None:
    bomb = keras_archive(tmp_path / "bomb.keras", bytes(100_000_000), compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1_000_000
    assert "would unpack to 100,000,000 bytes" in error(graph, "keras", bomb)


def link_out(group: Any, folder: Path) -> None:
    import h5py

    del group["conv/vars"]
    group["conv/vars"] = h5py.ExternalLink(str(folder / "secret.h5"), "/vars")


def link_soft(group: Any, folder: Path) -> None:
    import h5py

    del group["conv/vars"]
    group["conv/vars"] = h5py.SoftLink("/layers/fc/vars")


def data_elsewhere(group: Any, folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(8))
    del group["conv/vars/1"]
    group["conv/vars"].create_dataset("1", (2,), "f4", external=[(str(folder / "secret"), 0, 8)])


def virtual(group: Any, folder: Path) -> None:
    import h5py

    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "x", shape=(2,))
    del group["conv/vars/1"]
    group["conv/vars"].create_virtual_dataset("1", layout)


def circles(group: Any, folder: Path) -> None:
    loop = group.create_group("loop")
    for number in range(100):
        loop[f"again{number}"] = loop


def integers(group: Any, folder: Path) -> None:
    del group["conv/vars/1"]
    group["conv/vars/1"] = np.array([1, 2])


def groups(group: Any, folder: Path) -> None:
    del group["conv/vars/1"]
    group.create_group("conv/vars/1")


def same_name(group: Any, folder: Path) -> None:
    group["fc/vars"].attrs["name"] = "conv"


HARM: dict[Callable[[Any, Path], None], str] = {
    link_out: "has a link to another place",
    link_soft: "has a link to another place",
    data_elsewhere: "in another file",
    virtual: "in another file",
    circles: "more groups than any network",
    integers: "holds no floating-point numbers",
    groups: "where data should be",
    same_name: "two layers called `conv`",
}


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_hdf5(harm: Callable[[Any, Path], None], graph: Graph, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    whole = tmp_path / "a.weights.h5"
    write_foreign(graph, "keras", whole, arrays(graph))
    with h5py.File(whole, "a") as file:
        file.move("layers/conv2d", "layers/conv")
        file.move("layers/dense", "layers/fc")
        harm(file["layers"], tmp_path)
    assert HARM[harm] in error(graph, "keras", whole)


def test_a_shape_without_bytes(graph: Graph, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    whole = tmp_path / "a.weights.h5"
    write_foreign(graph, "keras", whole, arrays(graph))
    with h5py.File(whole, "a") as file:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars"].create_dataset("0", (1 << 20, 1 << 20), "f4", chunks=(64, 64), compression="gzip")
    message = error(graph, "keras", whole, "foreign-weights")
    assert "`conv/kernel` for `conv.weight` is 1048576×1048576 and not 1×1×3×2" in message


# --- pickles


class Runs:
    """What runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_pickles_run_nothing(graph: Graph, tmp_path: Path) -> None:
    marker = tmp_path / "was run"
    content = pickle.dumps({"conv": [Runs(marker)]})
    (tmp_path / "a.pkl").write_bytes(content)
    assert "asks for `posix.mkdir`" in error(graph, "keras", tmp_path / "a.pkl")
    if find_spec("torch"):
        (tmp_path / "a.pth").write_bytes(content)
        assert "holds more than tensors" in error(graph, "torchvision", tmp_path / "a.pth")
        with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
        assert "holds more than tensors" in error(graph, "torchvision", tmp_path / "b.pth")
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<f2"])
def test_pickles_of_arrays(protocol: int, dtype: str, graph: Graph, tmp_path: Path) -> None:
    """In Keras's layout; some arrays with their first axis the fastest."""
    kernel = np.asfortranarray(np.arange(6).reshape(1, 1, 3, 2), dtype)
    content = {
        "conv": [kernel, np.zeros(2, dtype)],
        "fc": (np.arange(160).reshape(32, 5).astype(dtype), np.ones(5, dtype)),
    }
    with (tmp_path / "a.pkl").open("wb") as file:
        pickle.dump(content, file, protocol)
    with read_foreign(graph, "keras", tmp_path / "a.pkl") as weights:
        assert weights["conv.weight"].squeeze().tolist() == [[0, 2, 4], [1, 3, 5]]
        assert weights["fc.bias"].tolist() == [1] * 5
        assert weights["fc.weight"][1, :4].tolist() == [1, 11, 21, 31]  # every other feature is of the first channel


def harmful(name: str) -> bytes:
    array = b"cnumpy\nndarray\n"
    return {
        "not a mapping": pickle.dumps([1, 2]),
        "objects": pickle.dumps({"conv": [np.array([None])]}),
        "integers": pickle.dumps({"conv": [np.arange(3)]}),
        "texts": pickle.dumps({"conv": ["a"]}),
        "cut": pickle.dumps({"conv": [np.ones(3)]})[:-8],
        "empty array of any size": b"\x80\x03" + array + b"(I1000000000000\ntR.",
        "a name changed": b"\x80\x03" + array + b"}U\x01aU\x01bsb.",
        "a memo of any size": b"\x80\x03Nr" + struct.pack("<I", (1 << 32) - 1) + b".",
        "bytes of any size": b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b".",
        "shape without bytes": _shape_without_bytes(),
    }[name]


def _shape_without_bytes() -> bytes:
    whole = pickle.dumps({"conv": [np.ones((3, 3), np.float32)]}, 3)
    assert whole.count(b"K\x03K\x03") == 1
    return whole.replace(b"K\x03K\x03", b"M\xff\xffM\xff\xff")


NAMES = [
    "not a mapping", "objects", "integers", "texts", "cut", "empty array of any size", "a name changed",
    "a memo of any size", "bytes of any size", "shape without bytes",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_harmful_pickles(name: str, graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(harmful(name))
    error(graph, "keras", tmp_path / "a.pkl")


def test_a_tensor_that_is_larger_than_its_storage(graph: Graph, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {key: torch.from_numpy(array) for key, array in arrays(graph).items()}
    state["fc.weight"] = torch.zeros(1).expand(1 << 30, 1 << 20)
    torch.save(state, tmp_path / "a.pth")
    assert "is 1073741824×1048576 and not 5×32" in error(graph, "torchvision", tmp_path / "a.pth", "foreign-weights")


def test_a_compressed_state_dict(graph: Graph, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(9)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert "is compressed" in error(graph, "torchvision", tmp_path / "a.pth")


@pytest.mark.skipif(not find_spec("torch"), reason="these are PyTorch's files")
def test_an_archive_of_several_disks_is_damaged(graph: Graph, tmp_path: Path) -> None:
    write_foreign(graph, "torchvision", tmp_path / "a.pth", arrays(graph))
    data = bytearray((tmp_path / "a.pth").read_bytes())
    at = data.rindex(b"PK\x06\x07")  # the locator of the 64-bit directory's end: which disk, where, how many disks
    data[at + 16 : at + 20] = struct.pack("<I", 7)
    (tmp_path / "a.pth").write_bytes(data)
    assert "is damaged" in error(graph, "torchvision", tmp_path / "a.pth")


@pytest.mark.parametrize(("format", "name"), [("torchvision", "a.pth"), ("torchvision", "a.safetensors"),
                                              ("keras", "a.h5"), ("keras", "a.weights.h5")])  # fmt: skip
def test_a_folder_that_is_not_there_is_named(format: str, name: str, graph: Graph, tmp_path: Path) -> None:
    if name.endswith(".pth"):
        pytest.importorskip("torch")
    path = tmp_path / "nowhere" / name
    with pytest.raises(cnnspec.SpecError) as raised:
        write_foreign(graph, format, path, arrays(graph))
    assert raised.value.diagnostics[0].message == f"`{path}` cannot be written: No such file or directory"
