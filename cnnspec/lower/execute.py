"""Generated text, run here: tracebacks show its lines, and it finds the modules that it imports."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from types import ModuleType
from typing import Any


def run_text(text: str, file: str, namespace: dict[str, Any]) -> None:
    """Execute `text` in `namespace`; `file` is what tracebacks call it."""
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), namespace)


def lasting_module(text: str, title: str) -> ModuleType:
    """The module of `text`, made once and importable from then on: its classes can be pickled, and have their source.

    It is called as its `title`, and by what tells texts apart.
    """
    title += f" {sha256(text.encode()).hexdigest()[:12]}"
    name = re.sub("[^A-Za-z0-9_]", "_", title)
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = f"<{title}>"  # where `inspect` and tracebacks find its lines
        run_text(text, module.__file__, module.__dict__)
        sys.modules[name] = module
    return sys.modules[name]


@contextmanager
def importable(**modules: ModuleType) -> Iterator[None]:
    """Meanwhile, these modules in place of any with their names."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
