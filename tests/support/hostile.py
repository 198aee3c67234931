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


def _beside(path: Path, files: dict[str, str], text: str) -> None:
    """A spec with other files beside it."""
    for name, content in files.items():
        path.with_name(name).write_text(content)
    path.write_text(HEAD + text)


def _ones(number: int) -> str:
    return ", ".join(["1"] * number)


def _stars(number: int, letter: str) -> list[str]:
    """So many patterns of 200 stars around a letter."""
    return [f"'{'*' * n}{letter}{'*' * (200 - n)}'" for n in range(1, number + 1)]


_SUMS = "+".join(["max($l)"] * 30)
_STARS = "*a" * 30
_CASES = ("small_similar", "small_different", "large_similar", "large_different")


def _patterns(what: str) -> str:
    """A hundred patterns, for a list or, where `what` says so, a mapping."""
    return ", ".join(f"'*.{_STARS}{n}{what}" for n in range(100))


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
    "many_parameters": _spec(
        f"params: {{{_names(20_000).replace(',', ': 1,')}: 1}}\nlayers: [relu]\n", "too-large", "params"
    ),
    "long_lists_at_the_top": _spec(
        f"params: {{l: [{_ones(100_000)}]}}\nlet: {{v: {_SUMS}, w: {_SUMS}}}\nlayers: [relu]\n", "too-large", "$l"
    ),
    "long_lists_in_a_section": _spec(
        f"params: {{l: [{_ones(100_000)}]}}\nlayers: [relu]\npreprocess: {{mean: [{_SUMS}, {_SUMS}]}}\n",
        "too-large",
        "$l",
    ),
    "long_lists_in_layers": _spec(
        f"params: {{l: [{_ones(100_000)}]}}\nblocks: {{b: {{layers: [{{conv: max($l), kernel: 1}}]}}}}\n"
        "layers: [{b: , repeat: 50}]\n",
        "too-large",
        "$l",
    ),
    "long_expressions": _spec(
        "layers:\n" + f"  - {{conv: $in_channels{' ** 1' * 50}, kernel: 1}}\n" * 2_500,
        "too-large",
        "$in_channels" + " ** 1" * 50,
    ),
    "many_parameters_in_every_use": _spec(
        f"params: {{{_names(256).replace(',', ': 1,')}: 1}}\nblocks: {{b: {{layers: [relu]}}}}\n"
        "layers:\n" + "  - {b: , repeat: 100}\n" * 90,
        "too-large",
        "b",
    ),
    "stars_that_cost": _spec(
        "layers: [relu]\ntransfer: {head: [relu], cases: {large_similar: {freeze: ['*'], unfreeze: {"
        + ", ".join(f"{epoch}: [{', '.join(_stars(100, 'relu'[epoch - 1]))}]" for epoch in (1, 2, 3, 4))
        + f"}}, learning_rate: {{{': 1, '.join(_stars(100, 'r'))}: 1}}}}}}}}\n",
        "too-large",
        "'" + "*" * 98 + "r" + "*" * 102 + "'",
    ),
    "stars_that_cost_in_a_recipe": _spec(
        "layers: [{conv: 8, kernel: 3}]\ntrain: {recipe: resnet, initializers: {layers: {"
        + ": {bias: zeros}, ".join(star for letter in "conv" for star in _stars(200, letter)) + ": {bias: zeros}}}}\n",
        "too-large",
        "'" + "*" * 98 + "n" + "*" * 102 + "'",
    ),
    "many_libraries": _spec(f"use: [{_names(20_000)}]\nlayers: [relu]\n", "too-large", f"[{_names(20_000)}]"),
    "one_library_by_many_names": Hostile(
        lambda path: _beside(
            path,
            {"library.yaml": "blocks: {b: {layers: [relu]}}\n"},
            f"use: [{', '.join('./' * n + 'library.yaml' for n in range(33))}]\nlayers: [b]\n",
        ),
        "too-large",
        f"[{', '.join('./' * n + 'library.yaml' for n in range(33))}]",
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
    "long_list_in_every_use": _spec(
        f"params: {{l: 4}}\nblocks: {{b: {{let: {{v: [{', '.join(['$l'] * 9_000)}]}}, layers: [{{conv: '$v[0]', kernel: 1}}]}}}}\n"
        "layers: [{b: , repeat: 9000}]\n",
        "too-large",
        None,
    ),
    "many_variables_in_every_use": _spec(
        f"blocks: {{b: {{let: {{{', '.join(f'v{n}: $in_channels' for n in range(256))}}}, layers: [relu]}}}}\n"
        "layers: [{b: , repeat: 9000}]\n",
        "too-large",
        None,
    ),
    "long_text_in_every_use": _spec(
        f"params: {{s: {'a' * 3_000_000}}}\nblocks: {{b: {{layers: [{{relu: , name: x$s}}]}}}}\n"
        "layers: [{b: , repeat: 9000}]\n",
        "too-large",
        None,
    ),
    "many_merged_in_every_use": _spec(
        f"blocks: {{b: {{layers: [{{relu: , name: a}}, {{add: [{', '.join(['a'] * 100_000)}]}}]}}}}\n"
        "layers: [{b: , repeat: 9000}]\n",
        "too-large",
        None,
    ),
    "empty_blocks_multiply_threefold": _spec(
        _tower(38, "{layers: [NEXT, NEXT, NEXT]}").replace("[relu]", "[]"), "too-large", None
    ),
    "stars_on_many_layers": _spec(
        "blocks: {b: {layers: [{relu: , name: " + "a" * 100 + "}]}}\nlayers: [{b: , repeat: 14000}]\ntransfer: {head: ['0'], cases: {"
        + ", ".join(f"{case}: {{freeze: [{_patterns(chr(39))}], learning_rate: {{{_patterns(chr(39) + ': 1')}}}}}" for case in _CASES)
        + "}}\n",
        "too-many-mistakes",
        None,
    ),
    "patterns_on_many_layers": _spec(
        "layers: [{relu: , repeat: 29000}]\ntransfer: {head: ['0'], cases: {small_similar: {freeze: ["
        + ", ".join(f"'{'*' * n}'" for n in range(1, 101)) + "]}}}\n",
        "too-large",
        None,
    ),
    "initializers_on_many_layers": _spec(
        "layers: [{relu: , repeat: 29000}]\ntrain: {recipe: resnet, initializers: {layers: {"
        + ", ".join(f"'{'*' * n}': {{bias: zeros}}" for n in range(1, 101)) + "}}}\n",
        "too-large",
        None,
    ),
    "misspelt_among_many_blocks": _spec(
        f"blocks: {{{', '.join(f'abcde{n}x: {{layers: [relu]}}' for n in range(20_000))}}}\n"
        "layers: [" + ", ".join(f"abcdf{n}y" for n in range(110)) + "]\n",
        "too-many-mistakes",
        None,
    ),
    "misspelt_long_names": _spec(
        f"blocks: {{{', '.join(f'{chr(97) * 30}{chr(98) * 20}{n:04}: {{layers: [relu]}}' for n in range(3_000))}}}\n"
        "layers: [" + ", ".join(f"{chr(97) * 20}{chr(98) * 30}x{n:03}" for n in range(110)) + "]\n",
        "too-many-mistakes",
        None,
    ),
    "misspelt_in_every_use": _spec(
        "blocks: {b: {layers: [relu, {relu: , from: nowhere}]}}\nlayers: [{b: , repeat: 14000}]\n", "unknown-layer", "nowhere"
    ),
    "many_kinds": _spec(
        f"blocks: {{{', '.join(f'b{n}: {{layers: [relu]}}' for n in range(12_000))}}}\n"
        f"layers: [{', '.join(f'b{n}' for n in range(12_000))}, rleu]\n",
        "unknown-op",
        "rleu",
    ),
    "many_large_files": Hostile(
        lambda path: _beside(
            path,
            {
                f"s{n}.yaml": f"extends: s{n + 1}.yaml\nlabels: [{', '.join(['[1]'] * 110_000)}]\n"
                for n in range(15)
            },
            "extends: s0.yaml\n",
        ),
        "too-large",
        None,
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
