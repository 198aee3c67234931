"""torchvision's models, also where its compiled operators do not fit the PyTorch that is installed.

The models do without these operators; only importing what registers them fails.
"""

import sys
from types import ModuleType

try:
    from torchvision import models
except RuntimeError:
    for imported in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[imported]
    sys.modules["torchvision._meta_registrations"] = ModuleType("torchvision._meta_registrations")
    from torchvision import models

__all__ = ["models"]
