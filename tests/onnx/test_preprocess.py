"""Images as a network reads them: preprocessing by Pillow, the same inside the file, and every kind of image file."""

import io
import os

import numpy as np
import onnx
import onnxruntime
import pytest
from agreement import agree
from PIL import Image

import cnnspec
from cnnspec import SpecError
from cnnspec.backends.onnx.images import BadImage, pixels, preprocessed, read_image

IDENTITY = """\
cnnspec: 1
name: small
input: {{channels: {channels}, size: [24, 20]}}
preprocess: {preprocess}
layers: [{{scale: 1.0}}]
"""


def load(tmp_path, preprocess, channels=3):
    path = tmp_path / "small.yaml"
    path.write_text(IDENTITY.format(preprocess=preprocess, channels=channels))
    return cnnspec.load(path)


def photograph(height, width, seed=0):
    """Smooth shapes and some noise: neither flat nor random, as a resize meets it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / (5 + c)) * np.cos(y / (9 - c)) for c in range(3)]
    noisy = np.stack(waves, axis=-1) + random.normal(scale=20, size=(height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


SIZES = [(61, 83), (90, 57), (200, 150), (24, 20), (13, 16)]
RESIZES = [
    "{resize: 30, crop: [24, 20]}",
    "{resize: 25, crop: [24, 20], interpolation: bicubic}",
    "{resize: [24, 20]}",
    "{resize: [40, 31], resize_to: exact, crop: [24, 20]}",
]
NEAREST = "{resize: 27, crop: [24, 20], interpolation: nearest}"


@pytest.mark.parametrize(
    ("preprocess", "size"),
    [*((resize, size) for resize in RESIZES for size in SIZES), *((NEAREST, size) for size in SIZES[:2])],
)
def test_resizing_inside_the_file_is_pillow_s(preprocess, size, tmp_path):
    """Of `nearest`, sizes where no centre of a pixel falls between two others: these are anyone's choice."""
    net = load(tmp_path, preprocess)
    net.export(tmp_path / "m.onnx", {}, preprocess=True)
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    image = photograph(*size)
    (found,) = session.run(None, {"image": pixels(image)})
    expected = preprocessed(image, net.spec.preprocess, (24, 20))
    agree(found, expected, 1.0)  # grey levels
    assert np.abs(found - expected).mean() < 0.2


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_colours_are_scaled_channel_by_channel(order, tmp_path):
    section = f"{{channel_order: {order}, scale: 1/255, mean: [0.1, 0.2, 0.3], std: [0.5, 1, 2]}}"
    net = load(tmp_path, section)
    image = photograph(24, 20)
    x = np.asarray(image).astype(np.float64)[..., :: 1 if order == "rgb" else -1] / 255
    expected = ((x - [0.1, 0.2, 0.3]) / [0.5, 1, 2]).transpose(2, 0, 1)[None]
    agree(preprocessed(image, net.spec.preprocess, (24, 20)), expected, 1e-6)
    net.export(tmp_path / "m.onnx", {}, preprocess=True)
    (found,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"image": pixels(image)})
    agree(found, expected, 1e-6)


@pytest.mark.parametrize("size", [(61, 83), (90, 57), (47, 47)])
@pytest.mark.parametrize("crop", [(24, 20), (23, 21)])
def test_sizes_and_places_are_torchvision_s(size, crop, tmp_path):
    section = load(tmp_path, f"{{resize: 30, crop: {list(crop)}}}").spec.preprocess
    image = photograph(*size)
    height, width = (int(30 * n / min(size)) for n in size)  # as `_compute_resized_output_size` there
    top, left = round((height - crop[0]) / 2.0), round((width - crop[1]) / 2.0)  # as `center_crop` there
    expected = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    expected = expected[top : top + crop[0], left : left + crop[1]]
    agree(preprocessed(image, section, crop)[0], expected.transpose(2, 0, 1), 0)


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        ("null", "does not say how images become its input"),
        ("{resize: 30, interpolation: lanczos, crop: [24, 20]}", "ONNX has no `lanczos`"),
        ("{resize: 30, crop: 24}", "gives 24×24 pixels, and the network takes 24×20"),
        ("{resize: 22, crop: [24, 20]}", "`crop` takes 24×20 pixels"),
        ("{resize: 24}", "nothing cropped"),
        ("{resize: [20, 24]}", "gives 20×24 pixels"),
    ],
)
def test_what_cannot_be_in_the_file_is_refused(preprocess, message, tmp_path):
    with pytest.raises(SpecError) as error:
        load(tmp_path, preprocess).export(tmp_path / "m.onnx", {}, preprocess=True)
    (found,) = error.value.diagnostics
    assert found.slug == "no-preprocess"
    assert message in found.message
    assert not (tmp_path / "m.onnx").exists()


