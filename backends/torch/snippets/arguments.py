"""The command line of a generated `train.py`."""

import argparse
from pathlib import Path

import torch

EPOCHS = 1  # the recipe's take the place of these
BATCH_SIZE = 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="where the data are")
    add("-o", "--run", type=Path, metavar="DIR", default=Path(__file__).parent)
    add("--epochs", type=int, default=EPOCHS)
    add("--batch-size", type=int, default=BATCH_SIZE)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--weights", type=Path, metavar="FILE", help="to start from")
    add("--resume", action="store_true", help="continue from the newest checkpoint")
    if min((args := parser.parse_args()).epochs, args.batch_size) < 1:
        parser.error("there is at least 1 epoch, and 1 image in a batch")
    return args
