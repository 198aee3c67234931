"""Augmentation: random changes of the images that are trained on, never of those that are evaluated.

Pixels are 0–255 here, in the order of the steps; what a step makes is clipped to that range. Every image
draws its own numbers, in every epoch anew. `preprocess` scales and normalises afterwards.

A step that crops to the network's input (`random_crop`, `random_resized_crop`) comes first and starts from
the image as it is decoded, in place of the `resize` and `crop` of `preprocess` and of `fit`. Without one, the
steps start from the image of the input's size, as evaluation sees it. All other steps keep the size.
"""

from typing import Annotated, Literal

from pydantic import Field

from cnnspec.ops.fields import Count, Positive
from cnnspec.spec.recipe.fields import Factor, Fill, Offsets, Pixels, Probability, Ratios, Shares, Strength
from cnnspec.spec.tagged import OneOf, Tagged

Degrees = Annotated[float, Field(gt=0, le=180, description="An angle above 0, up to 180 degrees.")]


class _Step(Tagged):
    """`probability` is that of an image being changed at all. What is drawn from a range is drawn evenly."""

    probability: Probability = 1.0


class _Warp(_Step):
    """`fill` is what comes in from outside of the image.

    That is a pixel value, or `edge` (the pixel at the border, again) or `reflect` (mirrored at the border
    pixel). `interpolation` is for positions between pixels; between the border and the outside, too.
    """

    fill: Fill = 0.0
    interpolation: Literal["bilinear", "nearest"] = "bilinear"


class RandomCrop(Tagged):
    """Resizes the shorter side to `shorter_side` pixels, then cuts out a piece of the input's size, anywhere.

    Of [lowest, highest], every image draws a whole number. `square` cuts the centre square out before the
    piece. Resizing here and in `random_resized_crop` is that of `preprocess`.
    """

    kind = "random_crop"
    main = "shorter_side"

    shorter_side: Pixels
    square: bool = False


class RandomResizedCrop(Tagged):
    """Cuts a piece out and resizes it to the input's size.

    The piece has a share of the image's `area` and a `ratio` of width to height. The area is drawn evenly,
    the ratio evenly on a logarithmic scale, the place evenly. After ten pieces that do not fit into the image
    it is the largest one at the centre whose ratio is within bounds.
    """

    kind = "random_resized_crop"
    main = "area"

    area: Shares = (0.08, 1.0)
    ratio: Ratios = (3 / 4, 4 / 3)


class PadAndCrop(_Step):
    """Pads `padding` pixels of `fill` on every side, then cuts out a piece of the old size, anywhere."""

    kind = "pad_and_crop"
    main = "padding"

    padding: Count
    fill: Fill = 0.0


class Flip(_Step):
    """Mirrors: the `direction` `horizontal` swaps left and right, `vertical` top and bottom."""

    kind = "flip"
    main = "direction"

    direction: Literal["horizontal", "vertical"] = "horizontal"
    probability: Probability = 0.5


class Shift(_Warp):
    """Moves by up to `by` of the height and of the width, either way: `[0.1, 0]` moves up and down only."""

    kind = "shift"
    main = "by"

    by: Offsets


class Rotate(_Warp):
    """Turns about the centre by an angle between −`degrees` and `degrees`."""

    kind = "rotate"
    main = "degrees"

    degrees: Degrees


class Zoom(_Warp):
    """Magnifies about the centre by a `factor`, the same in height and width: above 1, things get larger."""

    kind = "zoom"
    main = "factor"

    factor: Factor


class Shear(_Warp):
    """Slants by an angle between −`degrees` and `degrees`: rows move sideways, the centre stays."""

    kind = "shear"
    main = "degrees"

    degrees: Annotated[float, Field(gt=0, lt=90, description="An angle above 0, below 90 degrees.")]


class Brightness(_Step):
    """Multiplies all pixels by a `factor`."""

    kind = "brightness"
    main = "factor"

    factor: Strength


class Contrast(_Step):
    """m + `factor`·(pixel − m), where m is the mean brightness, 0.299·R + 0.587·G + 0.114·B, of the image.

    Without colours, it is the mean of all numbers.
    """

    kind = "contrast"
    main = "factor"

    factor: Strength


class Saturation(_Step):
    """y + `factor`·(pixel − y), where y is the pixel's brightness, 0.299·R + 0.587·G + 0.114·B.

    For colours only.
    """

    kind = "saturation"
    main = "factor"

    factor: Strength


class Hue(_Step):
    """Turns the hue by between −`degrees` and `degrees` on the colour circle. For colours only."""

    kind = "hue"
    main = "degrees"

    degrees: Degrees


class Lighting(_Step):
    """Adds one colour to all pixels, drawn along the principal components of ImageNet's colours.

    The sum over the components of drawn number · eigenvalue · eigenvector; the numbers are normal with
    deviation `std`. Red, green and blue, on a scale of 0–1: eigenvalues 0.2175, 0.0188, 0.0045; eigenvectors
    (−0.5675, −0.5808, −0.5836), (0.7192, −0.0045, −0.6948), (0.4009, −0.8140, 0.4203). For colours only.
    """

    kind = "lighting"
    main = "std"

    std: Positive = 0.1


class Cutout(_Step):
    """Makes a square of `size` × `size` pixels 0 after normalisation, the mean of `preprocess`.

    Its centre is any pixel: part of the square may lie outside. It is made after all steps on pixels of 0–255.
    """

    kind = "cutout"
    main = "size"

    size: Count


class Mixup(Tagged):
    """Mixes the images of a batch, and their classes, with those of the same batch in another order.

    λ·image + (1 − λ)·other, and so for the one-hot classes; λ is drawn once for a batch, from Beta(`alpha`,
    `alpha`). It comes last. Training accuracy counts the class with the larger share.
    """

    kind = "mixup"
    main = "alpha"

    alpha: Positive


Augmentation = Annotated[
    RandomCrop
    | RandomResizedCrop
    | PadAndCrop
    | Flip
    | Shift
    | Rotate
    | Zoom
    | Shear
    | Brightness
    | Contrast
    | Saturation
    | Hue
    | Lighting
    | Cutout
    | Mixup,
    OneOf(),
]
