"""How long the initial weights of VGG16 take, 138 million values in a file, against torchvision's construction of it.

    python benchmarks/weights.py [--rounds N]

Needs torchvision. Prints medians of whole processes, then ratios of neighbouring runs; exits 1 if a target is missed.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import Run, in_turn, ratio, row

SUPPORT = str(Path(__file__).resolve().parents[1] / "tests" / "support")
TORCHVISION = f"import sys; sys.path.append({SUPPORT!r}); from vision import models; network = models.vgg16()"
SAVED = f"{TORCHVISION}; from safetensors.torch import save_file; save_file(network.state_dict(), {{!r}})"
SPEC = "cnnspec: 1\nextends: vgg16\nname: variant\ntrain: {{recipe: vgg, initializers: {{conv: {0}, dense: {0}}}}}\n"
LARGEST = 4 * 4096 * 25088 / 1e6  # MB of the first dense layer
INITIALIZERS = ("glorot_uniform", "he_normal", "variance_scaling")


def main() -> int:
    """Measure, print, and say whether all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        file, peer = (str(Path(folder, name)) for name in ("w.safetensors", "peer.safetensors"))
        weights = [str(Path(sys.executable).with_name("cnnspec")), "weights"]
        commands = {"torchvision": [sys.executable, "-c", TORCHVISION]}
        commands["torchvision, saved"] = [sys.executable, "-c", SAVED.format(peer)]
        for name in INITIALIZERS:
            spec = Path(folder, f"{name}.yaml")
            spec.write_text(SPEC.format(name))
            commands[name] = [*weights, str(spec), "-o", file]
        commands["read and rewritten"] = [*weights, "vgg16", "--from", file, "-o", file]
        runs = in_turn(commands, rounds)
    for name, results in runs.items():
        print(f"{name:<20} {median(r.seconds for r in results):7.2f} s {median(r.megabytes for r in results):8.0f} MB")
    print()
    saved = runs["torchvision, saved"]
    rows = [_target(f"torchvision, saved / cnnspec, {name}: time", saved, runs[name]) for name in INITIALIZERS]
    memory = max(median(r.megabytes for r in runs[name]) for name in INITIALIZERS) / LARGEST
    rows.append((row("peak memory / the largest array", memory, "≤ 1.5", memory <= 1.5), memory <= 1.5))
    print("\n".join(text for text, _ in rows))
    return 0 if all(met for _, met in rows) else 1


def _target(what: str, above: list[Run], below: list[Run]) -> tuple[str, bool]:
    value = ratio([r.seconds for r in above], [r.seconds for r in below])
    return row(what, value, "≥ 1", value >= 1), value >= 1


if __name__ == "__main__":
    sys.exit(main())
