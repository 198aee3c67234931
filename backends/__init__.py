"""The backends that come with cnnspec; the core finds them by entry point."""
