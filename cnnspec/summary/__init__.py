"""A network's figures for a person to read, or as JSON."""

from cnnspec.summary.report import Summary, summarise

__all__ = ["Summary", "summarise"]
