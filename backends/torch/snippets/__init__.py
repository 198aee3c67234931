"""Functions that generated training code holds as they stand here."""
