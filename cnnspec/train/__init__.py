"""Recipes as training code: generated files, and runs of them."""
