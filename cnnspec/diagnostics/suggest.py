"""The nearest known name for an unknown one."""

from bisect import bisect
from collections.abc import Iterable

_MAX_LENGTH = 60  # of names that anyone would mistype
_MAX_CHARACTERS = 6000  # compared with all of the known names: it takes its time
_NEIGHBOURS = 25  # on either side, where there are more


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that `name` was probably meant to be; empty if none is near."""
    from difflib import get_close_matches  # imported here: only a mistake pays for it

    if not name or len(name) > _MAX_LENGTH:
        return ""
    names = list(known)
    if len(names) * len(name) > _MAX_CHARACTERS:  # those that begin alike are the likeliest, and stand side by side
        names = sorted(n for n in names if n[:1] == name[:1] and abs(len(n) - len(name)) <= 4)
        at = bisect(names, name)
        names = names[max(at - _NEIGHBOURS, 0) : at + _NEIGHBOURS]
    names = sorted({n for n in names if len(n) <= _MAX_LENGTH})
    if swapped := {name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(len(name) - 1)}.intersection(names):
        return min(swapped)  # `form` is as near to `norm` as to `from`, but two letters swapped are the commonest slip
    plain = name.lower().replace("-", "_").replace(" ", "_")
    for spelling in dict.fromkeys((name, plain)):
        if close := get_close_matches(spelling, names, n=1, cutoff=0.6):
            return close[0]
    return ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A help text: the nearest of `known`, or all of them where they are few and none is near."""
    names = set(known)
    if close := nearest(name, names):
        return f"did you mean `{close}`?"
    if 0 < len(names) <= 12:
        return "known here: " + ", ".join(f"`{n}`" for n in sorted(names))
    return ""
