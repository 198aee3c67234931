"""Losses: sums over the images of a batch."""

import torch
import torch.nn.functional as F
from torch import nn


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy, summed over images, each times the weight of its class."""

    weights: torch.Tensor

    def __init__(self, weights: torch.Tensor, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        losses = F.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.label_smoothing
        )
        weights = self.weights.to(losses.dtype)
        return (
            losses * (weights[labels] if labels.ndim == 1 else labels @ weights)
        ).sum()
