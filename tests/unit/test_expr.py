"""Expressions: their values by hand calculation, their places, and all that is refused."""

import sys
from collections.abc import Iterator

import pytest

from cnnspec.expr import (
    MAX_ITEMS,
    MAX_LENGTH,
    Binary,
    Call,
    Conditional,
    Const,
    ExprError,
    Index,
    ListOf,
    Ref,
    Template,
    Unary,
    UnknownValue,
    Value,
    evaluate,
    parse,
    parse_template,
    show,
    variables,
)

ENV: dict[str, Value] = {
    "x": 8, "y": 3, "z": 0, "half": 0.5, "deep": True, "flat": False, "act": "relu", "d": (3, 4, 6, 3), "none": None,
    "pairs": ((1, 7), (7, 1)), "big": 2**62, "inf": float("inf"), "filters_2": 5,
}  # fmt: skip


def value(text: str) -> Value:
    return evaluate(parse(text), ENV)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$x", 8),
        ("$x * 4", 32),
        ("$x + $y * 2", 14),
        ("($x + $y) * 2", 22),
        ("$x - 1 - 2", 5),
        ("-$x", -8),
        ("+$y", 3),
        ("- -$y", 3),
        ("$x / 2", 4),  # 8 / 2 is a size, a whole number
        ("$x / $y", 8 / 3),
        ("-9 / $y", -3),
        ("$x * $half", 4.0),
        ("$x // $y", 2),
        ("-$x // $y", -3),  # rounds down
        ("$x % $y", 2),
        ("-1 % $y", 2),
        ("$x ** 2", 64),
        ("2 ** $y ** 2", 512),  # from the right
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("$x ** $half", 8**0.5),
        ("2 ** 62", 2**62),
        ("$big * 1.5 / $big", 1.5),
        ("max($x, $y)", 8),
        ("min($d)", 3),
        ("max($x // 2, 16)", 16),
        ("min(1, 2, -3, 4)", -3),
        ("round(2.5)", 2),  # to the even one, as IEEE 754 and Python do
        ("round(3.5)", 4),
        ("round(-$x / $y)", -3),  # -2.67
        ("floor(-$half)", -1),
        ("ceil($x / $y)", 3),
        ("len($d)", 4),
        ("len([])", 0),
        ("$d[0]", 3),
        ("$d[-2]", 6),
        ("$d[$y - 1] * 2", 12),
        ("$pairs[1][0]", 7),
        ("[1, $x, $y * 2]", (1, 8, 6)),
        ("($x, $y)", (8, 3)),
        ("[[$x], []]", ((8,), ())),
        ("$x == 8", True),
        ("$x != 8", False),
        ("$act == 'relu'", True),
        ('$act == "re lu"', False),
        ("$act == 'a$b'", False),
        ("$none == 0", False),
        ("$d == [3, 4, 6, 3]", True),
        ("$x > $y", True),
        ("$x <= 8.0", True),
        ("$x < $y", False),
        ("$x >= 9", False),
        ("not $deep", False),
        ("not $x > 9", True),
        ("$deep and $x > 3", True),
        ("$flat or $x > 3", True),
        ("$deep and $flat or $deep", True),
        ("$deep and ($flat or $flat)", False),
        ("$flat and $x / $z > 1", False),  # what need not be known is not looked at
        ("$deep or $x / $z > 1", True),
        ("512 if $deep else 256", 512),
        ("512 if $flat else 256", 256),
        ("1 if $flat else 2 if $deep else 3", 2),
        ("$x if $deep else $x / $z", 8),
        ("true", True),
        ("False", False),
        ("$act == 'x' or true", True),
        ("0x10 + 1", 17),
        ("1.5e1", 15.0),
        ("$filters_2", 5),
        (" $x\n  + 1 ", 9),
        ("$x ==\n 8", True),
        ("\t$act == 're\tlu'", False),
    ],
)
def test_values(text: str, result: Value) -> None:
    got = value(text)
    assert got == result
    assert type(got) is type(result)


