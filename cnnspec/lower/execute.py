"""Generated text, run here: tracebacks show its lines, and it finds the modules that it imports."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def run_text(text: str, file: str, namespace: dict[str, Any]) -> None:
    """Execute `text` in `namespace`; `file` is what tracebacks call it."""
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), namespace)


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
