"""Names of classes that the data give."""

import sys
from collections.abc import Sequence

from cnnspec.train.snippets.parts import DataError


def name_classes(found: Sequence[str], outputs: list[str], place: object) -> list[str]:
    """The classes that the data name, and numbers for outputs beyond them."""
    if len(found) > len(outputs):
        message = f"{len(found)} classes, and the network has {len(outputs)} outputs"
        beyond = ", ".join(found[len(outputs) :][:10])
        raise DataError(f"{place}: {message}: none for {beyond}")
    if 0 < len(found) < len(outputs):
        message = f"{len(found)} classes for {len(outputs)} outputs of the network"
        print(f"warning: {place}: {message}", file=sys.stderr)
    return [*found, *outputs[len(found) :]]
