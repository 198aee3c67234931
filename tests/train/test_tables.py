"""Tables of which classes were taken for which."""

import numpy as np

from cnnspec.train.snippets.records import write_table
from cnnspec.train.snippets.tables import class_rows, confusion_rows

COUNTS = np.array([[3, 1, 0], [0, 0, 0], [2, 2, 0]])
CLASSES = ["cat", "dog, wild", "emu"]


def test_shares_of_none_are_empty(tmp_path):
    """No image is of the second class, and none was taken for the third."""
    write_table(tmp_path / "a.csv", class_rows(COUNTS, CLASSES))
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "class,precision,recall,images",
        "cat,0.6,0.75,4",
        '"dog, wild",0.0,,0',
        "emu,,0.0,4",
    ]


def test_confusion(tmp_path):
    write_table(tmp_path / "a.csv", confusion_rows(COUNTS, CLASSES))
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        'class,cat,"dog, wild",emu',
        "cat,3,1,0",
        '"dog, wild",0,0,0',
        "emu,2,2,0",
    ]
