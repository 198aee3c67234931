"""The language: from the tree of a file to validated definitions, not yet expanded."""
