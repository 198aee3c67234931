"""The reference of recipes is up to date, complete, and what it shows works."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import cnnspec
from cnnspec.spec.recipe import Recipe, augment, data, initializer, model, optimizer, schedule
from cnnspec.spec.tagged import Section, Strict, Tagged

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
MODULES = (augment, data, initializer, model, optimizer, schedule)
# Models that stand for themselves, not for what others have in common.
MODELS = [
    found
    for module in MODULES
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, Strict) and found.__module__ == module.__name__
    and not name.startswith("_")
]  # fmt: skip


def script() -> Any:
    path = ROOT / "scripts" / "generate_recipe_docs.py"
    spec = importlib.util.spec_from_file_location("generate_recipe_docs", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    assert not script().stale(), "run python scripts/generate_recipe_docs.py"


def test_a_page_that_is_out_of_date_is_noticed(tmp_path, monkeypatch, capsys) -> None:
    generator = script()
    old = tmp_path / "recipes.md"
    old.write_text(PAGE.replace("| `nesterov` |", "| `nesterow` |"), encoding="utf-8")
    monkeypatch.setattr(generator, "PAGE", old)
    monkeypatch.setattr("sys.argv", ["generate_recipe_docs.py", "--check"])
    assert generator.main() == 1
    assert "out of date" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["generate_recipe_docs.py"])
    assert generator.main() == 0
    assert old.read_text(encoding="utf-8") == PAGE


def test_every_section_and_choice_is_on_the_page() -> None:
    assert [name for name in Recipe.model_fields if f"`{name}`" not in PAGE] == []
    kinds = [found.kind for found in MODELS if issubclass(found, Tagged)]
    assert len(kinds) > 50
    assert [kind for kind in kinds if f"### `{kind}`\n" not in PAGE] == []


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_every_option_has_a_row_and_a_meaning(cls) -> None:
    """A meaning is where a docstring speaks of the option: of the class, of a base, or of the module."""
    import sys

    texts = [base.__doc__ or "" for base in cls.__mro__ if issubclass(base, Strict) and base not in (Strict, Section)]
    texts.append(sys.modules[cls.__module__].__doc__ or "")
    for name in cls.model_fields:
        assert f"| `{name}` |" in PAGE or f"| [`{name}`](#{name}) |" in PAGE, name
        if cls is not Recipe:  # whose sections have meanings of their own
            assert re.search(rf"`{name}\b", "\n".join(texts)), name


FENCES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", FENCES)
def test_what_is_shown_works(text, tmp_path) -> None:
    path = tmp_path / "shown.yaml"
    if not text.startswith("cnnspec: 1\n"):
        rest = "name: n\ninput: {channels: 3, size: 224}\nlayers: [global_avg_pool, {dense: 10}]\n"
        text = f"cnnspec: 1\n{rest}{text}"
    path.write_text(text, encoding="utf-8")
    assert [f"{d.slug}: {d.message}" for d in cnnspec.check(path)] == []
    assert cnnspec.load(path).recipe is not None


def test_what_is_said_to_be_the_same_is(tmp_path) -> None:
    start = PAGE.index("These three are the same")
    three = re.findall(r"^```yaml\n(.*?)^```$", PAGE[start:], re.MULTILINE | re.DOTALL)[:3]
    made = []
    for text in three:
        path = tmp_path / "shown.yaml"
        path.write_text(f"cnnspec: 1\nname: n\ninput: {{channels: 1, size: 8}}\nlayers: [flatten]\n{text}")
        recipe = cnnspec.load(path).recipe
        assert recipe is not None
        made.append(dict(recipe))
    assert made[0] == made[1] == made[2]
