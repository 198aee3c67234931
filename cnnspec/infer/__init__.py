"""What a graph costs: parameters, multiply-adds, memory of the activations, receptive fields."""

from cnnspec.infer.cost import Cost, LayerCost, Totals, cost

__all__ = ["Cost", "LayerCost", "Totals", "cost"]
