"""Specs made to exhaust the machine: each is refused with a located message, soon and within little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hostile import GOOD, HEAD, QUICK, SLOW, Hostile, write
from located import WellFormed

import cnnspec
from cnnspec.diagnostics import Report, Source, Span, SpecError
from cnnspec.diagnostics.model import MAX_DIAGNOSTICS
from cnnspec.diagnostics.render import to_text
from cnnspec.ops.pool import uniform_window
from cnnspec.source import read_file

MEGABYTE = 2**20
MEMORY = 500 * MEGABYTE
SECONDS = 60
_PROGRAM = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
from cnnspec.cli import main
main(["validate", "--format", "json", sys.argv[1]])
"""


def run(program: str, *arguments: str, seconds: int = SECONDS) -> subprocess.CompletedProcess[str]:
    """The program in an interpreter of its own, which gets no more address space and time than a spec is worth."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )


def refused(hostile: Hostile, path: Path) -> None:
    """Assert that the command line refuses the file as expected, under the limits."""
    done = run(_PROGRAM, str(write(hostile, path)))
    assert (done.returncode, done.stderr) == (1, ""), done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert hostile.slug in {d["slug"] for d in found}, found
    assert len(done.stdout) < 600 * len(found) + 2000, "messages that repeat the whole file"


@pytest.mark.parametrize("name", QUICK)
def test_refused(name: str, tmp_path: Path, well_formed: WellFormed) -> None:
    hostile = QUICK[name]
    path = write(hostile, tmp_path / "spec.yaml")
    found = cnnspec.check(path)
    well_formed(found)
    (d,) = (d for d in found if d.slug == hostile.slug)
    assert d.span.source.name == str(path)
    assert d.span.text == (hostile.covered or "")
    assert len(to_text([d])) < 2000


@pytest.mark.parametrize("name", ["hundred_megabytes", "alias_bomb", "nested_flow_open", "list_bomb", "many_nodes"])
def test_refused_within_limits(name: str, tmp_path: Path) -> None:
    refused(QUICK[name], tmp_path / "spec.yaml")


def test_blocks_that_multiply_within_limits(tmp_path: Path) -> None:
    refused(SLOW["blocks_multiply"], tmp_path / "spec.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_all_refused_within_limits(name: str, tmp_path: Path) -> None:
    refused((QUICK | SLOW)[name], tmp_path / "spec.yaml")


def test_limits_can_be_exceeded() -> None:
    greedy = run(_PROGRAM.replace("from cnnspec", f"x = bytes({MEMORY})\nfrom cnnspec"), "nothing.yaml")
    assert "MemoryError" in greedy.stderr
    with pytest.raises(subprocess.TimeoutExpired):
        run("while True: pass", seconds=1)


# ---- what only a file can be


def test_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert cnnspec.check(path) == []
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("cnnspec:", "cnnpsec:").encode())
    (d,) = cnnspec.check(path)
    assert (d.slug, d.span.text, d.span.line, d.span.column) == ("unknown-key", "cnnpsec", 1, 1)


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
def test_line_endings(ending: str, tmp_path: Path, well_formed: WellFormed) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(GOOD.replace("kernel", "kernle").replace("\n", ending).encode())
    found = cnnspec.check(path)
    well_formed(found)
    (d,) = found
    assert (d.slug, d.span.text, d.span.line, d.span.column) == ("unknown-key", "kernle", 5, 15)
    assert "\r" not in to_text(found)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(GOOD)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # file modes do not bind the superuser, who may run this
    (d,) = cnnspec.check(path)
    assert (d.slug, d.message) == ("unreadable-file", f"cannot read `{path}`: Permission denied")


@pytest.mark.parametrize("reference", ["resnet5O", "x" * 5000, "\0", "~", "no/such/file", "..", "résnet50"])
def test_references_to_nothing(reference: str, well_formed: WellFormed) -> None:
    found = cnnspec.check(reference)
    well_formed(found)
    assert [d.slug for d in found] == ["unknown-spec"]
    assert ("did you mean `resnet50`?" in found[0].help) == (reference in ("resnet5O", "résnet50"))


def test_chain_of_extends_ends(tmp_path: Path) -> None:
    for n in range(20):
        (tmp_path / f"s{n}.yaml").write_text(HEAD + f"extends: s{n + 1}.yaml\n")
    (tmp_path / "s20.yaml").write_text(GOOD)
    (d,) = cnnspec.check(tmp_path / "s0.yaml")
    assert (d.slug, d.span.text) == ("cyclic-extends", "s16.yaml")
    assert cnnspec.check(tmp_path / "s10.yaml") == []


def test_extends_through_a_link_is_seen(tmp_path: Path) -> None:
    spec, link = tmp_path / "spec.yaml", tmp_path / "link.yaml"
    spec.write_text(HEAD + "extends: link.yaml\n")
    link.symlink_to(spec)
    (d,) = cnnspec.check(spec)
    assert (d.slug, d.span.text) == ("cyclic-extends", "link.yaml")


def test_file_within_the_size_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(GOOD.encode() + b"# " + b"x" * (4_000_000 - len(GOOD) - 2))
    report = Report()
    assert read_file(path, "spec.yaml", report)
    assert not report.diagnostics
    path.write_bytes(path.read_bytes() + b"x")
    assert read_file(path, "spec.yaml", report) is None
    assert [d.slug for d in report.diagnostics] == ["too-large"]


# ---- the limits themselves


def test_report_ends_after_a_hundred_mistakes() -> None:
    report, source = Report(), Source("s", "x" * 200)
    for n in range(MAX_DIAGNOSTICS):
        report.add("bad-value", "m", Span(source, n, n + 1))
        report.add("bad-value", "m", Span(source, n, n + 1))  # the same one does not count
    with pytest.raises(SpecError) as error:
        report.add("bad-value", "m", Span(source, 150, 151))
    assert [d.slug for d in error.value.diagnostics] == ["bad-value"] * 100 + ["too-many-mistakes"]


def test_messages_are_cut() -> None:
    report = Report()
    report.add("bad-value", "m" * 10_000, Span(Source("s", "x"), 0, 1), help="h" * 10_000)
    (d,) = report.diagnostics
    assert len(d.message) < 600
    assert len(d.help) < 600


def test_uniform_windows_by_their_definition() -> None:
    """The closed form against the list of all windows, which a large map has no memory for."""

    def listed(n: int, out: int) -> tuple[int, int] | None:
        starts = [i * n // out for i in range(out)]
        sizes = {-(-(i + 1) * n // out) - start for i, start in enumerate(starts)}
        steps = {b - a for a, b in pairwise(starts)} or {n}
        return (sizes.pop(), steps.pop()) if len(sizes) == len(steps) == 1 else None

    for n in range(1, 80):
        for out in range(1, n + 1):
            assert uniform_window(n, out) == listed(n, out), (n, out)
    assert uniform_window(2 * 10**9, 10**9) == (2, 2)


def test_a_large_network_is_none_of_them(tmp_path: Path) -> None:
    """Ten thousand layers, each with its norm and activation."""
    path = tmp_path / "spec.yaml"
    path.write_text(HEAD + "layers:\n  - {conv: 8, kernel: 3, norm: batch_norm, activation: relu, repeat: 10000}\n")
    assert len(cnnspec.load(path).graph.nodes) == 30_000
    path.write_text(path.read_text().replace("10000", "10001"))
    assert [d.slug for d in cnnspec.check(path)] == ["too-large"]


def test_a_library_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "library.yaml").write_text("blocks: {b: {layers: [relu]}}\n")
    path = tmp_path / "spec.yaml"
    path.write_text(HEAD + "use: [library.yaml, ./library.yaml]\nlayers: [b]\n")
    assert cnnspec.check(path) == []
