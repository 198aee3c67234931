"""cnnspec: a declarative model-spec compiler for convolutional networks.

import cnnspec

net = cnnspec.load("resnet50", classes=10)
print(net.summary())
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnspec.api import Net, check, ensemble, load, schema, zoo
    from cnnspec.diagnostics import Diagnostic, SpecError
    from cnnspec.train.folds import Folds
    from cnnspec.train.run import Run, Stopped

__all__ = ["Diagnostic", "Folds", "Net", "Run", "SpecError", "Stopped", "check", "ensemble", "load", "schema", "zoo"]


def __getattr__(name: str) -> Any:
    """Import on first use: `import cnnspec` alone costs nothing."""
    import importlib

    if name in ("Diagnostic", "SpecError"):
        return getattr(importlib.import_module("cnnspec.diagnostics"), name)
    if name == "Folds":
        return getattr(importlib.import_module("cnnspec.train.folds"), name)
    if name in ("Run", "Stopped"):
        return getattr(importlib.import_module("cnnspec.train.run"), name)
    if name in __all__:
        return getattr(importlib.import_module("cnnspec.api"), name)
    raise AttributeError(f"module 'cnnspec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
