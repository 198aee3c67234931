"""What is in the pictures of a run."""

from typing import Any

import pytest

from cnnspec.train import pictures


@pytest.mark.parametrize(
    ("rates", "titles"),
    [([0.1, 0.1], ["loss", "accuracy"]), ([0.1, 0.01], ["learning rate", "loss", "accuracy"])],
)
def test_a_rate_is_drawn_where_it_changes(rates, titles, tmp_path, monkeypatch) -> None:
    pytest.importorskip("matplotlib")
    drawn: list[Any] = []
    monkeypatch.setattr(pictures, "_save", lambda picture, path: drawn.append(picture))
    rows = [
        {"epoch": n, "learning_rate": rate, "seconds": 1.0, "loss": 2.0, "validation_loss": 3.0, "accuracy": 0.5}
        for n, rate in enumerate(rates, 1)
    ]
    pictures.draw_curves(rows, tmp_path / "curves.png")
    assert [axes.get_title() for axes in drawn[0].axes] == titles
    assert [len(axes.lines) for axes in drawn[0].axes if axes.get_title() == "loss"] == [2]
