"""Where images come from, as lines of `data.py`'s `load_data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cnnspec.lower.python import WIDTH, Code, assigned, call, lines, literal
from cnnspec.spec.recipe import data as kinds

if TYPE_CHECKING:
    from cnnspec.spec.recipe.data import Data

_DIGITS = tuple("0123456789")
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


class Source(NamedTuple):
    """The lines that make `data` of a `folder`, or of where the recipe says, and the snippets that they need."""

    title: str
    lines: list[str]
    snippets: set[str]
    classes: tuple[str, ...] = ()
    """Their names, where it is known what will be read."""
    shape: tuple[int, int, int] | None = None
    """Height, width and channels, likewise."""
    in_memory: bool = True


def source_of(data: Data, labelled: bool, channels: int) -> Source:
    """How the data of a recipe are read; what is `labelled` has names of classes from the spec."""
    match data:
        case kinds.Sample():
            found = [*_unless_given(['folder = Path(__file__).parent / "sample"']), "data = idx_data(folder)"]
            return Source("a sample of Fashion-MNIST", found, {"idx:idx_data"}, _CLOTHES, (28, 28, 1))
        case kinds.Mnist() | kinds.FashionMnist():
            return _mnist(data)
        case kinds.Cifar10() | kinds.Cifar100():
            return _cifar(data)
        case kinds.Idx():
            found = [*_unless_given(_path("folder", data.folder, 8)), "data = idx_data(folder)"]
            return Source("IDX files", found, {"idx:idx_data"})
        case kinds.Npz():
            found = [*_path("file", data.file), *_moved("file"), f"data = npz_data(file, {data.validation})"]
            return Source("a NumPy archive", found, {"npz:npz_data"})
        case kinds.ImageFolder() | kinds.Csv():
            return _files(data, labelled, channels)


def _mnist(data: kinds.Mnist | kinds.FashionMnist) -> Source:
    name = data.kind.upper().replace("-", "_")
    files = [f"files = idx_files({name}_SHA256)", f'folder = published("{data.kind}", {name}_URL, files)']
    snippets = {f"published:{used}" for used in ("published", "idx_files", f"{name}_URL", f"{name}_SHA256")}
    if data.folder:
        files, snippets = _path("folder", data.folder, 8), set()
    found = [*_unless_given(files), "data = idx_data(folder)"]
    classes, title = (_DIGITS, "MNIST") if data.kind == "mnist" else (_CLOTHES, "Fashion-MNIST")
    return Source(title, found, snippets | {"idx:idx_data"}, classes, (28, 28, 1))


def _cifar(data: kinds.Cifar10 | kinds.Cifar100) -> Source:
    number = data.classes
    sha256 = f"CIFAR{number}_SHA256"
    files = [
        f'files = {{"cifar-{number}-binary.tar.gz": {sha256}}}',
        f'folder = published("{data.kind}", CIFAR_URL, files)',
    ]
    snippets = {f"published:{used}" for used in ("published", "CIFAR_URL", sha256)}
    if data.folder:
        files, snippets = _path("folder", data.folder, 8), set()
    found = [*_unless_given(files), f"data = cifar_data(folder, {number})"]
    classes = _CIFAR10 if number == 10 else tuple(_CIFAR100.split())
    return Source(f"CIFAR-{number}", found, snippets | {"cifar:cifar_data"}, classes, (32, 32, 3))


def _files(data: kinds.ImageFolder | kinds.Csv, labelled: bool, channels: int) -> Source:
    """Folders or manifests: their parts, and the classes that they name."""
    module, name = ("folders", "folder") if isinstance(data, kinds.ImageFolder) else ("manifest", "manifest")
    columns = (literal(data.image), literal(data.label)) if isinstance(data, kinds.Csv) else ()
    snippets = {f"{module}:{name}_part", "parts:Data"}
    paths = {part: path for part in ("train", "validation", "test") if (path := getattr(data, part)) is not None}
    found: list[str] = []
    for part, path in paths.items():
        found += [*_path(part, path), *_moved(part)]
    if not labelled:
        snippets |= {f"{module}:{name}_classes", "names:name_classes"}
        found += _statement("found", call(f"{name}_classes", "train", *columns))
        found.append("CLASSES[:] = name_classes(found, CLASSES, train)")
    options = ("CLASSES", str(channels), str(data.channels == "convert"))
    parts: list[Code] = [
        call(f"{name}_part", part, *columns, *options) if part in paths else "None"
        for part in ("train", "validation", "test")
    ]
    found += _statement("data", call("Data", *parts))
    title = "folders of images" if isinstance(data, kinds.ImageFolder) else "images in manifests"
    return Source(title, found, snippets, in_memory=False)


def _statement(target: str, value: Code) -> list[str]:
    """The lines of an assignment in a function, without their indentation."""
    return [line[4:] for line in lines(assigned(target, value), 4)]


def _path(target: str, path: str, indent: int = 4) -> list[str]:
    """An assignment of a path, which may be longer than a line."""
    pieces = string_pieces(path, indent + 4)
    if len(pieces) == 1:
        return [line[indent:] for line in lines(assigned(target, call("Path", *pieces)), indent)]
    return [f"{target} = Path(", *(f"    {piece}" for piece in pieces), ")"]


def string_pieces(text: str, indent: int) -> list[str]:
    """String literals that make up a text, each short enough for a line of its own and a comma."""
    pieces = [""]
    for character in text:
        if len(literal(pieces[-1] + character)) > WIDTH - 1 - indent:
            pieces.append("")
        pieces[-1] += character
    return [literal(piece) for piece in pieces]


def _unless_given(statements: list[str]) -> list[str]:
    """Statements that find a folder, where none is given."""
    return ["if folder is None:", *(f"    {statement}" for statement in statements)]


def _moved(name: str) -> list[str]:
    """Statements that look for a file or folder in another one, where that is given."""
    return ["if folder is not None:", f"    {name} = folder / {name}.name"]
