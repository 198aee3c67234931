"""The nearest known name for an unknown one."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that `name` was probably meant to be; empty if none is near."""
    from difflib import get_close_matches  # imported here: only a mistake pays for it

    names = sorted(set(known))
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
