"""The typed graph, and how it is made from a spec."""

from cnnspec.graph.build import build_graph, check_cases
from cnnspec.graph.expand import expand
from cnnspec.graph.model import Graph, Instance, Node, Output

__all__ = ["Graph", "Instance", "Node", "Output", "build_graph", "check_cases", "expand"]
