"""Recipes in files: by name, by path, changed section by section, and read only when they are asked for."""

import math
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnspec
from cnnspec.diagnostics import Report, SpecError, render
from cnnspec.spec.loader import load_spec
from cnnspec.spec.locate import zoo_folder
from cnnspec.spec.recipe import Recipe
from cnnspec.spec.recipe.optimizer import Adam, Sgd
from cnnspec.spec.recipe.schedule import Cosine, ReduceOnPlateau, Step
from cnnspec.train.settle import Choices, settle

RECIPES = zoo_folder() / "recipes"
SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml"))
SMALL = [name for name in SHIPPED if name.endswith("_small")]
PAPERS = ["alexnet", "googlenet", "resnet", "vgg", "xception"]
FILE = """\
cnnspec: 1
name: mine
cite: somewhere
optimizer: {sgd: 0.1, momentum: 0.9}
schedule: {step: 3}
metrics: [accuracy, {top_k: $classes}]
augment: [flip]
epochs: 10
batch_size: 32
"""


def recipe_of(path: Path) -> Recipe:
    recipe = cnnspec.load(path).recipe
    assert recipe is not None
    return recipe


def network_for(name: str) -> cnnspec.Net:
    """The network that a small recipe is for, by the command in its first line."""
    first = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    hash_mark, cnnspec_, train, network, *options = shlex.split(first, posix=True)
    assert (hash_mark, cnnspec_, train) == ("#", "cnnspec", "train")
    pairs = list(zip(options[::2], options[1::2], strict=True))
    assert ("--recipe", name) in pairs
    settings: dict[str, Any] = dict(value.split("=") for option, value in pairs if option == "--set")
    return cnnspec.load(network, **{key: int(value) for key, value in settings.items()})


def read(net: cnnspec.Net, name: str) -> Recipe:
    report = Report()
    recipe = net.spec.read_recipe(report, name)
    assert recipe is not None, render.to_text(report.diagnostics)
    return recipe


# ---- the zoo's recipes


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in SMALL])
def test_shipped_recipes_load(name, tmp_path) -> None:
    """For ImageNet-like networks, and, where a recipe names none of their layers, for small ones."""
    layers = "".join(f"  - {{conv: 8, kernel: 3, stride: 2, name: conv{i}}}\n" for i in (1, 2, 4, 10))
    path = tmp_path / "net.yaml"
    path.write_text(
        f"cnnspec: 1\nname: net\ninput: {{channels: 3, size: 224}}\nlayers:\n{layers}"
        f"  - global_avg_pool\n  - {{dense: 16, name: fc6}}\n  - {{dense: 10, name: fc7}}\ntrain: {name}\n"
    )
    assert [d.message for d in cnnspec.check(path)] == []
    recipe = recipe_of(path)
    assert recipe.name == name
    assert recipe.description


def test_the_zoo_has_the_recipes_of_the_networks_that_it_has() -> None:
    assert {*PAPERS, "mnist_mlp", "mnist_cnn", "standard"} <= set(SHIPPED)
    assert [f"{name}_small" for name in PAPERS] == SMALL


@pytest.mark.parametrize("name", SMALL)
def test_small_recipes_are_for_the_networks_that_they_name(name, tmp_path) -> None:
    net = network_for(name)
    for backend in ("torch", "keras"):
        files = {path.name for path in net.write_source(backend, tmp_path / backend, recipe=name)}
        assert {"model.py", "data.py", "train.py", "labels.txt"} <= files  # the last is of the images that come with it


