"""The documentation is complete, its generated parts are up to date, and all that it shows works."""

import contextlib
import importlib.util
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import cnnspec
from cnnspec.cli import app
from cnnspec.diagnostics import Report
from cnnspec.diagnostics.catalog import CATALOG
from cnnspec.expr import FUNCTIONS, MAX_LENGTH
from cnnspec.graph.expand import MAX_LAYERS, MAX_NESTING
from cnnspec.ops import OPS
from cnnspec.source import Mapping, Sequence, read_text
from cnnspec.source.reader import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, MAX_NODES
from cnnspec.spec.loader import load_spec
from cnnspec.spec.sections import PreprocessSection
from cnnspec.spec.transfer_section import TransferCase, TransferSection
from cnnspec.spec.words import BLOCK_KEYS, COMMON, RESERVED, SHORTCUTS, STRUCTURES, TOP_LEVEL

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGE = DOCS / "language.md"

COMMAND: Any = typer.main.get_command(app)

# What fragments may mention; a fragment stands in a block of this spec, or adds sections to it.
BASE = """\
cnnspec: 1
name: base
input: {channels: 3, size: 32}
params: {classes: 10, depth: 3}
blocks:
  bottleneck: {args: {filters: 8, stride: 1}, layers: [{conv: $filters, kernel: 3, stride: $stride}]}
"""
LAYERS = "layers: [{conv: 8, kernel: 3, name: stem}, global_avg_pool, {dense: 10, name: fc}]\n"


