"""How many clients a second a simulation trains, beside other systems on the same work, in one run.

    HANSA_DATA=/data python benchmarks/simulation.py                       # all models, everybody
    HANSA_DATA=/data python benchmarks/simulation.py --only hansa --model lr --samples 60 --rounds 12
    HANSA_DATA=/data python benchmarks/simulation.py --python flower=flower/bin/python --python pfl=pfl/bin/python

The work is that of rivals/mnist_work.py: MNIST, 100 clients, 20 of them a round, one pass in batches of 10. A system
whose Python is not named by --python is tried with this one, and left out where it is not installed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODELS = (("lr", 60, 100), ("lr", 600, 30), ("2nn", 60, 60), ("2nn", 600, 12), ("cnn", 60, 12))
"""Models, examples of a client, and rounds: enough for the steady rounds to last."""
RIVALS = {
    "loop": ("torch_loop.py",),
    "tight": ("torch_loop.py", "tight"),
    "jax": ("jax_loop.py",),
    "pfl": ("pfl_simulation.py",),
    "flower": ("flower_simulation.py",),
}
ENGINES = ("auto", "fast")
APP = HERE / "rivals" / "flower_app"
SETTINGS = ["cohort.size=20", "client.batch_size=10", "client.lr=0.1", "evaluation.every=0"]


class Stamps:
    """A view that notes when each round is over, and shows nothing."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def __enter__(self) -> Stamps:
        return self

    def __exit__(self, *error: object) -> None: ...

    def opened(self, *told: object) -> None: ...

    def answered(self, *told: object) -> None: ...

    def refused(self, record: Any, refusal: Any) -> None:
        raise AssertionError(refusal)

    def closed(self, record: object) -> None:
        self.stamps.append(time.perf_counter())

    def say(self, text: str) -> None: ...


def hansa(engine: str, model: str, samples: int, rounds: int) -> str:
    """Run Hansa in this process; the first round includes the start of its engine."""
    sys.path.insert(0, str(HERE / "rivals"))
    import mnist_work
    import torch

    from hansa.conf.compose import compose, own_code
    from hansa.conf.simulate import prepare

    torch.set_num_threads(1)
    view = Stamps()
    task = [f"task={HERE / 'simulation_task.py'}:Some", f"task.net={model}", f"task.samples={samples}"]
    with tempfile.TemporaryDirectory() as folder:
        words = [*task, *SETTINGS, f"rounds={rounds}", f"federation={engine}", f"run_dir={folder}/run"]
        view.stamps.append(time.perf_counter())
        with prepare(*compose(own_code(words))) as runner:
            runner.view = runner.coordinator.watch = view
            runner.coordinator.exchange.watch = view
            runner.carry_out()
    sys.argv = [sys.argv[0], model, str(samples), str(rounds)]
    mnist_work.tell(f"hansa {engine} ({runner.summary['engine']} x {runner.summary['workers']})", view.stamps)
    return ""


def rival(name: str, python: str, model: str, samples: int, rounds: int) -> str:
    """Run another system's script in its own process; return its line, or why there is none."""
    script, *more = RIVALS[name]
    command = [python, str(HERE / "rivals" / script), model, str(samples), str(rounds), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if "clients/s" in line]
    return lines[-1] if lines else f"{name}: not measured: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}"


def itself(engine: str, model: str, samples: int, rounds: int) -> str:
    """Run Hansa in a fresh process, as the others are."""
    command = [sys.executable, __file__, "--only", "hansa", "--engine", engine, "--model", model]
    command += ["--samples", str(samples), "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]


def app(model: str, samples: int, rounds: int) -> str:
    """Let Hansa run the app that Flower's simulation ran; return its line."""
    words = [f"app={APP}", "clients=100", f"model={model}", f"samples={samples}", f"rounds={rounds}"]
    command = [str(Path(sys.executable).with_name("hansa")), "simulate", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "clients/s" in line]
    return lines[-1] if lines else f"hansa: not measured: {done.stderr.strip().splitlines()[-1]}"


def rate(line: str) -> float:
    """Return the clients a second of a line; not a number where it has none."""
    found = re.search(r"steady=([\d.]+)", line)
    return float(found[1]) if found else float("nan")


def compare(model: str, samples: int, rounds: int, pythons: dict[str, str]) -> None:
    """Run everybody in turn on one model, and print the ratios."""
    lines = {name: rival(name, pythons.get(name, sys.executable), model, samples, rounds) for name in RIVALS}
    lines |= {f"hansa {engine}": itself(engine, model, samples, rounds) for engine in ENGINES}
    lines["hansa with Flower's app"] = app(model, samples, rounds)
    for line in lines.values():
        print(line, flush=True)
    for name in [name for name in lines if name not in RIVALS]:
        ratios = [
            f"{rate(lines[name]) / rate(lines[other]):.1f} x {other}" for other in RIVALS if rate(lines[other]) > 0
        ]
        print(f"  {model}/{samples}: {name} is {', '.join(ratios)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--only", choices=["hansa"], help="Hansa alone, in this process")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--model", choices=["lr", "2nn", "cnn"])
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    given = parser.parse_args()
    if "HANSA_DATA" not in os.environ:
        sys.exit("simulation.py: set HANSA_DATA to the folder that has mnist/ with the four IDX files.")
    if given.only:
        hansa(given.engine, given.model or "2nn", given.samples, given.rounds or 12)
        return
    pythons = dict(pair.split("=", 1) for pair in given.python)
    for model, samples, rounds in [(given.model, given.samples, 12)] if given.model else MODELS:
        compare(model, samples, given.rounds or rounds, pythons)


if __name__ == "__main__":
    main()
