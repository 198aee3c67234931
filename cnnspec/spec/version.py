"""The version of the language that a file is written in."""

from cnnspec.diagnostics import Report, Span
from cnnspec.source import Mapping, Scalar, plain
from cnnspec.spec.problems import shown

LANGUAGE = 1


def check_version(root: Mapping, report: Report, what: str, top: Span) -> None:
    """Report a file, a `what`, without `cnnspec: 1`; `top` is where its first line should be."""
    version = root.get("cnnspec")
    if version is None:
        report.add(
            "missing-key",
            f"a {what} needs `cnnspec`, the version of the language",
            top,
            help=f"start the file with `cnnspec: {LANGUAGE}`",
        )
    elif not isinstance(version, Scalar) or version.value != LANGUAGE or isinstance(version.value, bool):
        report.add(
            "bad-version",
            f"this is a {what} of language version {shown(plain(version))}, this cnnspec reads {LANGUAGE}",
            version.span,
            help=f"write `cnnspec: {LANGUAGE}`, or install a newer cnnspec",
        )
