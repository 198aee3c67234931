"""Functions that generated files hold as they stand here, those that need no framework.

A file gets a function's text, and those of what it uses, from here or from a backend's
own snippets. So a snippet imports what the generated file may depend on, and other
snippets; it is laid out at the width of generated code.
"""