def blocks(*languages: str) -> Iterator[Any]:
    """The fenced blocks in some languages, as test cases."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                yield pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{line}")


def test_generated_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.stale() == [], "run python scripts/generate_docs.py"


# ---- completeness


def sections(page: str, level: str) -> dict[str, str]:
    """The sections of a page by heading."""
    parts = re.split(rf"^{level} (.+)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_op_and_option_is_documented() -> None:
    page = sections("ops.md", "###")
    assert list(page) == sorted(OPS, key=list(page).index)
    for kind, op in OPS.items():
        assert all(f"| `{option}` |" in page[kind] for option in op.model_fields), kind
        assert all(f"`{role}`" in page[kind] for role in op.attaches), kind


def test_every_slug_is_documented() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE) == list(CATALOG)


def test_the_language_page_names_everything() -> None:
    text = LANGUAGE.read_text(encoding="utf-8")
    models = (PreprocessSection, TransferSection, TransferCase)
    fields = {field.alias or name for model in models for name, field in model.model_fields.items()}
    words = {*TOP_LEVEL, *COMMON, *STRUCTURES, *SHORTCUTS, *RESERVED, *FUNCTIONS, *BLOCK_KEYS, *fields}
    words |= {
        "norm",
        "activation",
        "half",
        "same",
        "valid",
        "concat",
        "add",
        "multiply",
        "each",
        "rows",
        "training_only",
    }
    missing = {word for word in words if not re.search(rf"\b{word}\b", text)}
    assert missing == set()


def test_the_python_page_names_everything() -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    assert [name for name in cnnspec.__all__ if not re.search(rf"\b{name}\b", text)] == []
    members = {name for name in vars(cnnspec.Net) if not name.startswith("_")}
    assert [name for name in members if f"`{name}" not in text] == []


@pytest.mark.parametrize(
    "limit",
    [
        f"{MAX_BYTES // 1_000_000} MB", f"{MAX_NODES:,} nodes", f"{MAX_DEPTH} levels", f"{MAX_DIGITS} digits",
        f"{MAX_LENGTH} characters", f"{MAX_LAYERS:,}\nlayers", f"nested {MAX_NESTING} deep",
    ],
)  # fmt: skip
def test_the_language_page_states_the_limits(limit: str) -> None:
    assert limit in LANGUAGE.read_text(encoding="utf-8")


def commands() -> dict[str, Any]:
    return dict(COMMAND.commands)


def test_every_command_and_option_is_documented() -> None:
    page = sections("cli.md", "##")
    assert list(page) == list(commands())
    for name, command in commands().items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and "--help" not in parameter.opts:
                assert f"| `{parameter.opts[0]}` |" in page[name], f"{name} {parameter.opts[0]}"


# ---- what is shown works


def indented(text: str, depth: int) -> str:
    return "".join(f"{' ' * depth}{line}\n" for line in text.splitlines())


def shown_spec(text: str, folder: Path) -> tuple[str, bool]:
    """A spec with what a YAML block shows in it, and whether it is complete or to be read only."""
    node = read_text(text, "shown", Report())
    if isinstance(node, Sequence):
        return f"{BASE}  fragment:\n    layers:\n{indented(text, 6)}{LAYERS}", False
    assert isinstance(node, Mapping)
    keys = node.entries.keys()
    if "cnnspec" in keys and keys & {"layers", "extends"}:
        return text, True
    if "cnnspec" in keys:
        (folder / "shown_recipe.yaml").write_text(text, encoding="utf-8")
        return f"{BASE}{LAYERS}train: shown_recipe.yaml\n", True
    if keys <= set(TOP_LEVEL):
        return BASE + ("" if "layers" in keys else LAYERS) + text, False
    (folder / "recipe.yaml").write_text(
        "cnnspec: 1\noptimizer: {sgd: 0.1}\nepochs: 9\nbatch_size: 8\n", encoding="utf-8"
    )
    base = "" if "recipe" in keys else "  recipe: recipe.yaml\n"
    return f"{BASE}{LAYERS}train:\n{base}{indented(text, 2)}", True


@pytest.mark.parametrize("text", list(blocks("yaml")))
def test_specs_compile_and_fragments_parse(text: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.yaml"
    written, complete = shown_spec(text, tmp_path)
    path.write_text(written, encoding="utf-8")
    report = Report()
    if complete:
        found = cnnspec.check(path)
    else:
        load_spec(str(path), {}, report)
        found = report.diagnostics
    assert [f"{d.slug}: {d.message}" for d in found] == []


@pytest.mark.parametrize(
    "text",
    [
        "cnnspec: 1\nname: n\ninput: {channels: 3, size: 32}\nlayers: [{conv: 8, kernel: 33, padding: 0}]\n",
        "cnnspec: 1\noptimizer: {adma: 0.1}\nepochs: 9\nbatch_size: 8\n",
        "schedule: {cosin: null}\n",
        "- {conv: 8, kernal: 3}\n",
        "defaults: {conv: {kernal: 3}}\n",
    ],
)
def test_wrong_examples_are_found(text: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        test_specs_compile_and_fragments_parse(text, tmp_path)


def test_a_wrong_command_line_is_not_accepted() -> None:
    with pytest.raises(Exception, match="--depht"):
        test_command_lines_are_accepted("cnnspec summary vgg16 --depht 2")
    with pytest.raises(Exception, match="sumary"):
        test_command_lines_are_accepted("cnnspec sumary vgg16")


def command_lines() -> Iterator[Any]:
    for block in blocks("sh", "shell", "bash", "console", "text"):
        for part in re.split(r"\n|&&", block.values[0]):
            line = part.strip().removeprefix("$ ")
            if line.startswith("cnnspec "):
                yield pytest.param(line, id=f"{block.id} {line}")


@pytest.mark.parametrize("line", list(command_lines()))
def test_command_lines_are_accepted(line: str) -> None:
    words = shlex.split(re.split(r"[>|]", line)[0], comments=True)[1:]
    with COMMAND.make_context("cnnspec", list(words)) as context:
        name, command, rest = COMMAND.resolve_command(context, words)
        command.make_context(name, rest, parent=context).close()


def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    out = io.StringIO()
    examples = FENCE.findall((DOCS / "python.md").read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(out):
        for language, code in examples:
            if language == "python":
                exec(compile(code, "docs/python.md", "exec"), names)
    assert names["net"].name == "resnet50"
    assert "unknown-key 4" in out.getvalue()


def shown_json(command: str) -> Any:
    return json.loads(
        next(code for language, code in FENCE.findall(sections("cli.md", "##")[command]) if language == "json")
    )


def forms(value: Any) -> Any:
    """Keys and types."""
    if isinstance(value, dict):
        return {key: forms(inner) for key, inner in value.items()}
    return [forms(value[0])] if isinstance(value, list) and value else type(value).__name__


def test_the_json_of_summary_is_as_shown() -> None:
    shown, real = shown_json("summary"), cnnspec.load("resnet50").summary().to_dict()
    assert forms(shown) == forms(real)
    assert shown["layers"][0] == real["layers"][0]
    assert {k: v for k, v in shown.items() if k != "layers"} == {k: v for k, v in real.items() if k != "layers"}


def test_the_json_of_list_is_as_shown() -> None:
    from cnnspec.summary.listing import zoo_listing

    real = json.loads(zoo_listing("json"))
    shown = shown_json("list")[0]
    assert forms([shown]) == forms(real)
    vgg16 = next(row for row in real if row["name"] == "vgg16")
    assert vgg16 | {"description": shown["description"]} == shown


def test_the_json_of_validate_is_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnspec.diagnostics.render import to_json

    monkeypatch.chdir(tmp_path)
    Path("my_net.yaml").write_text(
        "cnnspec: 1\nname: n\ninput: {channels: 3, size: 32}\nlayers:\n  - {conv: 8, kernel: 3, strides: 2}\n"
    )
    assert json.loads(to_json(cnnspec.check("my_net.yaml"))) == shown_json("validate")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            linked = (page.parent / file) if file else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target
