"""Every file of `bad/` has the mistakes that its header says, and no others; `bad_specs` says how headers are read.

Headers are written by hand, before the message is seen. The rendered text beside each file is a snapshot: read it as the
person would who wrote the spec.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_specs import BAD, CASES, Case, compare, expectations
from located import WellFormed

import cnnspec
from cnnspec.cli import main
from cnnspec.diagnostics.render import summary_line, to_text


@pytest.fixture(autouse=True)
def _in_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)


@pytest.mark.parametrize("name", CASES)
def test_bad_spec(
    name: str, snapshot: Callable[[Path, str], None], well_formed: WellFormed, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case.read(name)
    assert case.expected, "the header expects nothing"
    diagnostics = case.diagnostics()
    compare(diagnostics, case.expected)
    well_formed(diagnostics)
    text = to_text(diagnostics)
    snapshot(BAD / f"{name}.txt", text + "\n")

    with pytest.raises(SystemExit) as exit_:
        main(case.command)
    out, err = capsys.readouterr()
    if any(d.severity == "error" for d in diagnostics):
        assert (exit_.value.code, out) == (1, "")
    else:
        assert exit_.value.code == 0
    assert err == f"{text}\n\n{summary_line(diagnostics)}\n"


@pytest.mark.parametrize("format", ["json", "github"])
def test_formats_of_the_command_line(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["op_unknown_option.yaml", "user_batchnorm_momentum.yaml", "wire_concat_unknown.yaml"]
    with pytest.raises(SystemExit) as exit_:
        main(["validate", "--format", format, *specs])
    assert exit_.value.code == 1
    out, err = capsys.readouterr()
    assert err == ""
    found = [d for spec in specs for d in cnnspec.check(spec)]
    places = [(d.severity, d.slug, d.span.source.name, d.span.line, d.span.column) for d in found]
    if format == "json":
        got = [(d["severity"], d["slug"], d["file"], d["line"], d["column"]) for d in json.loads(out)]
        assert got == places
    else:
        begins = [f"::{severity} file={file},line={line},col={column}," for severity, _, file, line, column in places]
        assert len(out.splitlines()) == len(begins)
        assert all(line.startswith(begin) for line, begin in zip(out.splitlines(), begins, strict=True))


def test_every_file_is_a_case() -> None:
    assert len(CASES) >= 140
    texts = sorted(path.stem for path in BAD.glob("*.txt"))
    assert texts == CASES, "a snapshot without its spec, or the other way round"
    assert {path.suffix for path in BAD.rglob("*.*")} == {".yaml", ".txt"}


# ---- the comparison can fail

_TEXT = """#! unknown-key: kernle
cnnspec: 1
name: bad
input: {channels: 3, size: 32}
layers:
  - {conv: 8, kernle: 3}
  - {conv: 8, kernel: 3}
"""


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (["#! unknown-key: kernel"], "got "),
        (["#! unknown-key@6: kernle"], None),
        (["#! unknown-key@6:15: kernle"], None),
        (["#! missing-key: kernle"], "got "),
        (["#! unknown-key@6: kernl"], "got "),
        (["#! unknown-key@6: kernle: 3"], "got "),
        (["#! unknown-key@6:15:"], "got "),
        (["#! unknown-key: kernle", "#! unknown-key: kernel"], "got "),
        ([], "got "),
        (["#! unknown-key: conv"], "2 times"),
        (["#! unknown-key: nowhere"], "0 times"),
        (["#! unknown-key@7: kernle"], "0 times"),
        (["#! unknown-key@6:14: kernle"], "not there"),
        (["#! unknown-key:"], "needs a line and a column"),
        (["#! Unknown key: kernle"], "is not `#! slug"),
    ],
)
def test_wrong_expectations_are_noticed(
    header: list[str], complaint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(_TEXT)

    def expect() -> None:
        compare(cnnspec.check("spec.yaml"), expectations(header, "spec.yaml", {"spec.yaml": _TEXT}))

    if complaint is None:
        expect()
    else:
        with pytest.raises(AssertionError, match=complaint):
            expect()
