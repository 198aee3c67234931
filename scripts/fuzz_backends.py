"""Compares all backends on random specs; prints what is wrong, and the first spec of each kind made small, as YAML.

The specs are those of tests/support/random_specs.py: seed S, S + 1 and so on. Exits with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks are small, threads would wait for each other
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # it compiles every grouped convolution anew


def main() -> int:
    """Run as many specs as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how many specs (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the first one (0)")
    parser.add_argument("--backends", help="as `cnnspec verify` takes them; all that are installed if none")
    arguments = parser.parse_args()
    names = arguments.backends.split(",") if arguments.backends else None
    warnings.simplefilter("ignore")
    specs: Any = importlib.import_module("random_specs")
    found, start = 0, time.monotonic()
    known: set[str] = set()
    for done, seed in enumerate(range(arguments.seed, arguments.seed + arguments.count), 1):
        spec = specs.random_spec(seed)
        if complaints := observed(specs, spec, names):
            found += 1
            print(f"--- seed {seed}", *complaints, sep="\n", flush=True)
            if (kind := sort(complaints[0])) not in known:
                known.add(kind)
                print(*smallest(specs, spec, complaints[0]), sep="\n", flush=True)
        if done % 50 == 0:
            print(f"{done} specs, {found} with faults, {time.monotonic() - start:.0f} s", flush=True)
    print(f"{arguments.count} specs from seed {arguments.seed}: {found} with faults")
    return int(found > 0)


def observed(specs: Any, spec: Any, names: list[str] | None) -> list[str]:
    """The faults of a spec; an exception is one, too."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session(free_memory=False)  # it keeps every model otherwise
    try:
        complaints: list[str] = specs.faults(spec, names, single=False)
    except Exception as error:
        return [f"folding: {type(error).__name__} {error}"]
    return complaints


def smallest(specs: Any, spec: Any, complaint: str) -> list[str]:
    """The smallest spec with a fault of this kind, and what is wrong with it."""
    involved = [name for name in sys.modules["cnnspec.verify.run"].verifiable() if f" {name} " in f" {complaint} "]
    small = specs.shrunk(
        spec, lambda other: any(sort(text) == sort(complaint) for text in observed(specs, other, involved))
    )
    return ["--- small", *observed(specs, small, involved), specs.text(small)]


def sort(complaint: str) -> str:
    """What kind of a fault it is: which backend, in which precision, and whether it departs or fails and how."""
    return " ".join(word for word in complaint.partition(": ")[2].split()[:6] if not word.startswith("`"))


if __name__ == "__main__":
    sys.exit(main())
