"""Images in files: folders and manifests, what is broken, and what evaluation and prediction read alike."""

import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from data_files import data_module, numbers
from PIL import Image

from cnnspec.backends.onnx.images import BadImage, preprocessed, read_image
from cnnspec.spec.sections import PreprocessSection
from cnnspec.train.snippets.files import decode, image_files, look
from cnnspec.train.snippets.folders import folder_classes, folder_part
from cnnspec.train.snippets.manifest import manifest_classes, manifest_part
from cnnspec.train.snippets.names import name_classes
from cnnspec.train.snippets.parts import DataError


def write_image(path, height=6, width=5, seed=0, mode="RGB", **options):
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,), "CMYK": (4,)}[mode]
    Image.fromarray(numbers(seed, height, width, *bands), mode).save(path, **options)
    return path


def write_folders(root, counts, **options):
    """Folders of classes with so many images each."""
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            write_image(root / name / f"{i}.png", seed=10 * label + i, **options)


# --- which files, and which classes


def test_folders(tmp_path):
    write_folders(tmp_path, {"dog": 2, "cat": 1, "emu": 1})
    write_image(tmp_path / "cat" / "more" / "x.JPG")
    write_image(tmp_path / ".hidden" / "x.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "list.csv").write_text("no folder")
    assert folder_classes(tmp_path) == ["cat", "dog", "emu"]
    part = folder_part(tmp_path, ["emu", "dog", "cat"], 3, True)
    names = [name.removeprefix(str(tmp_path)) for name in part.files]
    assert names == ["/cat/0.png", "/cat/more/x.JPG", "/dog/0.png", "/dog/1.png", "/emu/0.png"]
    assert part.labels.tolist() == [2, 2, 1, 1, 0]
    images, found = part.read(np.array([3, 0]), replace=False)
    np.testing.assert_array_equal(images[0], numbers(1, 6, 5, 3))
    np.testing.assert_array_equal(images[1], numbers(10, 6, 5, 3))
    assert found.tolist() == [3, 0]


def test_a_class_without_images_is_said_so(tmp_path, capsys):
    write_folders(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "__MACOSX").mkdir()
    assert len(folder_part(tmp_path, folder_classes(tmp_path), 3, True)) == 2
    assert capsys.readouterr().err == f"warning: {tmp_path}/__MACOSX has no images\n"


def test_a_folder_that_no_output_is_for(tmp_path):
    write_folders(tmp_path, {"cat": 1, "yak": 1})
    with pytest.raises(DataError, match=r"/yak: the network has no output for the class yak, only for cat, dog"):
        folder_part(tmp_path, ["cat", "dog"], 3, True)


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        folder_classes(tmp_path / "none")
    with pytest.raises(DataError, match="has no folders with images in them"):
        folder_part(tmp_path, ["cat"], 3, True)


def test_manifest(tmp_path):
    for i in range(3):
        write_image(tmp_path / "images" / f"{i}.png", seed=i)
    file = tmp_path / "train.csv"
    file.write_text('\ufeffkind,file,note\ncat,images/2.png,"a, b"\ndog,images/0.png,\ncat,images/1.png,\n', "utf-8")
    assert manifest_classes(file, "file", "kind") == ["cat", "dog"]
    part = manifest_part(file, "file", "kind", ["dog", "cat"], 3, True)
    assert part.labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(part.read(np.array([0]), replace=False)[0][0], numbers(2, 6, 5, 3))


def test_numbers_are_classes_and_not_names(tmp_path):
    write_image(tmp_path / "0.png")
    file = tmp_path / "train.csv"
    file.write_text("image,label\n0.png,10\n0.png,2\n")
    assert manifest_classes(file, "image", "label") == []
    part = manifest_part(file, "image", "label", [f"class {i}" for i in range(11)], 3, True)
    assert part.labels.tolist() == [10, 2]


def test_names_that_look_like_numbers_are_names(tmp_path):
    write_image(tmp_path / "0.png")
    file = tmp_path / "train.csv"
    file.write_text("image,label\n0.png,3\n0.png,1\n")
    part = manifest_part(file, "image", "label", ["1", "2", "3"], 3, True)
    assert part.labels.tolist() == [2, 0]
    assert manifest_part(file, "image", "label", ["3", "1", "3"], 3, True).labels.tolist() == [0, 1]  # the first of two


def test_folders_called_by_numbers(tmp_path, capsys):
    """Outputs beyond them have names of their own, and take no folder."""
    write_folders(tmp_path / "train", {"1": 1, "2": 1, "3": 1})
    write_folders(tmp_path / "test", {"7": 1})
    classes = name_classes(folder_classes(tmp_path / "train"), [str(i) for i in range(10)], "train")
    assert len(set(classes)) == 10
    assert folder_part(tmp_path / "train", classes, 3, True).labels.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="no output for the class 7, only for 1, 2, 3, output 3"):
        folder_part(tmp_path / "test", classes, 3, True)


