"""Tables and help texts fit where they are shown: a terminal's width, a Markdown page."""

import re

import pytest

import cnnspec
from cnnspec.cli import main
from cnnspec.spec.locate import zoo
from cnnspec.summary.columns import Column, markdown
from cnnspec.summary.listing import zoo_listing

WIDTHS = (40, 60, 80, 100, 140)


@pytest.mark.parametrize("width", [12, *WIDTHS])
@pytest.mark.parametrize(("name", "depth"), [("resnet50", 1), ("resnet50", 4), ("inception_v3", 1), ("xception", 3)])
def test_the_summary_fits(name, depth, width):
    result = cnnspec.load(name).summary()
    whole = result.to_text(depth=depth).splitlines()
    lines = result.to_text(depth=depth, width=width).splitlines()
    assert max(map(len, lines)) <= width
    if width >= max(map(len, whole)):
        assert lines == whole


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("name", "depth"), [("resnet50", 1), ("resnet50", 4), ("inception_v3", 1), ("xception", 3)])
def test_a_hidden_column_is_named(name, depth, width):
    lines = cnnspec.load(name).summary().to_text(depth=depth, width=width).splitlines()
    shown = next(line for line in lines if line.startswith("layer")).split()
    note = re.search(r"hidden for width: (.*) \(use --format json or a wider terminal\)", " ".join(lines))
    hidden = note[1].split(", ") if note else []
    columns = ["layer", "what", "output", "params", "MACs", "activations", "field"]
    meanings = {"what": "what a layer is", "field": "receptive field"}
    assert hidden == [meanings.get(c, c) for c in columns if c not in shown]


def test_descriptions_are_shortened_before_columns_go():
    """The folded table is 99 wide, of which the descriptions are 23; they may shrink to 10."""
    result = cnnspec.load("resnet50").summary()
    for width, description in ((99, "conv 7×7/2 + bn + relu"), (91, "conv 7×7/2 + b…"), (86, "conv 7×7/…")):
        text = result.to_text(width=width)
        assert f"stem             {description} " in text
        assert "hidden" not in text
    assert "hidden for width: receptive field (" in result.to_text(width=85)


def test_a_long_path_keeps_its_end():
    lines = cnnspec.load("resnet50").summary().to_text(depth=4, width=24).splitlines()
    assert next(line for line in lines if line.startswith("…")).split()[0].endswith(".conv1")


def test_the_note_is_dim():
    text = cnnspec.load("resnet50").summary().to_text(width=60, colour=True)
    assert "\n\033[2mhidden for width: MACs, activations, receptive field" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_fits(width):
    lines = zoo_listing("text", width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines[1 : 1 + len(zoo())]] == zoo()
    assert ("hidden for width:" in " ".join(lines)) == (width < 80)
    assert zoo_listing("text").splitlines()[0].split() == ["network", "input", "parameters", "MACs", "paper"]


@pytest.mark.parametrize("arguments", [["list"], ["summary", "resnet50"]])
def test_commands_ask_the_terminal(monkeypatch, capsys, arguments):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(arguments)
    out = re.sub(r"\033\[\d+m", "", capsys.readouterr().out)
    assert "hidden for width:" in out
    assert max(map(len, out.splitlines())) <= 60


@pytest.mark.parametrize("command", ["", "list", "validate", "summary", "weights", "init", "schema"])
def test_help_is_whole_at_80_columns(monkeypatch, capsys, command):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.replace("[ARGS]...", "").replace("[SPEC]...", "")
    entries = re.findall(r"^  (-\S.*)", text, re.MULTILINE)
    assert [entry for entry in entries if not re.search(r"\S  +\S", entry)] == [], "options without a word on them"


def test_a_title_with_markup(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(
        "cnnspec: 1\nname: t\ncite: 'A | B, *C* <d>'\ninput: {channels: 3, size: 8}\nlayers: [{conv: 4, kernel: 3}]\n"
    )
    title = cnnspec.load(path).summary().to_markdown().splitlines()[0]
    assert title == r"### t   input 3×8×8   A \| B, \*C\* \<d\>"


def test_cells_of_markdown_are_escaped_and_aligned():
    assert markdown((Column("a"), Column("b", right=True)), [{"a": "x|y\\", "b": "1"}]) == [
        "| a      |   b |",
        "| ------ | --: |",
        "| x\\|y\\\\ |   1 |",
    ]
