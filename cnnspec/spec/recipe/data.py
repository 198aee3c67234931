"""Where the images come from, and which of them are held out.

Every kind of data has images to train on, and may have images to validate on and to test on; a test image is
never seen while training. Classes are whole numbers from 0. Where the data name classes (folders, a
manifest), their order is that of the spec's `labels`, or else alphabetical. Paths are relative to the folder
in which training runs. Files that cannot be read as images are named and left out.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from cnnspec.ops.fields import Count
from cnnspec.spec.recipe.fields import HeldOut, Seed
from cnnspec.spec.tagged import OneOf, Section, Strict, Tagged, problems

Path = Annotated[str, Field(min_length=1, description="A path.")]


class _Data(Tagged):
    """`fit` says what becomes of an image of another size than the input's, after the spec's `preprocess`.

    `stretch` resizes it to the input's size, `crop` resizes its shorter side and cuts the centre out, `pad`
    puts black around it and refuses one that is larger, `exact` refuses every other size.

    `channels: convert` makes grey images of colours (0.299·R + 0.587·G + 0.114·B) and colours of grey ones
    (three times the same) where the input asks for it, and puts what is transparent on white; `exact` refuses
    them.
    """

    fit: Literal["stretch", "crop", "pad", "exact"] = "stretch"
    channels: Literal["convert", "exact"] = "convert"

    @property
    def validates(self) -> bool:
        """Whether the data say themselves which images to validate on."""
        return False


class _Published(_Data):
    """`folder` is where the files lie as they are published.

    Without it they are looked for in /usr/share/datasets and in the user's cache, and else downloaded there.
    """

    main = "folder"
    classes: ClassVar[int]

    folder: Path | None = None


class Sample(_Data):
    """The small set of images that comes with cnnspec."""

    kind = "sample"


class Mnist(_Published):
    """MNIST: 60,000 + 10,000 handwritten digits, 1×28×28, 10 classes, as four IDX files."""

    kind = "mnist"
    classes = 10


class FashionMnist(_Published):
    """Fashion-MNIST: 60,000 + 10,000 clothes, 1×28×28, 10 classes, as four IDX files."""

    kind = "fashion-mnist"
    classes = 10


class Cifar10(_Published):
    """CIFAR-10: 50,000 + 10,000 images, 3×32×32, 10 classes, in the binary or the Python version."""

    kind = "cifar10"
    classes = 10


class Cifar100(_Published):
    """CIFAR-100: 50,000 + 10,000 images, 3×32×32, 100 (fine) classes, in the binary or the Python version."""

    kind = "cifar100"
    classes = 100


class _Parts(_Data):
    """`train`, `validation` and `test` are the images of the three kinds."""

    main = "train"

    train: Path
    validation: Path | None = None
    test: Path | None = None

    @property
    def validates(self) -> bool:
        return self.validation is not None


class ImageFolder(_Parts):
    """Folders with one folder of images per class in them, which is called as the class."""

    kind = "image_folder"


class Csv(_Parts):
    """Manifests: CSV files with a header and one image per line.

    `image` is the column with the path of the image, relative to the manifest, `label` the one with its
    class: a name, or a whole number from 0 where all of them are.
    """

    kind = "csv"

    image: str = "image"
    label: str = "label"


class Idx(_Data):
    """A `folder` with four IDX files, plain or gzipped, called as MNIST's.

    These are train-images-idx3-ubyte, train-labels-idx1-ubyte, and the same with t10k for the test.
    """

    kind = "idx"
    main = "folder"

    folder: Path


class Npz(_Data):
    """A NumPy archive, `file`, with the arrays x_train and y_train.

    Other images, where there are any, are x_validation and x_test, with y_validation and y_test. Images are
    N×H×W or N×H×W×C, pixels 0–255; classes are whole numbers. `validation: true` says that the archive has
    images to validate on.
    """

    kind = "npz"
    main = "file"

    file: Path
    validation: bool = False

    @property
    def validates(self) -> bool:
        return self.validation


Data = Annotated[Sample | Mnist | FashionMnist | Cifar10 | Cifar100 | ImageFolder | Csv | Idx | Npz, OneOf()]


class Split(Section):
    """Which training images are held out to validate on, where the data have no others for that.

    `validation` is a fraction of the images, rounded to whole ones, or a number of images. `stratified` takes
    the same share of every class. The images are drawn with `seed`, not with the recipe's, so that other runs
    hold out the same ones.
    """

    main = "validation"

    validation: HeldOut
    stratified: bool = True
    seed: Seed = 0


class Fold(Strict):
    """`folds` parts of equal size, of which number `fold`, from 1, is held out: one run of a cross-validation.

    Every image is in one part, and the parts have equally many of each class, or one more. Images that the
    data have to validate on are dealt out with those to train on. The parts depend on `seed` alone, not on the
    recipe's, so that the runs for all of them validate on every image once. `cnnspec train --folds` makes these
    runs.
    """

    folds: Annotated[int, Field(ge=2, le=1000, description="A whole number of at least 2.")]
    fold: Count
    seed: Seed = 0


class _Held:
    """Marks `Split | Fold`: a fold where one of its keys is written."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_held)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        for section in (Split, Fold):
            section.model_rebuild()
        return {"anyOf": [handler(section.__pydantic_core_schema__) for section in (Split, Fold)]}


def _held(value: Any) -> Split | Fold:
    if isinstance(value, Split | Fold):
        return value
    if not isinstance(value, dict) or value.keys().isdisjoint(("folds", "fold")):
        return Split.model_validate(value)
    known = list(Fold.model_fields)
    if beside := [key for key in value if key not in known]:
        raise problems(
            [("unknown_option", (key,), {"name": key[:60], "owner": "folds", "known": known}) for key in beside]
        )
    return Fold.model_validate(value)


HeldOutImages = Annotated[Split | Fold, _Held()]
