"""How fast the front end answers, as ratios against keras.applications and against itself.

    python benchmarks/frontend.py [--rounds N]

Needs the extra `keras`. Prints one line a target and exits 1 if one is missed.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import Run, in_turn, ratio, row

KERAS = "from keras.applications import VGG16; VGG16(weights=None).summary()"


def cnnspec(*arguments: str) -> list[str]:
    """The command line of the installation that runs this script."""
    return [str(Path(sys.executable).with_name("cnnspec")), *arguments]


def long_spec(layers: int) -> str:
    """A spec of that many layers, one line each."""
    body = "".join(f"  - {{conv: 8, kernel: 3, name: layer{i}}}\n" for i in range(layers))
    return f"cnnspec: 1\nname: long\ninput: {{channels: 3, size: 32}}\nlayers:\n{body}"


def main() -> int:
    """Measure, print, and say whether all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder, "short.yaml"), Path(folder, "long.yaml")
        short.write_text(long_spec(1_000))
        long.write_text(long_spec(10_000))
        small = in_turn(
            {
                "vgg16": cnnspec("summary", "vgg16"),
                "resnet152": cnnspec("summary", "resnet152"),
                "nothing": cnnspec("--version"),
                "1,000 layers": cnnspec("validate", str(short)),
                "10,000 layers": cnnspec("validate", str(long)),
            },
            rounds,
        )
        peer = in_turn(
            {"keras": [sys.executable, "-c", KERAS], "vgg16": cnnspec("summary", "vgg16")}, max(3, rounds // 2)
        )
    for name, runs in (small | {"keras.applications": peer["keras"]}).items():
        print(f"{name:<20} {median(r.seconds for r in runs):7.3f} s {median(r.megabytes for r in runs):8.1f} MB")
    print()
    rows = [
        _target("summary of VGG16: keras.applications / cnnspec, time", _times(peer["keras"], peer["vgg16"]), 15),
        _target("summary of VGG16: keras.applications / cnnspec, memory", _memory(peer["keras"], peer["vgg16"]), 40),
        _limit("summary resnet152 / summary vgg16, time", _times(small["resnet152"], small["vgg16"]), 2),
        _limit("10,000 layers / 1,000 layers, time beyond start-up", _growth(small), 12),
    ]
    print("\n".join(text for text, _ in rows))
    return 0 if all(met for _, met in rows) else 1


def _times(above: list[Run], below: list[Run]) -> float:
    return ratio([r.seconds for r in above], [r.seconds for r in below])


def _memory(above: list[Run], below: list[Run]) -> float:
    return ratio([r.megabytes for r in above], [r.megabytes for r in below])


def _growth(runs: dict[str, list[Run]]) -> float:
    """Ten times the layers should take ten times as long, once the start of the interpreter is taken off."""
    start = median(r.seconds for r in runs["nothing"])
    return ratio([r.seconds - start for r in runs["10,000 layers"]], [r.seconds - start for r in runs["1,000 layers"]])


def _target(what: str, value: float, least: float) -> tuple[str, bool]:
    return row(what, value, f"≥ {least:g}", value >= least), value >= least


def _limit(what: str, value: float, most: float) -> tuple[str, bool]:
    return row(what, value, f"≤ {most:g}", value <= most), value <= most


if __name__ == "__main__":
    sys.exit(main())
