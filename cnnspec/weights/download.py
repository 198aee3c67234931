"""Downloads published weights into the user's cache, once."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from functools import partial
from hashlib import file_digest, md5, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cnnspec.diagnostics import Report, Source, Span
from cnnspec.lower.backend import MissingDependency
from cnnspec.weights.foreign import replacing

if TYPE_CHECKING:
    from cnnspec.weights.published import Published

_NEEDED = {"torchvision": ("torch", "torch"), "keras": ("h5py", "keras")}
"""What reads a publisher's files, and the extra that has it: no use to download them without."""
_ABANDONED = 3600  # seconds without a byte, after which a part of a file is nobody's


class _Other(Exception):
    """What came is not what was published; the text says why."""


def fetch(entry: Published, report: Report) -> Path | None:
    """The published file in the cache, downloaded if need be; None with the reason in `report` where that fails."""
    package, extra = _NEEDED[entry.publisher]
    for needed in (package, "pooch"):
        if find_spec(needed) is None:
            raise MissingDependency(needed, extra)
    import pooch

    path = Path(pooch.os_cache("cnnspec")) / entry.publisher / entry.file
    before = ""
    try:
        if path.is_file():
            if not (before := _mismatch(path, entry)):
                return path
            path.unlink(missing_ok=True)  # another process may see it too
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        with replacing(path) as part:
            progress = sys.stderr.isatty() and find_spec("tqdm") is not None
            print(f"downloading {entry.url}", file=sys.stderr, flush=True)
            pooch.HTTPDownloader(progressbar=progress)(entry.url, str(part), None)
            if wrong := _mismatch(part, entry):
                raise _Other(f"what came is not the published file, {wrong}")
    except (_Other, OSError, ValueError) as error:
        reason = _why(error, entry.url)
        if before:
            reason += f"; what was at `{path}` is not the published file either, {before}, and is removed"
        help = f"put the file at {path}, or name one: `{entry.publisher}:FILE`"
        report.add(
            "no-download", f"cannot download {entry.url}: {reason}", Span(Source(entry.url, ""), 0, 0), help=help
        )
        return None
    return path


def _mismatch(path: Path, entry: Published) -> str:
    """How a file's checksum differs from the published one; empty if it does not."""
    with path.open("rb") as file:
        digest = file_digest(file, sha256 if entry.algorithm == "sha256" else partial(md5, usedforsecurity=False))
    found = digest.hexdigest()[: len(entry.checksum)]
    what = "its SHA-256 begins with" if entry.algorithm == "sha256" else "its MD5 is"
    return "" if found == entry.checksum else f"{what} {found} and not {entry.checksum}"


def _clear(path: Path) -> None:
    """Remove what downloads that were killed left of a file."""
    for part in path.parent.glob(f".*.part.{path.name}"):
        with suppress(FileNotFoundError):  # another process has just finished it
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()


def _why(error: Exception, url: str) -> str:
    """Why a download failed, in a few words."""
    host = urlsplit(url).netloc
    response = getattr(error, "response", None)
    if isinstance(error, _Other):
        return str(error)
    if response is not None:
        return f"{host} answers {response.status_code} {response.reason}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"the connection to {host} failed"
