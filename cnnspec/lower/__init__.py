"""From the graph to what backends translate."""
