"""Every kind of diagnostic: its slug, how grave it is, and what it means. `docs/errors.md` is made from this."""

from typing import Literal, NamedTuple


class Entry(NamedTuple):
    """What a slug stands for."""

    severity: Literal["error", "warning"]
    meaning: str


def _error(meaning: str) -> Entry:
    return Entry("error", meaning)


def _warning(meaning: str) -> Entry:
    return Entry("warning", meaning)


CATALOG: dict[str, Entry] = {
    # the file and its YAML
    "unknown-spec": _error("No file has this path, and no network of the zoo this name."),
    "unreadable-file": _error("The file exists but cannot be read."),
    "file-exists": _error("A file would be overwritten."),
    "not-utf8": _error("The file is not UTF-8 text."),
    "empty-file": _error("The file holds nothing but white space and comments."),
    "too-large": _error(
        "A file, its aliases, its expressions or the expanded network go beyond the limits that keep every answer "
        "quick."
    ),
    "too-many-mistakes": _error("Checking ends after the first hundred mistakes."),
    "too-deep": _error("YAML collections are nested deeper than any spec needs."),
    "several-documents": _error("A file holds one spec; `---` may stand at its head only."),
    "yaml-syntax": _error("The text is not YAML."),
    "yaml-character": _error("YAML does not allow this character."),
    "yaml-tag": _error("Tags such as `!!python/object` would construct something; a spec is plain data."),
    "yaml-directive": _error("Directives such as `%YAML` have no meaning in a spec."),
    "yaml-key": _error("Keys are plain words."),
    "yaml-merge": _error("The merge key `<<` belongs to YAML 1.1; specs are YAML 1.2."),
    "yaml-number": _error("A number with more digits than any quantity in a network has."),
    "unknown-alias": _error("An alias refers to an anchor that is not complete before it."),
    "duplicate-key": _error("A mapping has the same key twice, so one of them would be lost."),
    # structure
    "bad-version": _error("The spec is written in another version of the language."),
    "cyclic-extends": _error("Specs extend each other in a circle, or too many extend one another."),
    "missing-key": _error("Something that must be written is not there."),
    "unknown-key": _error("An option or a section that does not exist: often a typing mistake."),
    "bad-value": _error("A value of the wrong type, or outside of what is allowed."),
    "bad-name": _error("A name that cannot be part of a path, or that has a meaning already."),
    "unknown-name": _error("None of the choices has this name."),
    # layers and blocks
    "bad-layer": _error("An entry of a list of layers that is not a layer."),
    "unknown-op": _error("Neither an op, nor a block of this spec, nor a structure."),
    "two-kinds": _error("One mapping names two layers, or two choices of a section."),
    "nested-structure": _error("A structure stands where generated code could not express it; a block can."),
    "unknown-argument": _error("A block is given an argument that it does not take."),
    "missing-argument": _error("A block is not given an argument that it requires."),
    "recursive-block": _error("A block contains itself, directly or through others."),
    # variables and expressions
    "bad-expression": _error("An expression that cannot be read, is not allowed, or has no value."),
    "unknown-variable": _error("A `$name` that means nothing at this place."),
    "duplicate-variable": _error("A variable would hide another of the same name."),
    "unknown-param": _error("A parameter is set that the spec does not have."),
    "missing-param": _error("A required parameter is not set."),
    "uneven-lists": _error("The lists of `each` differ in length."),
    # wiring
    "duplicate-path": _error("Two layers would have the same path, and so the same weights in a weight file."),
    "unknown-layer": _error("`from` names a layer that does not come before."),
    "hidden-layer": _error("`from` names a layer on the other side of a block's edge."),
    "unread-layer": _error("A layer leads to no output: one framework would count it and another drop it."),
    # shapes
    "shape-mismatch": _error("Inputs that are merged do not have fitting shapes."),
    "wrong-rank": _error("A layer for feature maps gets a vector, or the other way round."),
    "empty-output": _error("A window, a crop or a stride leaves nothing of the feature maps."),
    "bad-padding": _error("Padding that the window cannot use."),
    "even-kernel": _error(
        "An even kernel has no symmetric padding that keeps the size, an even neighbourhood no centre."
    ),
    "strided-dilation": _error("A convolution with both a stride and a dilation, which Keras does not have."),
    "bad-groups": _error("Channels that cannot be split into this many groups."),
    "uneven-windows": _error("An adaptive pool whose windows would differ in size."),
    "no-projection": _error("`shortcut: auto` cannot reach the shape of the body's output."),
    "suspect-momentum": _warning("A batch norm with PyTorch's momentum, which is 1 minus the fraction that is kept."),
    "preprocess-dropped": _warning("The preprocessing, inherited or the spec's, is for another number of channels."),
    "recipe-dropped": _warning("The inherited training recipe does not fit the network."),
    # training recipes
    "unknown-recipe": _error("No file has this path, and no recipe of the zoo this name."),
    "recipe-conflict": _error("Sections of a recipe, or a recipe and its network, contradict each other."),
    "small-pieces": _warning("Training sees far smaller pieces of images than evaluation does."),
    "no-recipe": _error("A network is to be trained, and neither its spec nor the command names a recipe."),
    "bad-ensemble": _error("Networks that cannot be averaged: too few, one twice, or of other images or classes."),
    "bad-data": _error("What is given as data is not there, or of no kind that can be read."),
    "no-run": _error("There is no run to go on with, or nothing in it yet to evaluate."),
    "diverged": _error("Training ended with weights that are infinite or not a number: there is no network to keep."),
    # transfer, labels
    "unknown-case": _error("The spec has no transfer case of this name."),
    "unmatched-path": _error("A path or pattern that no layer has."),
    "no-effect": _error("What a transfer case says of a layer changes nothing."),
    "label-count": _error("The number of labels is not the number of outputs, or of the two classes of one sigmoid."),
    "class-count": _warning("The network ends in another number of values than its parameter `classes` says."),
    # weights
    "no-file": _error("There is no file at a path that was given."),
    "bad-weight-file": _error("A weight file is corrupt or cut short, or of another format or version."),
    "missing-weights": _error("A weight file lacks parameters of the network."),
    "left-over-weights": _error("A weight file has parameters that the network does not have."),
    "weight-shape": _error("A parameter has one shape in a weight file and another in the network."),
    "weight-type": _error("A weight file holds something other than floats of 16, 32 or 64 bits."),
    "foreign-weights": _error(
        "Weights of another framework, or for it, do not fit the network: missing, left over or of another shape."
    ),
    "unwrapped-weights": _warning(
        "Weights are read from inside of a checkpoint, or without what a wrapper puts before their names."
    ),
    "unknown-published": _error("No weights are published under this name for the network."),
    "published-mismatch": _error(
        "Published weights are for the network as it stands, and parameters differ that no transfer case replaces."
    ),
    "no-download": _error("A file cannot be downloaded, or what came is not what was published."),
    "published-preprocess": _warning(
        "Preprocessing or labels that belong to published weights take the place of the spec's."
    ),
    "not-finite": _warning("Weights hold infinities or NaN."),
    # backends
    "unsupported-op": _error("The backend has no such layer."),
    "disagreement": _error("A backend computes something else than the reference, or another gradient."),
    # exported files
    "no-preprocess": _error("Preprocessing is to be part of a file, and there is none, or it cannot be."),
    "out-of-range": _error("A weight is too large for the precision that is asked for."),
    "bad-model": _error("An ONNX file that cannot be run, or that does not say what it takes."),
    "no-provider": _error("ONNX Runtime has a provider and cannot start it here."),
}
