"""Pydantic's findings as diagnostics with a place in the text."""

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any

from pydantic import ValidationError

from cnnspec.diagnostics import Report, Span, did_you_mean, nearest
from cnnspec.expr import show

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "none_required": "nothing",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
    "string_pattern_mismatch": "text of another form",
    "string_too_short": "text",
}

_CHOICES = {  # what `cnnspec.spec.tagged` finds: slug, message, help
    "unknown_choice": ("unknown-name", "`{name}` is not a choice for {section}", ""),
    "unknown_option": ("unknown-key", "`{owner}` has no `{name}`", ""),
    "two_choices": (
        "two-kinds",
        "`{first}` and `{name}` stand in one mapping",
        "each choice is an entry of its own",
    ),
    "given_twice": ("duplicate-key", "`{name}` is given twice", "keep one of them"),
    "no_main": (
        "bad-value",
        "`{owner}` takes no value of its own",
        "options go into a mapping: `{owner}: {{{option}: …}}`",
    ),
}


def report_invalid(
    error: ValidationError,
    report: Report,
    place: Callable[[tuple[str | int, ...], bool], Span],
    *,
    what: str,
    known: Callable[[tuple[str | int, ...]], Iterable[str]],
    skip_missing: Iterable[str] = (),
    path: str = "",
    hints: Mapping[str, str] = {},
    label: Callable[[tuple[str | int, ...]], str] = lambda loc: "",
) -> None:
    """Report every finding of `error`.

    `place(location, key)` gives the span of the value at a location, or of its key; `what` names the thing in
    messages; `known(location)` lists the names allowed there; a missing field in `skip_missing` is not a
    mistake; `hints` are the help for names that people bring from elsewhere; `label(location)` is the note at a wrong
    value.
    """
    findings = error.errors(include_url=False, include_context=True)
    missing: dict[tuple[str | int, ...], list[str]] = {}
    meant = {
        (*finding["loc"][:-1], nearest(str(finding["loc"][-1]), known(finding["loc"][:-1])))
        for finding in findings
        if finding["type"] == "extra_forbidden"
    }
    for finding in findings:
        loc = finding["loc"]
        field = str(loc[-1]) if loc else ""
        kind = finding["type"]
        if kind == "missing":
            if field not in skip_missing and loc not in meant:
                missing.setdefault(loc[:-1], []).append(field)
        elif kind == "extra_forbidden":
            report.add(
                "unknown-key",
                f"{_in(what, loc[:-1])} has no `{field[:60]}`",
                place(loc, True),
                help=hints.get(field) or did_you_mean(field, known(loc[:-1])),
                path=path,
            )
        elif kind in _CHOICES:
            slug, message, help = _CHOICES[kind]
            context = {"section": _in(what, loc[:-1]), **finding["ctx"]}
            if help:
                help = help.format(**context)
            else:
                help = hints.get(context["name"]) or did_you_mean(context["name"], context["known"])
            report.add(slug, message.format(**context), place(loc, kind != "no_main"), help=help, path=path)
        else:
            text, help = _describe(finding)
            if field == "[key]":  # pydantic's name for a key that is itself wrong
                report.add(
                    "unknown-name", f"{_in(what, loc[:-2])}: {text}", place(loc[:-1], True), help=help, path=path
                )
                continue
            named = f"`{field}`" if isinstance(loc[-1] if loc else 0, str) else "" if loc else what
            message = f"{named}: {text}" if named else text
            report.add("bad-value", message, place(loc, False), label=label(loc), help=help, path=path)
    for loc, fields in missing.items():
        report.add("missing-key", f"{_in(what, loc)} needs {listed(fields)}", place(loc, True), path=path)


def listed(names: Iterable[str]) -> str:
    """Names for a message: `a`, `b` and `c`."""
    *most, last = (f"`{name}`" for name in names)
    return f"{', '.join(most)} and {last}" if most else last


def _in(what: str, loc: tuple[str | int, ...]) -> str:
    names = [str(step) for step in loc if isinstance(step, str)]
    return f"`{names[-1]}`" if names else what


def _describe(finding: Any) -> tuple[str, str]:
    kind, context, value = finding["type"], finding.get("ctx", {}), finding["input"]
    if kind in ("bad_value", "value_error"):
        return finding["msg"].removeprefix("Value error, "), context.get("help", "")
    if kind == "literal_error":
        names = [part.strip(" '") for part in context["expected"].replace(" or ", ", ").split(",")]
        return f"expected {context['expected']}, got {shown(value)}".replace("'", "`"), (
            did_you_mean(value, names) if isinstance(value, str) else ""
        )
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{finding['msg'][0].lower()}{finding['msg'][1:]}, got {shown(value)}", ""
    help = ""
    if isinstance(value, str) and kind in ("int_type", "float_type", "int_from_float"):
        help = "a variable needs a `$` in front of it, a number no quotes"
    if isinstance(value, float) and kind == "int_type" and isfinite(value):
        help = "in an expression `//` divides and rounds down, `round(…)` rounds"
        if value.is_integer():
            help = f"write {value:.0f}, or in an expression `round(…)`"
    if kind in ("less_than", "less_than_equal") and context.get("lt", context.get("le")) == 1 and 5 <= value <= 100:
        help = f"a fraction of 1, not percent: did you mean {value / 100:g}?"
    if kind == "list_type" and isinstance(value, str) and value:
        help = f"a list of one: [{value}]"
    if kind == "bool_type" and str(value).lower() in ("yes", "no", "on", "off", "y", "n"):
        help = "`yes`, `no`, `on` and `off` are text in YAML 1.2"
    limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
    return f"expected {expected.format(**limits)}, got {shown(value)}", help


def shown(value: Any) -> str:
    """A value for a message, containers by their kind only."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return show(value)