@pytest.mark.parametrize(
    ("text", "message", "covered"),
    [
        # no value
        ("$x / $z", "division by zero", "$x / $z"),
        ("1 + $x // 0", "division by zero", "$x // 0"),
        ("0 ** -1", "division by zero", "0 ** -1"),
        ("$x % 0.0", "division by zero", "$x % 0.0"),
        ("2 ** 63", "the result is too large or not a number", "2 ** 63"),
        ("2 ** 9999999999", "the result is too large", "2 ** 9999999999"),
        ("9.9 ** 9999", "the result is too large", "9.9 ** 9999"),
        ("$big * 4", "the result is too large or not a number", "$big * 4"),
        ("(0 - $x) ** $half", "the result is too large or not a number", "(0 - $x) ** $half"),
        ("$inf - $inf", "the result is too large or not a number", "$inf - $inf"),
        ("max($inf, 1)", "a number here is too large", "max($inf, 1)"),
        ("round($inf)", "a number here is too large", "round($inf)"),
        ("$act + 1", "a number is needed here, this is `relu`", "$act"),
        ("1 + $deep", "a number is needed here, this is true", "$deep"),
        ("-$none", "a number is needed here, this is nothing", "$none"),
        ("$d * 2", "a number is needed here, this is [3, 4, 6, 3]", "$d"),
        ("$act < 'z'", "a number is needed here, this is `relu`", "$act"),
        ("max($act)", "a number is needed here, this is `relu`", "max($act)"),
        ("not $x", "true or false is needed here, this is 8", "$x"),
        ("$deep and $x", "true or false is needed here, this is 8", "$x"),
        ("1 if $act else 2", "true or false is needed here, this is `relu`", "$act"),
        ("$x[0]", "only a list has items, this is 8", "$x"),
        ("$d[4]", "the list has 4 items, counted from 0; there is no item 4", "4"),
        ("$d[-5]", "the list has 4 items, counted from 0; there is no item -5", "-5"),
        ("$d[$half]", "an item's number is needed here, this is 0.5", "$half"),
        ("$d[true]", "an item's number is needed here, this is true", "true"),
        ("$d[0, 1]", "an item's number is needed here, this is [0, 1]", "0, 1"),
        ("len($x)", "`len` takes one list", "len($x)"),
        ("len($d, $d)", "`len` takes one list", "len($d, $d)"),
        ("max()", "`max` takes numbers", "max()"),
        ("max([])", "`max` takes numbers", "max([])"),
        ("round(1, 2)", "`round` takes one number", "round(1, 2)"),
        ("floor()", "`floor` takes one number", "floor()"),
    ],
)
def test_no_value(text: str, message: str, covered: str) -> None:
    expr = parse(text)
    with pytest.raises(ExprError) as error:
        evaluate(expr, ENV)
    assert (error.value.slug, error.value.message) == ("bad-expression", message)
    assert text[error.value.start : error.value.end] == covered


@pytest.mark.parametrize(
    ("text", "message", "covered"),
    [
        ("$x +", "this is not a whole expression", "$x +"),
        ("$x $y", "the expression cannot go on like this", "$x $y"),
        ("$x + * 2", "the expression cannot go on like this", "* 2"),
        ("($x + 1", "a `)` is missing", "($x + 1"),
        ("$x + 1)", "a `(` is missing", "$x + 1)"),
        ("$d[0", "a `]` is missing", "$d[0"),
        ("filters * $x", "`filters` is not known here", "filters"),
        ("sqrt($x)", "there is no function `sqrt`", "sqrt"),
        ("$x($y)", "there is no function `$x`", "$x"),
        ("$x.real", "this is not allowed in an expression", "$x.real"),
        ("$x.__class__", "`__class__` is not a name here", "__class__"),
        ("().__class__.__bases__[0]", "`__class__` is not a name here", "__class__"),
        ("__import__('os')", "`__import__` is not a name here", "__import__"),
        ("_x + $x", "`_x` is not a name here", "_x"),
        ("$x + __debug__", "`__debug__` is not a name here", "__debug__"),
        ("eval('1')", "there is no function `eval`", "eval"),
        ("open('/etc/passwd')", "there is no function `open`", "open"),
        ("max($x, key=3)", "a function's arguments have no names", "key=3"),
        ("max(*$d)", "this is not allowed in an expression", "*$d"),
        ("max(**$d)", "a function's arguments have no names", "**$d"),
        ("lambda: $x", "this is not allowed in an expression", "lambda: $x"),
        ("[i for i in $d]", "this is not allowed in an expression", "[i for i in $d]"),
        ("{1: $x}", "this is not allowed in an expression", "{1: $x}"),
        ("{$x}", "this is not allowed in an expression", "{$x}"),
        ("(y := $x)", "this is not allowed in an expression", "y := $x"),
        ("$d[1:]", "this is not allowed in an expression", "$d[1:]"),
        ("1 < $x < 9", "this is not allowed in an expression", "1 < $x < 9"),
        ("$x in $d", "this is not allowed in an expression", "$x in $d"),
        ("$x is 1", "this is not allowed in an expression", "$x is 1"),
        ("$x & 1", "this is not allowed in an expression", "$x & 1"),
        ("~$x", "this is not allowed in an expression", "~$x"),
        ("$x @ $y", "this is not allowed in an expression", "$x @ $y"),
        ("None", "this is not allowed in an expression", "None"),
        ("...", "this is not allowed in an expression", "..."),
        ("1j * $x", "this is not allowed in an expression", "1j"),
        ("b'x'", "this is not allowed in an expression", "b'x'"),
        ("f'{$x}'", "this is not allowed in an expression", "f'{$x}'"),
        ("r'x'", "a word stands between one pair of quotes", "r'x'"),
        ("'a' 'b'", "a word stands between one pair of quotes", "'a' 'b'"),
        ("'''a'''", "a word stands between one pair of quotes", "'''a'''"),
        ("yield", "this is not allowed in an expression", "yield"),
        ("$x; $y", "the expression cannot go on like this", None),
        ("$x = 1", "the expression cannot go on like this", None),
        ("$x # no", None, None),
        ("$", "`$` must be followed by a name", "$"),
        ("$1 + $x", "`$` must be followed by a name", "$"),
        ("$$x", "`$` must be followed by a name", "$"),
        ("$_x", "`$` must be followed by a name", "$"),
        ("${x} + 1", "a variable has no braces", "${x}"),
        ("1 + ${{ x }}", "a variable has no braces", "${{ x }}"),
        ("$x \\ 2", "a backslash is not allowed here", "\\"),
        ("$x × 2", "`×` is not allowed in an expression", "×"),
        ("$x\0", "`\0` is not allowed in an expression", "\0"),
        ("$x\x0b+ 1", "`\x0b` is not allowed in an expression", "\x0b"),
        ("$x" + " + 1" * 100, f"an expression of more than {MAX_LENGTH} characters", "$x" + " + 1" * 100),
    ],
)
def test_refused(text: str, message: str | None, covered: str | None) -> None:
    with pytest.raises(ExprError) as error:
        parse(text)
    assert error.value.slug == "bad-expression"
    if message is not None:
        assert error.value.message == message
    if covered is not None:
        assert text[error.value.start : error.value.end] == covered


