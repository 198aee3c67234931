"""Canonical weight files: what is written is read again, by the format's own library too; what is wrong is said."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from located import check_form
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from small_nets import HEADS

import cnnspec
from cnnspec.diagnostics import Diagnostic
from cnnspec.weights.contract import contract
from cnnspec.weights.finite import warn_of_odd
from cnnspec.weights.mapping import as_weights

Load = Callable[..., cnnspec.Net]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.safetensors"


def mistakes(action: Callable[[], Any]) -> list[Diagnostic]:
    with pytest.raises(cnnspec.SpecError) as caught:
        action()
    check_form(caught.value.diagnostics)
    return caught.value.diagnostics


def mistake(net: cnnspec.Net, path: Path) -> tuple[str, str]:
    """The one mistake in a weight file."""
    (found,) = mistakes(lambda: net.load_weights(path))
    return found.slug, found.message.replace(f"{path.parent}/", "")


# ---- what is written is read


def test_round_trip(load: Load, path: Path) -> None:
    net = load()
    weights = net.weights(3)
    assert net.save_weights(path, weights) == []
    again = net.load_weights(path)
    assert (list(again), again.origin) == (list(weights), {"seed": "3"})
    for key in weights:
        assert again[key].tobytes() == weights[key].tobytes()
        assert again[key].shape == weights[key].shape == again.shapes[key]
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".yaml"] == [path.name]


def test_the_library_of_the_format_reads_it(load: Load, path: Path) -> None:
    net = load()
    net.save_weights(path, net.weights(3))
    arrays = load_file(path)
    assert arrays.keys() == net.weights().keys()
    for key, array in net.weights(3).items():
        np.testing.assert_array_equal(arrays[key], array, strict=True)
    with safe_open(path, "np") as file:
        assert file.metadata() == {"cnnspec": "1", "spec": "small", "seed": "3"}


def test_files_of_the_library_are_read(load: Load, path: Path) -> None:
    net = load()
    arrays = dict(net.weights(3))
    save_file(arrays, path)
    again = net.load_weights(path)
    assert list(again) == list(contract(net.graph)), "in the graph's order, not in the file's"
    for key, array in arrays.items():
        np.testing.assert_array_equal(again[key], array, strict=True)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_floats_become_float32(load: Load, path: Path, dtype: str) -> None:
    net = load()
    weights = net.weights(3)
    if dtype == "bfloat16":  # cut to the upper half of a float32, which NumPy has no type for
        expected = {key: (array.view("<u4") & 0xFFFF0000).view("<f4") for key, array in weights.items()}
        stored = {key: (array.view("<u4") >> 16).astype("<u2") for key, array in weights.items()}
    else:
        stored = {key: array.astype(dtype) for key, array in weights.items()}
        expected = {key: array.astype("float32") for key, array in stored.items()}
    path.write_bytes(raw(stored, {"float16": "F16", "float64": "F64", "bfloat16": "BF16"}[dtype]))
    again = net.load_weights(path)
    for key in weights:
        np.testing.assert_array_equal(again[key], expected[key], strict=True)


def raw(arrays: dict[str, Any], dtype: str = "F32", **header: Any) -> bytes:
    """A file with these arrays, and with other entries of the header."""
    entries, data = {}, b""
    for key, array in arrays.items():
        end = len(data) + array.nbytes
        entries[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(entries | header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_heads_for_training(load: Load, path: Path) -> None:
    net = load(HEADS)
    weights = net.weights(3)
    assert list(weights)[-2:] == ["aux.fc.weight", "aux.fc.bias"]
    assert list(contract(net.graph, training=False)) == list(weights)[:-2]
    net.save_weights(path, weights)
    assert list(net.load_weights(path)) == list(weights)

    inference = {key: array for key, array in weights.items() if not key.startswith("aux")}
    net.save_weights(path, inference)
    assert list(net.load_weights(path)) == list(inference)
    (found,) = mistakes(lambda: net.load_weights(path, training=True))
    assert found.slug == "missing-weights"
    assert "lacks 2 of the 16 parameters of small: `aux.fc.weight`, `aux.fc.bias`" in found.message

    save_file(inference | {"aux.fc.bias": weights["aux.fc.bias"]}, path)
    assert mistake(net, path)[1] == "`w.safetensors` lacks 1 of the 16 parameters of small: `aux.fc.weight`"


def test_neither_way_holds_all_arrays(tmp_path: Path, path: Path) -> None:
    """24 layers of 1 MB: memory stays near one of them."""
    spec = tmp_path / "deep.yaml"
    spec.write_text(
        "cnnspec: 1\nname: deep\ninput: {channels: 512, size: 1}\nlayers:\n  - flatten\n"
        + "".join(f"  - {{dense: 512, name: fc{i}}}\n" for i in range(24))
    )
    net = cnnspec.load(spec)
    weights = net.weights()
    tracemalloc.start()
    try:
        net.save_weights(path, weights)
        again = net.load_weights(path)
        total = sum(float(array.sum()) for array in again.values())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 24 << 20
    assert total
    assert peak < 6 << 20


def test_a_file_can_take_its_own_place(load: Load, path: Path) -> None:
    net = load()
    net.save_weights(path, net.weights(3))
    before = path.read_bytes()
    weights = net.load_weights(path)
    net.save_weights(path, weights)
    assert path.read_bytes() == before
    assert weights["fc.weight"].tobytes() == net.weights(3)["fc.weight"].tobytes(), "the old file can still be read"


# ---- what does not fit


def changed(load: Load, path: Path, **changes: Any) -> cnnspec.Net:
    """A file with some arrays replaced, added, or left out where None."""
    net = load()
    arrays = dict(net.weights(3)) | {key.replace("__", "."): array for key, array in changes.items()}
    save_file({key: array for key, array in arrays.items() if array is not None}, path)
    return net


def test_missing(load: Load, path: Path) -> None:
    net = changed(load, path, fc__weight=None, fc__bias=None)
    assert mistake(net, path) == (
        "missing-weights",
        "`w.safetensors` lacks 2 of the 14 parameters of small: `fc.weight`, `fc.bias`",
    )


def test_left_over(load: Load, path: Path) -> None:
    net = changed(load, path, fc__scale=np.zeros(3, np.float32))
    assert mistake(net, path) == ("left-over-weights", "`w.safetensors` has 1 parameter that small has not: `fc.scale`")


def test_another_shape(load: Load, path: Path) -> None:
    """Both sides are named, and the line of the layer."""
    net = changed(load, path, fc__weight=np.zeros((5, 8), np.float32), fc__bias=np.zeros((5,), np.float32))
    (found,) = mistakes(lambda: net.load_weights(path))
    assert (found.slug, found.message.replace(f"{path.parent}/", "")) == (
        "weight-shape",
        "`w.safetensors` has 2 parameters of another shape than small: "
        "`fc.weight` is 5×8, in the network 3×8, `fc.bias` is 5, in the network 3",
    )
    (label,) = found.related
    assert (label.span.text, label.span.line, label.text) == ("dense", 10, "needs 3×8 for `fc.weight`")


def test_a_transposed_square_is_not_seen_but_a_flat_one_is(load: Load, path: Path) -> None:
    net = changed(load, path, spread__conv__weight=np.zeros((12, 9), np.float32))
    assert mistake(net, path)[1].endswith("`spread.conv.weight` is 12×9, in the network 12×1×3×3")


def test_everything_at_once(load: Load, path: Path) -> None:
    net = changed(load, path, fc__weight=None, fc__scale=np.zeros(3, np.float32), fc__bias=np.zeros((), np.float32))
    found = mistakes(lambda: net.load_weights(path))
    assert {d.slug for d in found} == {"missing-weights", "left-over-weights", "weight-shape"}
    assert "`fc.bias` is a number, in the network 3" in next(d.message for d in found if d.slug == "weight-shape")


def test_other_names_altogether(load: Load, path: Path) -> None:
    net = load()
    save_file({f"features.{i}.{'long' * 40}": np.zeros(1, np.float32) for i in range(50)}, path)
    missing, left_over = sorted(mistakes(lambda: net.load_weights(path)), key=lambda d: d.slug, reverse=True)
    assert "lacks 14 of the 14 parameters of small" in missing.message
    assert missing.message.endswith("`spread.ln.bias` and 4 more"), "a list ends after ten"
    assert "--from torchvision:FILE" in missing.help
    assert left_over.message.endswith(" more")
    assert len(left_over.message) < 500


def test_integers(load: Load, path: Path) -> None:
    net = changed(load, path, fc__bias=np.zeros(3, np.int64))
    assert mistake(net, path) == (
        "weight-type",
        "`w.safetensors` holds I64 where floats of 16, 32 or 64 bits are needed: `fc.bias`",
    )


def test_a_newer_layout(load: Load, path: Path) -> None:
    net = load()
    save_file(dict(net.weights()), path, {"cnnspec": "2"})
    assert mistake(net, path) == (
        "bad-weight-file",
        "`w.safetensors` has the layout 2 of weights, this cnnspec reads 1",
    )


def test_what_is_written_must_fit_too(load: Load, path: Path) -> None:
    net = load()
    arrays: dict[str, Any] = dict(net.weights())
    (found,) = mistakes(lambda: net.save_weights(path, arrays | {"fc.bias": [1.0, 2.0]}))
    assert found.slug == "weight-shape"
    del arrays["fc.bias"]
    (found,) = mistakes(lambda: net.save_weights(path, arrays))
    assert found.slug == "missing-weights"
    assert "what is to be written to" in found.message
    assert not path.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_written_with_a_warning(load: Load, path: Path, value: float) -> None:
    net = load()
    bias = np.array([0.0, value, 1.0])
    (warning,) = net.save_weights(path, dict(net.weights()) | {"fc.bias": bias})
    assert (warning.slug, warning.severity) == ("not-finite", "warning")
    assert warning.message.endswith("holds infinities or NaN in 1 parameter: `fc.bias`")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(net.load_weights(path)["fc.bias"], bias.astype(np.float32))


def test_weights_that_are_not_finite_are_said_to_be_so_once() -> None:
    weights = as_weights({"fc.bias": np.array([1.0, np.inf], np.float32)})
    warn_of_odd(weights)
    warn_of_odd(weights)
    (warning,) = weights.warnings
    assert (warning.slug, warning.severity) == ("not-finite", "warning")


# ---- what is no such file

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def framed(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def of(data: int = 8, **entries: Any) -> bytes:
    return framed(json.dumps(entries).encode(), bytes(data))


CORRUPT = {
    "empty": b"",
    "shorter than its length": b"\x10\0\0",
    "an archive": b"PK\x03\x04" + bytes(500),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "text": b"cnnspec: 1\nname: small\n" * 9,
    "a header of 10 GB": framed(b"{}", length=10 << 30),
    "a header beyond 64 bits": framed(b"{}", length=(1 << 64) - 1),
    "a header longer than the file": framed(b"{}", length=3),
    "no header": framed(b""),
    "no JSON": framed(b'{"w": '),
    "no text": framed(b'{"\xff": 1}'),
    "nested deeply": framed(b"[" * 200_000),
    "digits": framed(b'{"w": ' + b"1" * 10_000 + b"}"),
    "a list": framed(b"[1, 2]"),
    "metadata that are no mapping": of(0, __metadata__=[]),
    "metadata that are no text": of(0, __metadata__={"seed": 1}),
    "a key twice": framed(b'{"w": 1, "w": 1}'),
    "an entry that is none": of(w=1),
    "an entry without a shape": of(w={"dtype": "F32", "data_offsets": [0, 8]}),
    "an unknown type": of(w=ENTRY | {"dtype": "F33"}),
    "a shape below 0": of(w=ENTRY | {"shape": [-2, -1]}),
    "a shape that is no number": of(w=ENTRY | {"shape": [2.0]}),
    "true": of(4, w=ENTRY | {"shape": [True], "data_offsets": [0, 4]}),
    "too many axes": of(w=ENTRY | {"shape": [2] + [1] * 99}),
    "a huge shape": of(w=ENTRY | {"shape": [1 << 62, 1 << 62]}),
    "a place of another size": of(12, w=ENTRY | {"data_offsets": [0, 12]}),
    "a place before the start": of(w=ENTRY | {"data_offsets": [-8, 0]}),
    "cut short": of(7, w=ENTRY),
    "too long": of(9, w=ENTRY),
    "a gap": of(16, w=ENTRY | {"data_offsets": [8, 16]}),
    "an overlap": of(8, v=ENTRY, w=ENTRY),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_files(load: Load, path: Path, name: str) -> None:
    path.write_bytes(CORRUPT[name])
    slug, message = mistake(load(), path)
    assert slug == "bad-weight-file"
    assert message.startswith("`w.safetensors` is not a whole safetensors file: ")


@pytest.mark.parametrize("name", sorted(CORRUPT.keys() - {"a key twice", "true", "too many axes"}))
def test_the_library_of_the_format_refuses_them_too(path: Path, name: str) -> None:
    path.write_bytes(CORRUPT[name])
    with pytest.raises(Exception, match="deserializing header"), safe_open(path, "np") as file:
        file.keys()


def test_every_byte_counts(load: Load, path: Path) -> None:
    net = load()
    net.save_weights(path, net.weights())
    whole = path.read_bytes()
    for length in [*range(0, 64), *range(64, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert mistake(net, path)[0] == "bad-weight-file"


def test_no_file(load: Load, path: Path) -> None:
    net = load()
    assert mistake(net, path) == ("no-file", "`w.safetensors` does not exist")
    path.mkdir()
    assert mistake(net, path) == ("no-file", "`w.safetensors` is not a file")
    path.rmdir()
    os.mkfifo(path)
    assert mistake(net, path) == ("no-file", "`w.safetensors` is not a file")
    for name in ("\0", "x" * 5000):
        (found,) = mistakes(lambda name=name: net.load_weights(path.with_name(name)))
        assert found.slug in ("no-file", "unreadable-file")


def test_an_unreadable_file(load: Load, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(CORRUPT["text"])
    opened = Path.open

    def refuse(self: Path, *args: Any, **options: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **options)

    net = load()
    monkeypatch.setattr(Path, "open", refuse)
    assert mistake(net, path) == ("unreadable-file", "`w.safetensors` cannot be read: Permission denied")


def test_a_failure_leaves_nothing(load: Load, path: Path) -> None:
    net = load()
    net.save_weights(path, net.weights(1))
    before = path.read_bytes()

    class Failing(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            if key == "fc.bias":
                raise OSError(28, "No space left on device")
            return super().__getitem__(key)

    with pytest.raises(OSError, match="No space left on device"):
        net.save_weights(path, Failing(net.weights(2)))
    assert path.read_bytes() == before
    assert {p.name for p in path.parent.iterdir()} == {"small.yaml", path.name}