# ---- image files

RED, BLUE = (255, 0, 0), (0, 0, 255)


def two_pixels(mode="RGB", colours=(RED, BLUE)):
    """An image of 16 × 8 pixels, the left half of one colour and the right half of the other."""
    image = Image.new(mode, (16, 8), colours[0])
    image.paste(colours[1], (8, 0, 16, 8))
    return image


def halves(array):
    return array[4, 3].tolist(), array[4, 12].tolist()


def read_back(image, tmp_path, channels=3, **options):
    path = tmp_path / f"image.{options.pop('format', 'png')}"
    image.save(path, **options)
    return np.asarray(read_image(path, channels))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (two_pixels(), (RED, BLUE)),
        (two_pixels().quantize(4), (RED, BLUE)),
        (two_pixels("RGBA", ((255, 0, 0, 255), (0, 0, 255, 0))), (RED, (255, 255, 255))),
        (two_pixels("L", (10, 200)), ((10,) * 3, (200,) * 3)),
        (two_pixels("LA", ((10, 255), (200, 0))), ((10,) * 3, (255,) * 3)),
        (two_pixels("1", (0, 1)), ((0,) * 3, (255,) * 3)),
        (Image.fromarray(np.asarray(two_pixels("L", (10, 200))).astype(np.uint16) * 257), ((10,) * 3, (200,) * 3)),
    ],
    ids=["colour", "palette", "transparent", "grey", "grey and transparent", "black and white", "16 bits"],
)
def test_every_kind_of_pixel(image, expected, tmp_path):
    assert halves(read_back(image, tmp_path)) == tuple(map(list, expected))


def test_a_transparent_palette(tmp_path):
    image = two_pixels().quantize(4)
    found = halves(read_back(image, tmp_path, transparency=image.getpixel((12, 4))))
    assert found == ([255, 0, 0], [255, 255, 255])


def test_grey_networks_get_one_channel(tmp_path):
    found = read_back(two_pixels("RGB", ((255, 255, 255), (0, 0, 0))), tmp_path, channels=1)
    assert found.shape == (8, 16)
    assert halves(found) == (255, 0)
    net = load(tmp_path, "{resize: [24, 20]}", channels=1)
    assert preprocessed(two_pixels("L", (3, 9)), net.spec.preprocess, (24, 20)).shape == (1, 1, 24, 20)


def test_images_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top of the scene is at the right
    found = read_back(two_pixels(), tmp_path, format="jpg", exif=exif, quality=100, subsampling=0)
    assert found.shape == (16, 8, 3)
    assert found[3, 4, 0] > 240
    assert found[12, 4, 2] > 240


def truncated():
    data = io.BytesIO()
    photograph(60, 60).save(data, "jpeg")
    return data.getvalue()[:900]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "no image"), (b"GIF89a", "no image|unpack|read"), (b"words", "no image"), (truncated(), "truncated")],
)
def test_broken_files_are_bad_images(data, message, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(BadImage, match=message):
        read_image(path, 3)


def test_what_does_not_fit_is_a_bad_image(tmp_path):
    with pytest.raises(BadImage, match="8×16 pixels, and the network takes 24×20"):
        preprocessed(two_pixels(), None, (24, 20))
    with pytest.raises(BadImage, match="too few to crop"):
        preprocessed(two_pixels(), load(tmp_path, "{crop: [24, 20]}").spec.preprocess, (24, 20))
    with pytest.raises(BadImage, match="5 channels"):
        read_image(tmp_path / "any.png", 5)
    with pytest.raises(BadImage, match="No such file"):
        read_image(tmp_path / "any.png", 3)


def test_what_is_no_file_or_of_32_bits_is_a_bad_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadImage, match="not a file"):
        read_image(tmp_path / "pipe.png", 3)
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(BadImage, match="32 bits"):
        read_image(tmp_path / "deep.tif", 1)


def test_a_dark_image_of_16_bits_stays_dark(tmp_path):
    Image.fromarray(np.full((4, 4), 200, np.uint16)).save(tmp_path / "dark.png")
    assert np.asarray(read_image(tmp_path / "dark.png", 1)).max() == 0