def test_structure_and_places() -> None:
    assert parse("$x") == Ref(0, 2, "x")
    assert parse("$x * 4") == Binary(0, 6, "*", Ref(0, 2, "x"), Const(5, 6, 4))
    assert parse("not $a and $b") == Binary(0, 13, "and", Unary(0, 6, "not", Ref(4, 6, "a")), Ref(11, 13, "b"))
    assert parse("$d[0]") == Index(0, 5, Ref(0, 2, "d"), Const(3, 4, 0))
    assert parse("max($x, 1)") == Call(0, 10, "max", (Ref(4, 6, "x"), Const(8, 9, 1)))
    assert parse("1 if $a else 2") == Conditional(0, 14, Ref(5, 7, "a"), Const(0, 1, 1), Const(13, 14, 2))
    assert parse("[$x, 2]") == ListOf(0, 7, (Ref(1, 3, "x"), Const(5, 6, 2)))


def test_chains_of_and_and_or() -> None:
    a, b, c = Ref(0, 2, "a"), Ref(6, 8, "b"), Ref(12, 14, "c")
    assert parse("$a or $b or $c") == Binary(0, 14, "or", Binary(0, 8, "or", a, b), c)


def test_variables_in_order() -> None:
    text = "max($a, [$b, -$c])[$d] if not $e == $f else $g"
    assert [ref.name for ref in variables(parse(text))] == list("abcdefg")
    assert [text[ref.start : ref.end] for ref in variables(parse(text))] == [f"${c}" for c in "abcdefg"]
    assert list(variables(Const(0, 1, 3))) == []


def test_templates() -> None:
    assert parse_template("layer") == Const(0, 5, "layer")
    expr = parse_template("layer$i")
    assert expr == Template(0, 7, (Const(0, 5, "layer"), Ref(5, 7, "i")))
    assert evaluate(expr, {"i": 3}) == "layer3"
    assert evaluate(parse_template("$a"), {"a": "b"}) == "b"
    assert evaluate(parse_template("x$a.y$b"), {"a": "b", "b": 0}) == "xb.y0"
    assert [ref.name for ref in variables(parse_template("$i$j"))] == ["i", "j"]
    for wrong in (0.5, True, None, (1,)):
        with pytest.raises(ExprError, match="a name is made of words and whole numbers"):
            evaluate(expr, {"i": wrong})


def test_a_variable_without_a_value_is_an_echo() -> None:
    with pytest.raises(UnknownValue):
        evaluate(parse("1 + $broken"), {})
    assert evaluate(parse("1 if $a else $broken"), {"a": True}) == 1


def test_lists_cannot_explode() -> None:
    env: dict[str, Value] = {"v": tuple(range(100))}
    for _ in range(6):
        env["v"] = evaluate(parse("[$v, $v]"), env)
    with pytest.raises(ExprError, match=f"a list of more than {MAX_ITEMS:,} values"):
        for _ in range(60):
            env["v"] = evaluate(parse("[$v, $v]"), env)


def test_too_deep_for_the_stack() -> None:
    """No spec gets there: its expressions are short. A caller near the end of the stack might."""

    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            parse("-" * 250 + "$x")

    with pytest.raises(ExprError, match="nested too deeply"):
        descend(sys.getrecursionlimit() - len(list(_frames())) - 120)
    assert value("-" * 250 + "$x") == 8


def _frames() -> Iterator[object]:
    frame = sys._getframe()
    while frame:
        yield frame
        frame = frame.f_back  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("shown", "written"),
    [
        (None, "nothing"),
        (True, "true"),
        (3, "3"),
        (-0.5, "-0.5"),
        (10**15, "1_000_000_000_000_000"),
        ("relu", "`relu`"),
        ("a" * 60, f"`{'a' * 60}`"),
        ("a" * 61, f"`{'a' * 57}…`"),
        ((1, "a", (True,)), "[1, `a`, [true]]"),
        (tuple(range(9)), "[0, 1, 2, 3, 4, 5, 6, 7, …]"),
        ((), "[]"),
    ],
)
def test_how_values_are_shown(shown: Value, written: str) -> None:
    assert show(shown) == written