WRONG_MANIFESTS = {
    "": "has no column image: it is empty",
    "picture,label\na,b\n": "has no column image: picture, label",
    "image,class\na,b\n": "has no column label: image, class",
    "image,label\n": "lists no images",
    "image,label\na.png\n": r"train\.csv:2: a line needs a path and a class",
    "image,label\na.png,cat\n,cat\n": r"train\.csv:3: a line needs a path and a class",
    "image,label\na.png,yak\n": "a.png: the network has no output for the class yak, only for cat, dog",
    "image,label\na.png,2\n": "no output for the class 2",
}


@pytest.mark.parametrize("content", WRONG_MANIFESTS)
def test_wrong_manifest(tmp_path, content):
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(DataError, match=WRONG_MANIFESTS[content]):
        manifest_part(tmp_path / "train.csv", "image", "label", ["cat", "dog"], 3, True)


def test_no_manifest(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        manifest_classes(tmp_path / "train.csv", "image", "label")
    (tmp_path / "train.csv").write_bytes(b"image,label\n\xff\xfe,cat\n")
    with pytest.raises(DataError, match="is not in UTF-8"):
        manifest_classes(tmp_path / "train.csv", "image", "label")


def test_names_of_classes(capsys):
    assert name_classes([], ["0", "1"], "a") == ["0", "1"]
    assert name_classes(["cat", "dog"], ["0", "1"], "a") == ["cat", "dog"]
    assert capsys.readouterr().err == ""
    assert name_classes(["cat", "dog"], ["0", "1", "2"], "a") == ["cat", "dog", "output 2"]
    assert capsys.readouterr().err == "warning: a: 2 classes for 3 outputs of the network\n"
    with pytest.raises(DataError, match="3 classes, and the network has 2 outputs: none for emu"):
        name_classes(["cat", "dog", "emu"], ["0", "1"], "a")


# --- what a file holds


def photographs():
    from skimage import data

    return {"astronaut": data.astronaut(), "coffee": data.coffee()[:, 30:], "camera": data.camera()}


def variants(folder):
    """Real photographs, and each way in which a file may hold pixels."""
    for name, image in photographs().items():
        picture = Image.fromarray(image)
        picture.save(folder / f"{name}.jpg", quality=92)
        picture.save(folder / f"{name}.png")
        picture.convert("P").save(folder / f"{name}-palette.png")
        picture.convert("1").save(folder / f"{name}-bits.png")
        picture.convert("LA").save(folder / f"{name}-la.png")
        picture.save(folder / f"{name}.bmp")
        picture.save(folder / f"{name}.webp", lossless=True)
        picture.convert("RGB").convert("CMYK").save(folder / f"{name}-cmyk.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(folder / f"{name}-lying.jpg", exif=exif)
    alpha = Image.fromarray(photographs()["astronaut"]).convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(alpha.size))
    alpha.save(folder / "alpha.png")
    Image.fromarray(photographs()["camera"].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(photographs()["camera"].astype(np.int32)).save(folder / "wide.tif")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_read_as_for_prediction(tmp_path, channels):
    files = variants(tmp_path)
    assert len(files) == 30
    for file in files:
        image = decode(str(file), channels)
        expected = np.asarray(read_image(file, channels))
        np.testing.assert_array_equal(image, expected.reshape(*expected.shape[:2], channels), err_msg=file.name)
        header = look(str(file))
        assert header[:2] == image.shape[:2], file.name


def test_channels_of_files(tmp_path):
    for file in variants(tmp_path):
        _, _, channels = look(str(file))
        name = file.stem.partition("-")
        grey = name[0] in ("camera", "deep", "wide") and file.suffix != ".webp"  # which is never grey
        expected = 1 if grey else 3
        expected = {"bits": 1, "la": 2, "cmyk": 4, "palette": 3}.get(name[2], expected)
        assert channels == (4 if file.stem == "alpha" else expected), file.name


SECTIONS = {
    "nothing": {},
    "shorter side": {"resize": [100, 100], "crop": [96, 80]},
    "exact": {"resize": [90, 120], "resize_to": "exact", "interpolation": "bicubic", "crop": [81, 80]},
    "bgr": {"resize": [120, 110], "channel_order": "bgr", "mean": [103.9, 116.8, 123.7], "interpolation": "lanczos"},
    "imagenet": {
        "resize": [128, 128],
        "crop": [112, 112],
        "scale": "1/255",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "nearest": {"resize": [64, 64], "crop": [64, 64], "interpolation": "nearest", "scale": "1/127.5", "mean": 1.0},
}


@pytest.mark.parametrize("name", SECTIONS)
def test_evaluation_sees_what_prediction_sees(tmp_path, name):
    for label in ("cat", "dog"):
        folder = tmp_path / "train" / label
        folder.mkdir(parents=True)
    for photograph, image in photographs().items():
        image = image[:400, :300] if name == "nothing" else image
        Image.fromarray(image).save(tmp_path / "train" / "cat" / f"{photograph}.png")
    write_image(tmp_path / "train" / "dog" / "grey.jpg", 400, 300, mode="L")
    options = SECTIONS[name]
    section = PreprocessSection(**options)
    size = section.crop or section.resize or (400, 300)
    train = {"data": {"image_folder": str(tmp_path / "train")}}
    sections = {"preprocess": options} if options else {}
    data = data_module(train, tmp_path, 3, list(size), **sections)
    part = data.load_data().train
    pytest.importorskip("grain")
    ((images, labels),) = data.batches(part, 10)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert labels.tolist() == [0, 0, 0, 1]
    for image, file in zip(images, part.files, strict=True):
        expected = preprocessed(read_image(Path(file), 3), section if options else None, size)[0].transpose(1, 2, 0)
        # Rounding alone: here pixels are scaled in float32, there in float64.
        np.testing.assert_allclose(image, expected, rtol=1e-6, atol=2e-6 * np.abs(expected).max())


# --- what is broken


def png_with_wrong_checksum():
    """A file that ends as it should, and is broken in its middle."""
    content = BytesIO()
    Image.fromarray(numbers(0, 40, 40, 3)).save(content, "PNG")
    data = bytearray(content.getvalue())
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def bomb():
    """A PNG whose header alone says that it is 60000×60000."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    made = b"\x89PNG\r\n\x1a\n"
    for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(bytes(9)), b"IEND"):
        made += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return made


def broken_files(folder):
    """Files that are found broken before training."""
    write_image(folder / "whole.jpg", 64, 64)
    write_image(folder / "whole.png", 64, 64)
    (folder / "a-cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-300])
    (folder / "b-cut.png").write_bytes((folder / "whole.png").read_bytes()[:-300])
    (folder / "c-empty.png").write_bytes(b"")
    (folder / "d-text.jpg").write_text("hello")
    (folder / "e-bomb.png").write_bytes(bomb())
    (folder / "f-none.png").symlink_to(folder / "nowhere")
    (folder / "g-folder.png").mkdir()
    Image.fromarray(np.ones((4, 4), np.float32)).save(folder / "h-fractions.tif")
    return [str(path) for path in sorted(folder.iterdir())]


def test_broken_files_are_named_counted_and_left_out(tmp_path, capsys):
    files = broken_files(tmp_path)
    part = image_files(files, list(range(len(files))), 3, True)
    assert [name.rpartition("/")[2] for name in part.files] == ["whole.jpg", "whole.png"]
    assert part.labels.tolist() == [8, 9]
    *named, last = capsys.readouterr().err.splitlines()
    assert last == "warning: 8 of 10 images cannot be read: left out"
    assert [line.removeprefix("warning: ").partition(": ")[0] for line in named] == files[:8]
    reasons = "truncated", "", "no image", "no image", "decompression bomb", "No such file", "not a file", "fractions"
    for line, reason in zip(named, reasons, strict=True):
        assert reason in line
        assert line.endswith("; left out")
        file = line.removeprefix("warning: ").partition(": ")[0]
        with pytest.raises(BadImage):
            read_image(tmp_path / file, 3)


def test_all_broken(tmp_path):
    files = broken_files(tmp_path)[:8]
    with pytest.raises(DataError, match="none of 8 images can be read"):
        image_files(files, [0] * 8, 3, True)


def test_a_jpeg_without_its_last_bytes_that_decodes_is_kept(tmp_path, capsys):
    write_image(tmp_path / "a.jpg", 64, 64)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content + bytes(200))  # as some cameras write them
    part = image_files([str(tmp_path / "a.jpg")], [0], 3, True)
    assert (len(part), capsys.readouterr().err) == (1, "")


def part_with_hidden_damage(folder):
    """Six images, of which numbers 2 and 3 break only when they are decoded."""
    files = []
    for i in range(6):
        path = folder / f"{i}.png"
        if i in (2, 3):
            path.write_bytes(png_with_wrong_checksum())
        else:
            write_image(path, 40, 40, seed=i)
        files.append(str(path))
    return image_files(files, list(range(6)), 3, True)


def test_what_breaks_when_it_is_decoded_is_replaced_in_training(tmp_path, capsys):
    part = part_with_hidden_damage(tmp_path)
    assert len(part) == 6
    for _ in range(2):
        images, found = part.read(np.array([3, 0, 2, 5]), replace=True)
        assert found.tolist() == [4, 0, 4, 5]
        np.testing.assert_array_equal(images[0], numbers(4, 40, 40, 3))
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(".png: ")[0].rpartition("/")[2] for line in told] == ["3", "2"]
    assert told[1].endswith("left out, as 2 of 6 files")


def test_what_breaks_when_it_is_decoded_is_left_out_of_evaluation(tmp_path):
    part = part_with_hidden_damage(tmp_path)
    images, found = part.read(np.array([1, 2, 3, 5]), replace=False)
    assert (found.tolist(), len(images)) == ([1, 5], 2)


def test_the_last_image_is_replaced_by_the_first(tmp_path):
    (tmp_path / "b.png").write_bytes(png_with_wrong_checksum())
    files = [str(write_image(tmp_path / "a.png")), str(tmp_path / "b.png")]
    part = image_files(files, [7, 8], 3, True)
    assert part.read(np.array([1]), replace=True)[1].tolist() == [0]
    files = [files[1]] * 2
    with pytest.raises(DataError, match="no image can be read any more"):
        image_files(files, [7, 8], 3, True).read(np.array([1]), replace=True)


@pytest.mark.parametrize(("mode", "channels", "given"), [("L", 3, 1), ("RGB", 1, 3), ("RGBA", 3, 4), ("LA", 1, 2)])
def test_exact_channels(tmp_path, mode, channels, given):
    file = str(write_image(tmp_path / "a.png", mode=mode))
    assert len(image_files([file], [0], channels, True)) == 1
    with pytest.raises(DataError, match=rf"a\.png: an image of {given} channels, and the network takes {channels}"):
        image_files([file], [0], channels, False)


def test_channels_that_no_file_has(tmp_path):
    with pytest.raises(DataError, match="takes images of 4 channels, which no image file has"):
        image_files([], [], 4, True)


def test_files_are_not_held_in_memory(tmp_path):
    side = 1000  # an image takes 3 MB
    file = tmp_path / "a.jpg"
    Image.new("RGB", (side, side)).save(file)
    part = image_files([str(file)] * 200, [0] * 200, 3, True)
    tracemalloc.start()
    for first in range(0, 200, 4):
        part.read(np.arange(first, first + 4), replace=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 3 * side * side  # of 200 images
