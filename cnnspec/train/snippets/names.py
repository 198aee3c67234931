"""Names of classes that the data give."""

import sys
from collections.abc import Sequence

from cnnspec.train.snippets.parts import DataError


def name_classes(found: Sequence[str], outputs: list[str], place: object) -> list[str]:
    """The classes that the data name; outputs beyond them are called `output N`."""
    if len(found) > len(outputs):
        message = f"{len(found)} classes, and the network has {len(outputs)} outputs"
        beyond = ", ".join(found[len(outputs) :][:10])
        raise DataError(f"{place}: {message}: none for {beyond}")
    if not found:
        return outputs
    if len(found) < len(outputs):
        counted = f"{len(found)} class{'es' if len(found) > 1 else ''}"
        message = f"{counted} for {len(outputs)} outputs of the network"
        print(f"warning: {place}: {message}", file=sys.stderr)
    return [*found, *(f"output {i}" for i in range(len(found), len(outputs)))]
