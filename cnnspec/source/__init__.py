"""YAML text to a tree of plain values in which every node knows where it stands."""

from cnnspec.source.reader import read_file, read_text, read_value
from cnnspec.source.tree import Mapping, Node, Scalar, Sequence, grown, locate, plain

__all__ = ["Mapping", "Node", "Scalar", "Sequence", "grown", "locate", "plain", "read_file", "read_text", "read_value"]
