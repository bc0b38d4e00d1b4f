"""How many clients a second a simulation trains, beside other systems on the same work, in one run.

    HANSA_DATA=/data python benchmarks/simulation.py                       # all models, everybody
    HANSA_DATA=/data python benchmarks/simulation.py --only hansa --model lr --samples 60 --rounds 12
    HANSA_DATA=/data python benchmarks/simulation.py --python flower=flower/bin/python --python pfl=pfl/bin/python

The work is that of rivals/mnist_work.py: MNIST, 100 clients, 20 of them a round, one pass in batches of 10. A system
whose Python is not named by --python is tried with this one, and left out where it is not installed.

Clients a second on 2 cores of an AMD EPYC, 2026-11-29; in brackets the seconds of the first round:

                                    lr/60        lr/600       2nn/60       2nn/600      cnn/60
    PyTorch loop, 1 core           1923         228          566           60          22.3
    tight PyTorch loop, 2 cores    6360         694         1343          134          42.9
    JAX jit and scan               8924        1249         1371          189
    pfl 0.6                        1096 (0.8)   149 (0.9)    413 (1.0)     51 (1.4)    20.2 (2.4)
    Flower 1.41                     193 (5.5)    98 (6.4)     64 (5.6)     49 (6.5)    21.3 (7.4)
    hansa auto, exact              3335 (0.3)   626 (0.3)    676 (0.3)    141 (0.5)    34.2 (1.2)
    hansa fast                     5886 (1.0)   952 (1.2)    783 (1.3)    143 (1.6)    33.3 (2.6)
    Flower's app in Hansa          1118 (1.0)   283 (1.1)    295 (1.0)     94 (1.2)    27.4 (1.8)

fast took vectorised for lr and processes for the others. The machine's speed changes from hour to hour, and most for
lr/60: of three runs that day this is the last and the fastest; the other two gave auto 2671 and 2465, and fast 3661
and 3383, below the 5000 that were aimed at. Flower's rounds end at its next look, every 0.1 s, so that lr/60 has 96
or 193.

Exact work reaches 105 % (2nn/600), 90 % (lr/600), 80 % (cnn), 52 % (lr/60) and 50 % (2nn/60) of the tight loop, which
trains the same 20 clients each round in the order of their files, and neither moves nor adds a model. So does JAX,
which stays ahead of fast by 1.5 (lr/60) and 1.3 (lr/600). Where the time goes, for ten clients on one of the cores;
rounds, requests and clients by the clock in runs of their own, the parts of a client in proportion to a cProfile of
one worker, so that they are estimates:

    lr/60, 6.4 ms a round      4.6 in clients: 1.9 steps from the tape, 0.4 SGD, 0.3 gathering batches, 0.3 keys and
                               order, 0.8 bounding and exact sums, 0.9 states, replies and screening; 1.2 the request
                               to the workers and back; 0.6 the coordinator
    2nn/60, 27 ms a round     22.6 in clients: 11.7 steps, 1.4 SGD, 6.3 bounding and exact sums of 199,210 entries, 2
                               packing and loading; 1.5 fresh pages of shared memory; 1.5 the coordinator

Bounding and the fixed-point sum in one pass of compiled code, and shared memory that stays between requests, would take
most of the difference for 2nn and cnn; for lr/60, a request that costs less than 0.3 ms.

An app of Flower's in Hansa is 4.6 times as fast as in Flower (2nn/60), not 5. A round takes 68 ms. The app's own ten
clients on each core are 42 of them, at 4.2 ms each, of which a plain loop needs 1.9 to train; Flower's averaging is
about 10, and the rest is mostly messages as bytes. In a trial whose replies were not sent at all it was 4.8 to 5.1
times.
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

    def joined(self, *told: object) -> None: ...

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
