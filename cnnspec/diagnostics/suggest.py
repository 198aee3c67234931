"""The nearest known name for an unknown one."""

from collections.abc import Iterable

_MAX_LENGTH = 100
_MAX_NAMES = 500


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that `name` was probably meant to be; empty if none is near."""
    from difflib import get_close_matches  # imported here: only a mistake pays for it

    name = name[:_MAX_LENGTH]
    names = sorted(set(known))
    if len(names) > _MAX_NAMES:  # comparing takes its time: those that begin alike are the likeliest
        names = [n for n in names if n[:1] == name[:1] and abs(len(n) - len(name)) <= 4][:_MAX_NAMES]
    close = get_close_matches(name, names, n=1, cutoff=0.6) or get_close_matches(
        name.lower().replace("-", "_").replace(" ", "_"), names, n=1, cutoff=0.6
    )
    return close[0] if close else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A help text: the nearest of `known`, or all of them where they are few and none is near."""
    names = sorted(set(known))
    if close := nearest(name, names):
        return f"did you mean `{close}`?"
    if 0 < len(names) <= 12:
        return "known here: " + ", ".join(f"`{n}`" for n in names)
    return ""
