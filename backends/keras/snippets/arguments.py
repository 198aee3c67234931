"""The command line of a generated `train.py`."""

import argparse
from pathlib import Path

EPOCHS = 1  # the recipe's take the place of these
BATCH_SIZE = 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add, here = parser.add_argument, Path(__file__).parent
    add("--data", type=Path, metavar="DIR", help="where the data are")
    add("--run", type=Path, metavar="DIR", help="for what is written", default=here)
    add("--epochs", type=int, metavar="N", default=EPOCHS)
    add("--batch-size", type=int, metavar="N", default=BATCH_SIZE)
    add("--device", default="", help="gpu:1, or several of TensorFlow: gpu:0,gpu:1")
    add("--weights", type=Path, metavar="FILE", help="to start from")
    add("--resume", action="store_true", help="continue from the newest checkpoint")
    args = parser.parse_args()
    if min(args.epochs, args.batch_size) < 1:
        parser.error("there is at least 1 epoch, and 1 image in a batch")
    return args
