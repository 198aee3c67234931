"""What is wrong with a spec, as data: a slug, a message, the text it is about, and what to do.

A leaf of the package: everything may import it, it imports nothing of cnnspec. Rendering lives apart, in
`cnnspec.diagnostics.render`.
"""

from cnnspec.diagnostics.model import Diagnostic, Label, Report, Severity, Source, Span, SpecError
from cnnspec.diagnostics.suggest import did_you_mean, nearest

__all__ = ["Diagnostic", "Label", "Report", "Severity", "Source", "Span", "SpecError", "did_you_mean", "nearest"]
