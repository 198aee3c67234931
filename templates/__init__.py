"""Jinja2 templates: the shape of the generated files."""
