"""Weights: canonical arrays by parameter path, their files, their initial values, and conversion from other names."""
