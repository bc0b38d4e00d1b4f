"""Twenty rounds in two places: the inline simulation, and Flower's SuperLink with four SuperNodes on loopback.

    python benchmarks/parity.py

Measured on 2 cores of an AMD EPYC, 2026-11-24 and -25, other work on the machine:

    FedAvg, all clients      9ff69d40aeec5473 in both places; inline 3.8 s, SuperLink 367 s
    FedAvg, 2 of 4 sampled   ce329375f0c7d3be in both places
    SCAFFOLD                 e2f3b4a27376d23d in both places; inline 3.5 s, SuperLink 330 s
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare

ROUNDS = 20
CASES = {
    "FedAvg, all clients": ("strategy=fedavg",),
    "FedAvg, 2 of 4 sampled": ("strategy=fedavg", "cohort.size=2"),
    "SCAFFOLD": ("strategy=scaffold",),
}


def script() -> ModuleType:
    """Load the example that deploys on a SuperLink."""
    path = Path(__file__).parents[1] / "examples" / "flower_superlink" / "run.py"
    spec = importlib.util.spec_from_file_location("flower_superlink_run", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def simulated(settings: tuple[str, ...], folder: Path) -> dict[str, Any]:
    with prepare(*compose([*settings, f"run_dir={folder}"])) as runner:
        runner.carry_out()
    return runner.summary


def main() -> None:
    same = True
    with tempfile.TemporaryDirectory() as folder, script().fleet(Path(folder)) as deployed:
        for number, (name, case) in enumerate(CASES.items()):
            settings = ("task=heart_disease", "seed=1", f"rounds={ROUNDS}", f"evaluation.every={ROUNDS}", *case)
            here = simulated(settings, Path(folder) / f"inline-{number}")
            start = time.monotonic()
            there = deployed(*settings)
            same &= here["model_sha256"] == there["model_sha256"]
            print(f"{name}: inline {here['model_sha256'][:16]} in {here['seconds']:.1f} s, ", end="")
            print(f"SuperLink {there['model_sha256'][:16]} in {time.monotonic() - start:.0f} s, ", end="")
            print(f"{there['failures']} answers left out", flush=True)
    print("the same bits in both places" if same else "DIFFERENT BITS")
    sys.exit(not same)


if __name__ == "__main__":
    main()
