"""Generated files from templates, which have their shape and slots, and know no op."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from cnnspec.lower.python import docstring

if TYPE_CHECKING:
    from jinja2 import Template


def model_file(title: str, imports: Sequence[str], parts: Sequence[str]) -> str:
    """`model.py`: what it is, what it imports, and its functions and classes in order."""
    return render("model.py.jinja", docstring=docstring(title), imports=imports, parts=parts)


def render(name: str, **slots: object) -> str:
    """The text of a template with its slots filled."""
    return _template(name).render(**slots)


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(files("cnnspec.templates").joinpath(name).read_text(encoding="utf-8"))
