"""Prints `data.py`: where a recipe's images come from, and how batches are made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cnnspec.graph.recipe import few_values
from cnnspec.lower.files import render
from cnnspec.lower.python import Group, assigned, docstring, lines, literal
from cnnspec.ops import Maps, Vector
from cnnspec.spec.recipe.data import Fold
from cnnspec.spec.sections import PreprocessSection
from cnnspec.train.augment_lines import Text, augmentation
from cnnspec.train.collect import collect, merge_imports
from cnnspec.train.features import feature_cut
from cnnspec.train.fit_lines import fit_of, normalisation
from cnnspec.train.sources import source_of, string_pieces

if TYPE_CHECKING:
    from cnnspec.graph import Graph
    from cnnspec.spec.recipe.model import Recipe

_SNIPPETS = "cnnspec.train.snippets"


def data_source(graph: Graph, recipe: Recipe) -> str:
    """The text of `data.py` for a network and its recipe: the same for every framework."""
    shape, output = graph.input.shape, graph.outputs[0].node.shape
    assert isinstance(shape, Maps), "the input section says channels and size"
    assert isinstance(output, Vector), "what is trained on classes has one output for each"
    return _Printer(graph, recipe, shape, output.channels).text()


class _Printer:
    """Functions are printed first, and then what they turned out to use."""

    def __init__(self, graph: Graph, recipe: Recipe, shape: Maps, classes: int) -> None:
        self.recipe = recipe
        self.name = graph.name
        self.labels = graph.spec.labels
        self.shape = shape
        self.size = (shape.height, shape.width)
        self.classes = classes
        self.preprocess = graph.spec.preprocess or PreprocessSection()
        self.source = source_of(recipe.data, self.labels is not None, shape.channels)
        self.fit = fit_of(recipe.data, self.preprocess, self.size)
        self.normalisation = normalisation(self.preprocess)
        self.augmentation = augmentation(recipe, interpolation=self.preprocess.interpolation)
        self.is_plain = self.fit.keeps_size and self.source.shape == (*self.size, shape.channels)
        self.least = least_share(graph)
        self.caches = not isinstance(feature_cut(graph, recipe), str)
        self.wanted: set[str] = set()
        self.imports = {"import numpy as np", "from collections.abc import Iterator", "from pathlib import Path"}

    def use(self, *names: str) -> None:
        """Take snippets, MODULE:NAME, into the file."""
        self.wanted |= {f"{_SNIPPETS}.{name}" for name in names}

    def take(self, text: Text) -> Iterable[str]:
        """The lines of a text, with what it uses."""
        self.wanted |= set(text.snippets)
        return text.lines

    def text(self) -> str:
        """The whole file."""
        functions = [*self.load_data(), *self.fit_images(), *self.augment(), *self.prepare(), *self.batches()]
        functions += self.features()
        if any("Image." in function for function in functions):
            self.imports.add("from PIL import Image")
        found = collect(sorted(self.wanted))
        return render(
            "data.py.jinja",
            docstring=docstring(f"The data that {self.name} is trained on: {self.source.title}"),
            imports=merge_imports({*found.imports, *self.imports}),
            constants=[*self.constants(), *found.values],
            parts=[*found.definitions, *functions],
        )

    def constants(self) -> list[str]:
        """What the file says of the network and the recipe."""
        names = list(self.labels or self.source.classes)
        if len(names) == self.classes:
            listed = lines(
                assigned("CLASSES", Group("[", tuple("\n    ".join(string_pieces(name, 4)) for name in names), "]"))
            )
        else:
            listed = [f"CLASSES = [str(i) for i in range({self.classes})]"]
        unused = self.is_plain and not self.augmentation.crop
        size = [] if unused else [f"SIZE = ({self.size[0]}, {self.size[1]})  # height and width"]
        return [*listed, *size, *self.normalisation.constants, f"SEED = {self.recipe.seed}"]

    def load_data(self) -> list[str]:
        """The function that reads all parts, checks them and holds images out."""
        recipe, channels = self.recipe, self.shape.channels
        self.use(*self.source.snippets, "parts:Data", "checks:check_classes")
        body = [*self.source.lines, "check_classes(data, len(CLASSES))"]
        if self.is_plain:
            self.use("checks:require_shape")
            body.append(f"data = require_shape(data, {self.size[0]}, {self.size[1]}, {channels})")
        elif self.source.in_memory:
            name = f"{'convert' if recipe.data.channels == 'convert' else 'require'}_channels"
            self.use(f"checks:{name}")
            body.append(f"data = {name}(data, {channels})")
        if self.fit.can_fail and not self.is_plain:
            self.use("checks:check_sizes")
            parts = "[data.validation, data.test]" if self.augmentation.crop else "data"
            body.append(f"check_sizes({parts}, fit)")
        split = recipe.split
        if isinstance(split, Fold):
            if recipe.data.validates:
                join = "join_arrays" if self.source.in_memory else "join_files"
                self.use(f"folds:{join}")
                body.append(f"data = {join}(data)")
            self.use("folds:one_fold")
            body.append(f"data = one_fold(data, CLASSES, {split.folds}, {split.fold}, seed={split.seed})")
        elif split and not recipe.data.validates:
            self.use("split:hold_out")
            options = f"stratified={split.stratified}, seed={split.seed}"
            body.append(f"data = hold_out(data, {literal(split.validation)}, {options})")
        last = body.pop()
        body += ["return " + last.removeprefix("data = ")] if last.startswith("data = ") else [last, "return data"]
        return _function(
            "load_data(folder: Path | None = None) -> Data",
            f"Read {self.source.title}, from `folder` if it lies there.",
            body,
        )

    def fit_images(self) -> list[str]:
        """The function that gives an image the network's size."""
        if self.is_plain:
            return []
        self.use(*(f"resize:{name}" for name, _ in self.fit.steps))
        body = [f"image = {name}(image, {arguments})" for name, arguments in self.fit.steps]
        body[-1] = body[-1].replace("image = ", "return ", 1)
        return _function("fit(image: np.ndarray) -> np.ndarray", "Give an image the size that the network takes.", body)

    def augment(self) -> list[str]:
        """The functions that change images at random."""
        functions = []
        if self.augmentation.crop:
            self.use("draws:Draws")
            functions += [
                "def crop(image: np.ndarray, draw: Draws) -> np.ndarray:\n"
                '    """Cut a piece out of an image as it was decoded."""\n'
                + "\n".join(self.take(self.augmentation.crop))
            ]
        if self.augmentation.body:
            self.use("draws:Draws")
            functions += [
                "def augment(images: np.ndarray, draw: Draws) -> np.ndarray:\n"
                '    """Change images at random."""\n' + "\n".join(self.take(self.augmentation.body))
            ]
        if self.augmentation.mixup:
            self.use("draws:Draws", "batches:Batch")
            functions += [
                "def mix(images: np.ndarray, labels: np.ndarray, draw: Draws) -> Batch:\n"
                '    """Mix the images of a batch, and their classes."""\n'
                + "\n".join(self.take(self.augmentation.mixup))
            ]
        return functions

    def prepare(self) -> list[str]:
        """The function that makes a batch of what was read."""
        self.use("parts:Images", "draws:Draws")
        shape = f"(*SIZE, {self.shape.channels})"
        if self.is_plain:
            whole = "np.asarray(pixels)"
        elif self.fit.keeps_size and self.source.in_memory:
            self.use("resize:sized")
            whole = f"sized(pixels, {shape}, fit)"
        else:
            self.use("resize:stack")
            whole = f"stack([fit(image) for image in pixels], {shape})"
        if self.augmentation.crop:
            self.use("resize:stack")
            body = [
                "if draw is None:",
                f"    pixels = {whole}",
                "else:",
                "    pairs = zip(pixels, draw.each(), strict=True)",
                f"    pixels = stack([crop(*pair) for pair in pairs], {shape})",
                "images = pixels.astype(np.float32)",
            ]
        else:
            body = [f"images = {whole}.astype(np.float32)"]
        if self.augmentation.body:
            body += ["if draw is not None:", "    images = augment(images, draw)"]
        body += self.normalisation.body
        if self.augmentation.normalised:
            body += ["if draw is not None:", *self.take(self.augmentation.normalised)]
        return _function(
            "prepare(pixels: Images, draw: Draws | None) -> np.ndarray",
            "Make what the network takes of images; with `draw`, at random.",
            [*body, "return images"],
        )

    def batches(self) -> list[str]:
        """The function that gives batches."""
        self.use("parts:Part", "batches:Batch", "batches:Batches", "batches:load")
        options = "part, batch_size, epoch, rank, world, SEED, prepare"
        body = [f"source = Batches({options})"]
        if self.caches:
            self.use("features:Features", "features:as_they_are")
            body = ["make = as_they_are if isinstance(part, Features) else prepare", body[0].replace("prepare", "make")]
        if self.least:
            self.use("checks:check_last")
            body = ["if epoch is not None:", f"    check_last(len(part), batch_size, world, {self.least})", *body]
        if self.augmentation.mixup:
            self.use("batches:MixedBatches")
            body += ["if epoch is not None:", f"    source = MixedBatches({options}, mix)"]
        head = (
            "def batches(\n    part: Part,\n    batch_size: int,\n    *,\n    epoch: int | None = None,\n"
            "    start: int = 0,\n    rank: int = 0,\n    world: int = 1,\n) -> Iterator[Batch]:\n"
            '    """Give images (n, height, width, channels) and their classes, batch by batch.\n\n'
            "    They come in the order of the data, or of an `epoch`, from 0, changed at random.\n"
            "    `start` is the first batch. Process `rank` of `world` gets its share of each.\n"
            '    """\n'
        )
        return [head + "\n".join(f"    {line}" for line in (*body, "return load(source, start)"))]

    def features(self) -> list[str]:
        """The function that gives features in place of images."""
        if not self.caches:
            return []
        hashed = "hash_arrays" if self.source.in_memory else "hash_files"
        names = ("Features", "Numbered", hashed, "is_intact", "keep")
        self.use(*(f"features:{name}" for name in names))
        self.imports |= {"import hashlib", "from collections.abc import Callable"}
        about = "Path(__file__).read_bytes()"
        if not (self.source.in_memory and self.is_plain):
            self.imports.add("import PIL")
            about = f"PIL.__version__.encode() + {about}"
        head = (
            "def features(\n    part: Part,\n    folder: Path,\n    key: bytes,\n    batch_size: int,\n"
            "    compute: Callable[[np.ndarray], np.ndarray],\n) -> Features:\n"
            '    """What `compute` makes of images; a file in `folder` has it, or is made now.\n\n'
            "    `key` says what it computes. Other images, or another way to read them, are\n"
            "    another file.\n"
            '    """\n'
        )
        body = [
            f"about = {about}",
            f"name = hashlib.sha256(key + {hashed}(part) + about).hexdigest()",
            'path = folder / f"{name}.npy"',
            "if new := not is_intact(path):",
            "    keep(path, len(part), batches(Numbered(part), batch_size), compute)",
            "return Features(path, part.labels, new)",
        ]
        return [head + "\n".join(f"    {line}" for line in body)]


def least_share(graph: Graph) -> int:
    """How many images every process needs of a batch: a batch norm takes the variance of what it has."""
    return 2 if few_values(graph) else int(any(node.op.kind == "batch_norm" for node in graph.nodes))


def _function(head: str, title: str, body: list[str]) -> list[str]:
    return [f'def {head}:\n    """{title}"""\n' + "\n".join(f"    {line}" for line in body)]