@pytest.mark.parametrize("name", SMALL)
def test_small_recipes_are_the_papers(name) -> None:
    """Much shorter, with the optimiser of the paper, at its rate for an image or for a step."""
    net = network_for(name)
    small, paper = read(net, name), read(net, name.removesuffix("_small"))
    assert (small.cite, small.metrics) == (paper.cite, paper.metrics)
    rate = paper.optimizer.learning_rate
    assert small.optimizer.learning_rate in (rate, rate * small.batch_size / paper.batch_size)
    assert small.optimizer.model_copy(update={"learning_rate": rate}) == paper.optimizer
    assert small.epochs < paper.epochs / 5
    assert small.batch_size <= paper.batch_size
    if isinstance(paper.schedule, Step):  # by as much in all
        assert isinstance(small.schedule, Step)
        ends = [recipe.schedule.factor ** ((recipe.epochs - 1) // recipe.schedule.every) for recipe in (small, paper)]
        assert ends[0] == pytest.approx(ends[1], rel=0.2)


@pytest.mark.parametrize("name", [*PAPERS, *SMALL, "inception", "squeezenet"])
def test_every_value_has_its_source(name) -> None:
    """A comment beside it, or above its section; of a list that goes over several lines, beside every entry."""
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    sections = re.findall(r"^((?:#.*\n)?)(\w+):(.*\n(?:  .*\n)*)", text, re.MULTILINE)
    values = [found for found in sections if found[1] not in ("cnnspec", "name", "cite", "description")]
    assert len(values) >= 5
    for above, section, value in values:
        entries = re.findall(r"^  - .*$", value, re.MULTILINE) or [above + value]
        assert [entry for entry in entries if "#" not in entry] == [], section


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_small_recipes_train(name, tmp_path) -> None:
    """All their epochs, on few images."""
    pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    images, classes = generator.integers(0, 256, (60, 28, 28), np.uint8), np.arange(60) % 10
    np.savez(tmp_path / "few.npz", x_train=images, y_train=classes)
    net = network_for(name)
    run = net.train(tmp_path / "run", data=tmp_path / "few.npz", recipe=name)
    recipe = read(net, name)
    assert len(run.metrics) == recipe.epochs
    assert all(math.isfinite(row["loss"]) for row in run.metrics)
    assert run.metrics[0]["learning_rate"] == pytest.approx(recipe.optimizer.learning_rate)
    if not isinstance(recipe.schedule, ReduceOnPlateau):
        assert run.metrics[-1]["learning_rate"] < recipe.optimizer.learning_rate


@pytest.mark.parametrize(
    ("name", "rate", "momentum", "l2", "batch", "epochs"),
    [
        # batch × epochs follow from steps where a paper counts those: 370,000 · 256 / 1.28 M = 74 and so on
        ("alexnet", 0.01, 0.9, 5e-4, 128, 90),
        ("vgg", 0.01, 0.9, 5e-4, 256, 370_000 * 256 // 1_281_167 + 1),
        ("resnet", 0.1, 0.9, 1e-4, 256, round(600_000 * 256 / 1_281_167)),
        ("googlenet", 0.01, 0.9, 2e-4, 32, round(10_000_000 * 32 / 1_281_167)),
        ("xception", 0.045, 0.9, 1e-5, 32, 100),
    ],
)
def test_figures_of_the_papers(name, rate, momentum, l2, batch, epochs, write_train) -> None:
    spec = write_train(f"{{recipe: {name}, initializers: null}}").read_text().replace("size: 32", "size: 224")
    path = write_train("null")
    path.write_text(spec)
    recipe = recipe_of(path)
    assert isinstance(recipe.optimizer, Sgd)
    assert (recipe.optimizer.learning_rate, recipe.optimizer.momentum) == (rate, momentum)
    assert (recipe.optimizer.l2, recipe.optimizer.nesterov) == (l2, False)
    assert recipe.batch_size == batch
    assert abs(recipe.epochs - epochs) <= 1


def test_schedules_of_the_papers(write_train) -> None:
    spec = write_train("{recipe: NAME, initializers: null}").read_text().replace("size: 32", "size: 224")
    path = write_train("null")
    found = {}
    for name in PAPERS:
        path.write_text(spec.replace("NAME", name))
        found[name] = recipe_of(path).schedule
    for name in ("alexnet", "vgg", "resnet"):
        schedule = found[name]
        assert isinstance(schedule, ReduceOnPlateau)
        assert (schedule.monitor, schedule.factor) == ("validation_accuracy", 0.1)
    for name, expected in {"googlenet": (8, 0.96), "xception": (2, 0.94)}.items():
        schedule = found[name]
        assert isinstance(schedule, Step)
        assert (schedule.every, schedule.factor) == expected


@pytest.mark.parametrize(("name", "epochs"), [("mnist_mlp", 15), ("mnist_cnn", 5)])
def test_figures_of_the_notes(name, epochs, write_train) -> None:
    recipe = recipe_of(write_train(name))
    assert isinstance(recipe.optimizer, Adam)
    assert (recipe.optimizer.learning_rate, recipe.optimizer.betas) == (1e-3, (0.9, 0.999))
    assert (recipe.batch_size, recipe.epochs) == (100, epochs)


@pytest.mark.parametrize("name", cnnspec.zoo())
def test_networks_of_the_zoo_have_sound_recipes(name) -> None:
    recipe = cnnspec.load(name).recipe
    assert recipe is not None
    assert recipe.name in SHIPPED


def test_a_transfer_case_may_lack_layers_that_the_recipe_names() -> None:
    net = cnnspec.load("alexnet", transfer="small_different")
    assert all(not node.path.startswith("fc6") for node in net.graph.nodes)
    recipe = net._recipe("alexnet")
    assert recipe is not None
    assert list(recipe.initializers.layers) == ["conv[245]", "fc[67]"]


def test_a_transfer_case_of_the_zoo_has_a_recipe_of_its_own(tmp_path) -> None:
    """A spec's own section comes before it, and what was asked for before that."""
    assert cnnspec.load("vgg16").recipe.name == "vgg"
    case = {"transfer": "small_similar"}
    assert cnnspec.load("vgg16", **case).recipe.name == "fine_tune"
    own = tmp_path / "own.yaml"
    own.write_text("cnnspec: 1\nname: own\nextends: vgg16\n")
    assert cnnspec.load(own, **case).recipe.name == "fine_tune"
    own.write_text("cnnspec: 1\nname: own\nextends: vgg16\ntrain: {epochs: 7}\n")
    assert (cnnspec.load(own, **case).recipe.name, cnnspec.load(own, **case).recipe.epochs) == ("vgg", 7)
    net = cnnspec.load("vgg16", **case)
    for choice, name in (("", "fine_tune"), ("standard", "standard")):
        report = Report()
        found = settle(net.graph, Choices(recipe=choice), report)
        assert not report.failed
        assert found is not None
        assert found.name == name


# ---- names and paths


def test_a_recipe_by_path_is_relative_to_the_spec(write_train, tmp_path, monkeypatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.yaml").write_text(FILE)
    monkeypatch.chdir("/")
    recipe = recipe_of(write_train("sub/mine.yaml"))
    assert (recipe.name, recipe.cite, recipe.epochs) == ("mine", "somewhere", 10)


def test_expressions_in_a_recipe_file_have_the_values_of_the_spec(write_train, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    path = write_train("mine.yaml")
    assert [metric.name for metric in recipe_of(path).metrics] == ["accuracy", "top_10"]
    other = cnnspec.load(path, classes=4).recipe
    assert other is not None
    assert other.metrics[1].name == "top_4"


def test_a_spec_changes_a_recipe_section_by_section(write_train, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    recipe = recipe_of(write_train("{recipe: mine.yaml, epochs: 5, optimizer: {sgd: 0.5}, augment: null}"))
    assert recipe.optimizer == Sgd(learning_rate=0.5)  # the whole section: no momentum is left
    assert (recipe.epochs, recipe.batch_size, recipe.augment) == (5, 32, [])
    assert isinstance(recipe.schedule, Step)


def test_a_null_over_nothing_is_nothing(write_train) -> None:
    recipe = recipe_of(write_train("{optimizer: {sgd: 1}, epochs: 1, batch_size: 2, ema: null}"))
    assert recipe.ema is None


def test_a_recipe_may_be_based_on_another(write_train, tmp_path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "first.yaml").write_text(FILE)
    (tmp_path / "second.yaml").write_text("cnnspec: 1\nname: second\nrecipe: base/first.yaml\nepochs: 20\n")
    recipe = recipe_of(write_train("{recipe: second.yaml, schedule: cosine}"))
    assert (recipe.name, recipe.cite, recipe.epochs, recipe.batch_size) == ("second", "somewhere", 20, 32)
    assert isinstance(recipe.schedule, Cosine)


@pytest.mark.parametrize(
    ("over", "epochs", "augmented", "momentum"),
    [
        ("", 10, True, 0.9),
        ("train: {epochs: 5}", 5, True, 0.9),
        ("train: {augment: null}", 10, False, 0.9),
        ("train: {optimizer: {sgd: 0.1}}", 10, True, 0),
        ("train: {recipe: other.yaml}", 3, False, 0.5),
        ("train: other.yaml", 3, False, 0.5),
        ("train: {recipe: null, optimizer: {sgd: 0.1}, epochs: 2, batch_size: 8}", 2, False, 0),
    ],
)
@pytest.mark.parametrize("train", ["mine.yaml", "{recipe: mine.yaml, seed: 1}"])
def test_a_spec_that_extends_changes_the_recipe(
    train, over, epochs, augmented, momentum, write_train, tmp_path
) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    (tmp_path / "other.yaml").write_text(
        "cnnspec: 1\nname: other\noptimizer: {sgd: 1, momentum: 0.5}\nepochs: 3\nbatch_size: 8\n"
    )
    write_train(train)
    path = tmp_path / "derived.yaml"
    path.write_text(f"cnnspec: 1\nname: derived\nextends: net.yaml\n{over}\n")
    recipe = recipe_of(path)
    assert isinstance(recipe.optimizer, Sgd)
    assert (recipe.epochs, bool(recipe.augment), recipe.optimizer.momentum) == (epochs, augmented, momentum)


def test_a_spec_that_extends_can_do_without_the_recipe(write_train, tmp_path) -> None:
    write_train("resnet")
    path = tmp_path / "derived.yaml"
    path.write_text("cnnspec: 1\nname: derived\nextends: net.yaml\ntrain: null\n")
    assert cnnspec.load(path).recipe is None


@pytest.mark.parametrize("train", ["resnet", "{recipe: resnet}"])
def test_a_recipe_as_it_is_keeps_its_description(write_train, train) -> None:
    recipe = recipe_of(write_train(train))
    assert (recipe.name, recipe.cite) == ("resnet", "arXiv:1512.03385")
    assert recipe.description


def test_a_changed_recipe_does_not(write_train, tmp_path) -> None:
    write_train("resnet")
    derived = tmp_path / "derived.yaml"
    derived.write_text("cnnspec: 1\nname: derived\nextends: net.yaml\ntrain: {epochs: 60}\n")
    for path in (derived, write_train("{recipe: resnet, epochs: 60}")):
        recipe = recipe_of(path)
        assert (recipe.epochs, recipe.name, recipe.description) == (60, "resnet", "")


def test_a_path_is_relative_to_the_file_that_names_it(write_train, tmp_path) -> None:
    """To the base spec, not to the one in another folder that extends it."""
    (tmp_path / "mine.yaml").write_text(FILE)
    write_train("mine.yaml")
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "derived.yaml"
    path.write_text("cnnspec: 1\nname: derived\nextends: ../net.yaml\n")
    assert recipe_of(path).name == "mine"


def test_a_recipe_named_on_the_command_line_takes_the_place_of_the_spec(write_train) -> None:
    report = Report()
    spec = load_spec(str(write_train("{optimizer: {sgd: 1}, epochs: 1, batch_size: 1}")), {}, report)
    assert spec is not None
    recipe = spec.read_recipe(report, "mnist_mlp")
    assert recipe is not None
    assert (recipe.name, report.diagnostics) == ("mnist_mlp", [])
    assert spec.read_recipe(report, "mnist_mlq") is None
    (diagnostic,) = report.diagnostics
    assert (diagnostic.slug, diagnostic.span.source.name) == ("unknown-recipe", "--recipe")
    assert diagnostic.help == "did you mean `mnist_mlp`?"


# ---- mistakes in recipe files


@pytest.mark.parametrize(
    ("change", "slug", "text"),
    [
        ("optimizer: {sgd: 0.1, momentum: 0.9}", ("optimizer: {sgd: 0.1, momentun: 0.9}", "unknown-key"), "momentun"),
        ("epochs: 10", ("epochs: ten", "bad-value"), "ten"),
        ("schedule: {step: 3}", ("schedule: {step: 30}", "recipe-conflict"), "30"),
        ("{top_k: $classes}", ("{top_k: $clases}", "unknown-variable"), "$clases"),
        ("{top_k: $classes}", ("{top_k: $classes * 2}", "recipe-conflict"), "$classes * 2"),
        ("cnnspec: 1", ("cnnspec: 2", "bad-version"), "2"),
        ("cnnspec: 1\n", ("", "missing-key"), "name"),
        ("augment: [flip]", ("layers: [flatten]", "unknown-key"), "layers"),
        ("name: mine", ("recipe: mine.yaml", "cyclic-extends"), "mine.yaml"),
        ("name: mine", ("recipe: resnett", "unknown-recipe"), "resnett"),
        ("augment: [flip]", ("augment: [flip", "yaml-syntax"), None),
    ],
)  # fmt: skip
def test_mistakes_are_located_in_the_recipe_file(change, slug, text, write_train, tmp_path) -> None:
    assert change in FILE
    new, expected = slug
    (tmp_path / "mine.yaml").write_text(FILE.replace(change, new))
    found = cnnspec.check(write_train("mine.yaml"))
    assert [d.slug for d in found] == [expected], render.to_text(found)
    assert found[0].span.source.name.endswith("mine.yaml")
    assert text is None or found[0].span.text == text


def warned(net: cnnspec.Net, name: str = "") -> list[tuple[str, str]]:
    """What a recipe is reported for, and where."""
    assert net.spec.read_recipe(Report(), name) is not None
    return [(d.slug, d.span.text) for d in net.recipe_warnings(recipe=name)]


@pytest.mark.parametrize("name", cnnspec.zoo())
def test_pieces_of_the_zoo_show_enough(name) -> None:
    assert warned(cnnspec.load(name)) == []


@pytest.mark.parametrize("name", SMALL)
def test_pieces_of_small_recipes_show_enough(name) -> None:
    assert warned(network_for(name), name) == []


@pytest.mark.parametrize(
    ("network", "size", "recipe", "place"),
    [
        ("resnet18", 64, "resnet", "[256, 480]"),  # 25 %, where evaluation sees 224 out of 256 pixels
        ("resnet18", 111, "resnet", "[256, 480]"),  # half of these are 112
        ("resnet18", 112, "resnet", ""),
        ("vgg11", 32, "vgg", "[256, 512]"),
        ("vgg11", 32, "vgg_small", ""),
        ("squeezenet1_1", 100, "squeezenet", "256"),
        ("xception", 100, "xception", ""),  # its pieces are shares of an image
    ],
)
def test_pieces_that_show_less_than_half_of_what_evaluation_sees(network, size, recipe, place) -> None:
    net = cnnspec.load(network, params={"input.size": str(size)})
    assert warned(net, recipe) == ([("small-pieces", place)] if place else [])


@pytest.mark.parametrize(
    ("preprocess", "doubtful"),
    [
        ("", True),  # evaluation sees all
        ("preprocess: {resize: 64, crop: 64}\n", True),
        ("preprocess: {resize: [64, 64], resize_to: exact}\n", True),
        ("preprocess: {resize: 64, crop: 40}\n", False),  # 24/64 is more than half of 40/64
        ("preprocess: {resize: 64, crop: 49}\n", True),
        ("preprocess: {crop: 24}\n", False),  # up to the image
    ],
)
def test_what_pieces_are_compared_with(preprocess, doubtful, tmp_path) -> None:
    (tmp_path / "net.yaml").write_text(
        "cnnspec: 1\nname: net\ninput: {channels: 3, size: 24}\nlayers: [global_avg_pool, {dense: 10}]\n"
        f"{preprocess}train: {{optimizer: {{sgd: 0.1}}, epochs: 3, batch_size: 4, augment: [{{random_crop: [64, 80]}}]}}\n"
    )
    assert warned(cnnspec.load(tmp_path / "net.yaml")) == ([("small-pieces", "[64, 80]")] if doubtful else [])


def test_mistakes_in_a_recipe_are_no_warnings(write_train) -> None:
    net = cnnspec.load(write_train("{optimizer: {sgd: -1}, epochs: 3, batch_size: 4}"))
    assert net.recipe_warnings() == []
    with pytest.raises(cnnspec.SpecError, match="got -1"):
        net.recipe  # noqa: B018


def test_commands_warn_of_a_recipe(tmp_path) -> None:
    options = ["--set", "input.size=64", "--recipe", "resnet", "-o", str(tmp_path / "code")]
    command = [sys.executable, "-m", "cnnspec", "build", "resnet18", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "warning[small-pieces]: a piece of 3×64×64 has 25% of an image's shorter side at most" in done.stderr
    assert "help: `random_crop: 73` shows as much as evaluation does" in done.stderr


def test_a_contradiction_between_files_shows_both(write_train, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE.replace("step: 3", "step: 5"))
    (found,) = cnnspec.check(write_train("{recipe: mine.yaml, epochs: 4}"))
    assert (found.slug, found.span.text) == ("recipe-conflict", "5")
    assert found.span.source.name.endswith("mine.yaml")
    (label,) = found.related
    assert (label.span.text, Path(label.span.source.name).name) == ("4", "net.yaml")


def test_what_a_file_lacks_is_reported_where_it_is_named(write_train, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text("cnnspec: 1\nname: mine\nepochs: 3\nbatch_size: 4\n")
    (found,) = cnnspec.check(write_train("mine.yaml"))
    assert (found.slug, found.span.text) == ("missing-key", "mine.yaml")
    assert "`optimizer`" in found.message


@pytest.mark.parametrize("content", ["- flip\n", "resnet\n"])
def test_a_file_that_is_no_recipe(content, write_train, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    (found,) = cnnspec.check(write_train("mine.yaml"))
    assert (found.slug, found.message.partition(",")[0]) == ("bad-value", "a recipe is a mapping")


# ---- only when asked for


def test_a_broken_recipe_stops_what_trains_only(write) -> None:
    path = write("epochs: many\nschedule: {cosine: 3}")
    net = cnnspec.load(path)
    assert net.summary().to_dict()["name"] == "net"
    with pytest.raises(SpecError) as raised:
        _ = net.recipe
    assert [d.span.text for d in raised.value.diagnostics] == ["many", "3"]
    with pytest.raises(SpecError):
        _ = net.spec.recipe
    assert [d.span.text for d in cnnspec.check(path)] == ["many", "3"]


def test_a_recipe_that_does_not_fit_the_network_is_refused(write) -> None:
    with pytest.raises(SpecError, match="100 classes"):
        _ = cnnspec.load(write("data: cifar100")).recipe


def test_a_spec_without_a_recipe_has_none() -> None:
    path = Path(__file__).parents[1] / "recipes" / "bare.yaml"
    assert cnnspec.load(path).recipe is None


def test_only_what_asks_for_a_recipe_pays_for_it(write) -> None:
    script = textwrap.dedent(
        """\
        import sys
        import cnnspec
        net = cnnspec.load(sys.argv[1])
        net.summary()
        assert net.spec.root.get("train") is not None
        print(sorted(name for name in sys.modules if name.startswith("cnnspec.spec.recipe")))
        assert net.recipe is not None
        print(sorted({"torch", "tensorflow", "keras", "numpy", "onnx"} & set(sys.modules)))
        print("cnnspec.spec.recipe.model" in sys.modules)
        """
    )
    command = [sys.executable, "-c", script, str(write())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["[]", "[]", "True", ""]
