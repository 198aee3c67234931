"""A network's figures for a person to read, or as JSON."""

from cnnspec.summary.report import Loaded, Summary, summarise

__all__ = ["Loaded", "Summary", "summarise"]
