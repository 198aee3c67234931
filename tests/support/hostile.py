"""Specs that no text file of the repository can hold: too large, too deep, unreadable, or made to explode."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HEAD = "cnnspec: 1\nname: hostile\ninput: {channels: 3, size: 32}\n"
GOOD = HEAD + "layers:\n  - {conv: 8, kernel: 3}\n"


class Hostile(NamedTuple):
    """A file's bytes, or what to do with its path instead; the slug that must come, and the text it must underline.

    `covered` is None where there is no text to show.
    """

    content: bytes | Callable[[Path], object]
    slug: str
    covered: str | None = None


def _spec(text: str, slug: str, covered: str | None) -> Hostile:
    return Hostile((HEAD + text).encode(), slug, covered)


def _lists(levels: int) -> str:
    """The billion laughs: every level holds the one before it ten times."""
    lines = ["  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "params:\n" + "\n".join(lines) + "\nlayers: [relu]\n"


def _doubled(levels: int) -> str:
    lines = ["  v0: [1, 1]"] + [f"  v{n}: [$v{n - 1}, $v{n - 1}]" for n in range(1, levels)]
    return "let:\n" + "\n".join(lines) + f"\nlayers:\n  - {{conv: 8, kernel: $v{levels - 1}}}\n"


def _tower(levels: int, body: str) -> str:
    """Blocks, each made of the next; `body` says how."""
    blocks = [f"  b{n}: {body.replace('NEXT', f'b{n + 1}')}" for n in range(levels)]
    return "blocks:\n" + "\n".join(blocks) + f"\n  b{levels}: {{layers: [relu]}}\nlayers: [b0]\n"


def _names(number: int) -> str:
    return ", ".join(f"n{n}" for n in range(number))


QUICK: dict[str, Hostile] = {
    "missing": Hostile(lambda path: None, "unknown-spec"),
    "folder": Hostile(Path.mkdir, "unknown-spec"),
    "empty": Hostile(b"", "empty-file"),
    "utf16": Hostile(GOOD.encode("utf-16"), "not-utf8", "\ufffd"),
    "latin1": Hostile(GOOD.replace("hostile", "käse").encode("latin-1"), "not-utf8", "\ufffd"),
    "cut_off_utf8": Hostile(GOOD.encode() + "# ü".encode()[:-1], "not-utf8", "\ufffd"),
    "null_byte": Hostile(GOOD.replace("hostile", "hos\0tile").encode(), "yaml-character", "\0"),
    "surrogate": Hostile(b'name: "\\ud800"\n', "yaml-syntax", "\\ud800"),
    "hundred_megabytes": Hostile(lambda path: _sparse(path, 100_000_000), "too-large"),
    "many_nodes": _spec(f"labels: [{'a, ' * 260_000}a]\nlayers: [relu]\n", "too-large", "a"),
    "nested_flow": _spec(f"labels: {'[' * 10_000}{']' * 10_000}\n", "too-deep", "["),
    "nested_flow_open": _spec("labels: " + "[" * 100_000, "too-deep", "["),
    "nested_mappings": _spec("params: " + "{a: " * 100_000, "too-deep", "a"),
    "nested_block": _spec("labels:\n" + "".join(f"{' ' * n}-\n" for n in range(1, 1001)), "too-deep", "-"),
    "nested_dashes": _spec("labels:\n" + "- " * 100_000, "too-deep", "-"),
    "alias_bomb": _spec(_lists(12), "too-large", "*a4"),
    "alias_depth": _spec(
        "params:\n  a0: &a0 [x]\n" + "".join(f"  a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100)) + "layers: [relu]\n",
        "too-deep",
        "*a59",
    ),
    "list_bomb": _spec(_doubled(40), "bad-expression", "[$v11, $v11]"),
    "repeat_bomb": _spec("layers:\n  - {relu: , repeat: 1000000000}\n", "too-large", "1000000000"),
    "repeats_multiply": _spec(
        "blocks: {b: {layers: [{relu: , repeat: 99000}]}}\nlayers:\n  - {b: , repeat: 99000}\n", "too-large", "99000"
    ),
    "blocks_too_deep": _spec(_tower(60, "{layers: [NEXT]}"), "too-large", "[b40]"),
    "dense_bomb": _spec("layers: [flatten, {dense: 1000000000000}]\n", "bad-value", "1000000000000"),
    "upsample_bomb": _spec("layers:\n  - {upsample: 2147483647, repeat: 600}\n", "too-large", "upsample"),
    "stride_bomb": _spec(
        "layers:\n  - global_avg_pool: {keep_dims: true}\n"
        "  - residual: {body: [{max_pool: 1, stride: 2147483647, repeat: 40}, {conv: 4, kernel: 1}]}\n",
        "no-projection",
        "residual",
    ),
    "power_bomb": _spec("layers:\n  - {conv: 9 ** (9 ** (9 ** $in_channels)), kernel: 3}\n", "bad-expression", "9 ** (9 ** $in_channels)"),
    "long_line": _spec(f"labels: [{'cat, ' * 200_000}[dog]]\nlayers: [relu]\n", "bad-value", "[dog]"),
    "long_name": _spec(f"layers: [{{relu: , name: {'a' * 1_000_000}}}]\n", "bad-name", "a" * 1_000_000),
    "long_key": _spec(f"layers: [{{relu: , {'k' * 1_000_000}: 3}}]\n", "yaml-syntax", "k" * 1_000_000),
    "long_variable": _spec(f"layers: [{{relu: , if: ${'k' * 1_000_000}}}]\n", "unknown-variable", "$" + "k" * 1_000_000),
    "many_parentheses": _spec(f"labels: [{'(, ' * 100_000}]\nlayers: [rleu]\n", "unknown-op", "rleu"),
    "many_patterns": _spec(
        f"layers: [relu]\ntransfer: {{head: [relu], cases: {{small_similar: {{freeze: [{_names(20_000)}]}}}}}}\n",
        "bad-value",
        f"[{_names(20_000)}]",
    ),
}  # fmt: skip
"""Refused after little work."""

SLOW: dict[str, Hostile] = {
    "blocks_multiply": _spec(_tower(30, "{layers: [NEXT, NEXT]}"), "too-large", None),
    "empty_blocks_multiply": _spec(_tower(30, "{layers: [NEXT, NEXT]}").replace("[relu]", "[]"), "too-large", None),
    "empty_stages_multiply": _spec(
        f"blocks: {{b: {{layers: [{{stage: s$i, each: {{n: [{'1, ' * 20_000}1]}}, do: []}}]}}}}\n"
        "layers: [{b: , repeat: 90000}]\n",
        "too-large",
        None,
    ),
    "empty_rows_multiply": _spec(
        f"blocks: {{e: {{layers: []}}, b: {{layers: [{{table: e, rows: {{{': , '.join(_names(20_000).split(', '))}: }}}}]}}}}\n"
        "layers: [{b: , repeat: 50000}]\n",
        "too-large",
        None,
    ),
    "many_mistakes": _spec("layers:\n" + "  - {foo: 1}\n" * 60_000, "too-many-mistakes", "foo"),
    "many_unknown_layers": _spec(
        "layers:\n" + "  - relu\n" * 20_000 + "  - {relu: , from: nowhere}\n" * 5_000, "too-many-mistakes", "nowhere"
    ),
}  # fmt: skip
"""Refused only after they have grown up to a limit."""


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def write(hostile: Hostile, path: Path) -> Path:
    """Make the file at `path`."""
    if isinstance(hostile.content, bytes):
        path.write_bytes(hostile.content)
    else:
        hostile.content(path)
    return path
