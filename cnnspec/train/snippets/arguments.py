"""The command line of a generated `train.py`."""

import argparse
from pathlib import Path

EPOCHS = 1  # the recipe's take the place of these
BATCH_SIZE = 1
# What a generated file has not: an option's lines are there where it has a meaning.
CACHES = SWITCH = True


def arguments() -> argparse.Namespace:
    """The command line."""
    add = (parser := argparse.ArgumentParser(description=__doc__)).add_argument
    add("--data", type=Path, metavar="DIR", help="where the data are")
    add("-o", "--run", type=Path, metavar="DIR", default=Path(__file__).parent)
    add("--epochs", type=int, metavar="N", default=EPOCHS)
    add("--batch-size", type=int, metavar="N", default=BATCH_SIZE)
    add("--device", default="", help="as the framework calls it; a GPU if there is one")
    add("--weights", type=Path, metavar="FILE", help="to start from")
    add("--resume", action="store_true", help="continue from the newest checkpoint")
    if CACHES:
        add("--features", type=Path, metavar="DIR", help="where these are kept")
        add("--no-features", action="store_true", help="compute them in each epoch")
    if min((args := parser.parse_args()).epochs, args.batch_size) < 1:
        parser.error("there is at least 1 epoch, and 1 image in a batch")
    return args
