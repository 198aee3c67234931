"""The zoo: one spec per architecture, shared blocks in `blocks/`, training recipes in `recipes/`."""
