"""Four hospitals learn to tell heart disease together, beside each of them alone and beside all data in one place.

    python examples/demo.py                              # or make demo
    python examples/demo.py --splits 5 strategy=scaffold # fewer splits; any settings of `hansa simulate`

First five processes: a coordinator and four hospitals, each with a folder and data of its own, over mutual TLS on this
machine, shown live. Then the same learning is repeated over random splits of the patients, quietly and in one process.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.utils.data import ConcatDataset, TensorDataset

from hansa.conf.compose import compose, own_code
from hansa.conf.run import Run, assemble
from hansa.fedclient.state import MemoryStates
from hansa.fedserver.coordinator import Coordinator
from hansa.fedserver.records import Refusal, RoundRecord, Values
from hansa.fedtasks import Data, stack
from hansa.fedtasks.heart_disease import SHIPPED, HeartDisease
from hansa.simulations.inline import Inline
from hansa.strategies.keys import from_seed
from hansa.strategies.pipeline import Names

HANSA = Path(sys.executable).with_name("hansa")
SETTINGS = ("rounds=30", "evaluation.every=30", "evaluation.by_client=true")
POOLED = "all four"
WAYS = ("federated", "each alone", "one place")

Sums = Mapping[str, np.ndarray]
"""What a test sums, by channel."""
Scores = dict[tuple[str, str, str], float | None]
"""A value by way, hospital and metric."""


@dataclass(frozen=True, kw_only=True)
class OnePlace(HeartDisease):
    """The comparison that hospitals cannot make: one client that holds the training patients of all."""

    def clients(self) -> Names:
        return ("one place",)

    def data(self, client: str) -> Data:
        hospitals = HeartDisease(net=self.net, split=self.split, test=self.test, data_dir=self.data_dir)
        everybody = ConcatDataset([hospitals.data(name).train for name in hospitals.clients()])  # type: ignore[arg-type]
        return Data(TensorDataset(*stack(everybody)))


class Quiet:
    """A watcher that shows nothing."""

    def opened(self, record: RoundRecord, endpoint: str, names: Names, wanted: int) -> None: ...

    def joined(self, record: RoundRecord, names: Names) -> None: ...

    def answered(self, record: RoundRecord, client: str) -> None: ...

    def refused(self, record: RoundRecord, refusal: Refusal) -> None:
        raise RuntimeError(f"{refusal.client}: {refusal.why}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--splits", type=int, default=20, help="random splits of the patients (default 20)")
    parser.add_argument("settings", nargs="*", help="settings of hansa simulate, such as strategy=scaffold")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    out = Console()
    home = Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    results = deployed(home, ["rounds=30", *asked.settings], out)
    splits = track(range(asked.splits), description="random splits", console=Console(stderr=True))
    found = [compared(split, asked.settings) for split in splits]
    out.print(table(found))
    out.print(
        "One place reads all hospitals' patients together, which they cannot do; it is here to compare with.\n"
        "Each alone, all four: every hospital's patients with the model of their own hospital.\n"
        "n/a: fewer than five test patients of either class, too few for an AUC.\n"
    )
    out.print(f"The picture of the first run: {results / 'curves.svg'}", soft_wrap=True)
    out.print(f"What the hospitals logged:    {home}/*/log.txt", soft_wrap=True)
    out.print("The same on five machines:    docs/deploy.md", soft_wrap=True)
    out.print("Another strategy:             .venv/bin/hansa simulate strategy=scaffold rounds=30", soft_wrap=True)
    out.print("A task of your own:           see README.md and docs/tasks.md", soft_wrap=True)


def deployed(home: Path, settings: Sequence[str], out: Console) -> Path:
    """Carry out a run among five processes; return its directory."""
    hospitals, results = HeartDisease().clients(), home / "results"
    address = f"localhost:{free_port()}"
    out.print(f"hansa provision {home / 'hearts'}: certificates, and an invitation for each hospital", soft_wrap=True)
    provision = ["provision", str(home / "hearts"), f"address={address}", "task=heart_disease"]
    hansa(*provision, f"clients={','.join(hospitals)}", stdout=subprocess.DEVNULL)
    with ExitStack() as started:
        for hospital in hospitals:
            out.print(
                f"hansa join {hospital}.invitation: its patients lie in {home / hospital / 'data'}", soft_wrap=True
            )
            started.enter_context(joined(home, hospital))
        out.print(f"hansa serve {home / 'hearts'}", soft_wrap=True)
        hansa("serve", str(home / "hearts"), f"listen={address}", f"run_dir={results}", *settings)
    return results


@contextmanager
def joined(home: Path, hospital: str) -> Iterator[None]:
    """Give a hospital its folder with its own patients, and let it join; it is ended on leaving."""
    data = home / hospital / "data"
    data.mkdir(parents=True)
    shutil.copy(SHIPPED / f"{hospital}.csv", data)
    command = ["join", str(home / "hearts" / "invitations" / f"{hospital}.invitation"), "--yes"]
    with (home / hospital / "log.txt").open("w") as log:
        words = [str(HANSA), *command, f"home={home / hospital / 'client'}", f"task.data_dir={data}"]
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def hansa(*words: str, **where: int) -> None:
    """Run the command; raises CalledProcessError where it fails."""
    subprocess.run([str(HANSA), *words], check=True, **where)  # type: ignore[call-overload]


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def compared(split: int, settings: Sequence[str]) -> Scores:
    """Learn in three ways from one split; every way is tested on the same patients."""
    words = [*SETTINGS, *settings, f"task.split={split}"]
    run = assemble(*compose(words))
    hospitals = tuple(sorted(run.work.task.clients()))
    scores = dict(federated(run, hospitals))
    alone = {hospital: tested(run, learn(run, (hospital,))[0], hospitals)[hospital] for hospital in hospitals}
    one = assemble(*compose(own_code([*words, f"task={Path(__file__)}:OnePlace"])))
    everything = tested(run, learn(one, one.work.task.clients())[0], hospitals)
    return scores | dict(scored(run, "each alone", alone)) | dict(scored(run, "one place", everything))


def learn(run: Run, clients: Names) -> tuple[Coordinator, RoundRecord]:
    """Carry out a run among some of its clients."""
    site = run.site(MemoryStates(), from_seed(run.job.seed, "client"))
    coordinator = Coordinator(
        job=run.job,
        federation=Inline(site, clients),
        run="demo",
        own=from_seed(run.job.seed, "coordinator"),
        clock=time.perf_counter,
        watch=Quiet(),
    )
    return coordinator, list(coordinator.rounds())[-1]


def federated(run: Run, hospitals: Names) -> Iterator[tuple[tuple[str, str, str], float | None]]:
    """Yield what the federated evaluation told: each hospital's metrics, and all from summed counts and histograms."""
    record = learn(run, hospitals)[1]
    for place, values in {**record.clients, POOLED: record.metrics}.items():
        yield from placed("federated", place, values)


def tested(run: Run, learnt: Coordinator, hospitals: Names) -> dict[str, Sums]:
    """Test a model at each hospital."""
    run.work.fit(learnt.fitted)
    rows = run.work.evaluate(learnt.state["model"], run.work.private(hospitals), hospitals)
    return {hospital: {name: sums[i] for name, sums in rows.items()} for i, hospital in enumerate(hospitals)}


def scored(run: Run, way: str, tests: Mapping[str, Sums]) -> Iterator[tuple[tuple[str, str, str], float | None]]:
    """Yield the metrics of each hospital's patients, and of all, whichever model they were tested with."""
    pooled = {name: sum(sums[name] for sums in tests.values()) for name in next(iter(tests.values()))}
    for place, sums in {**tests, POOLED: pooled}.items():
        yield from placed(way, place, valued(run, sums))


def valued(run: Run, sums: Sums) -> Values:
    values: Values = {}
    for metric in run.job.metrics:
        values |= metric.values(sums)
    return values


def placed(way: str, place: str, values: Values) -> Iterator[tuple[tuple[str, str, str], float | None]]:
    return (((way, place, name), values[name]) for name in ("auc", "accuracy"))


def table(found: Sequence[Scores]) -> Table:
    """Lay out means over splits, and the range of the middle 95 % of splits."""
    title = f"mean over {len(found)} random splits \\[middle 95 % of them], on patients kept for testing"
    out = Table(title=title, title_justify="left", padding=0)
    out.add_column("")
    for way in WAYS:
        out.add_column(f"{way}\nAUC", justify="center")
        out.add_column("\naccuracy", justify="center")
    places = sorted({place for _, place, _ in found[0]} - {POOLED})
    for place in (*places, POOLED):
        cells = [told([s.get((way, place, m)) for s in found]) for way in WAYS for m in ("auc", "accuracy")]
        out.add_row(place, *cells, end_section=place == places[-1])
    return out


def told(values: Sequence[float | None]) -> str:
    """Write a cell; a metric that some split cannot tell is n/a.

    >>> told([0.5, 0.7]), told([0.5, None])
    ('.600\\n.51-.69', 'n/a')
    """
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "n/a"
    low, high = np.percentile(known, [2.5, 97.5])
    return f"{np.mean(known):.3f}\n{low:.2f}-{high:.2f}".replace("0.", ".")


if __name__ == "__main__":
    main()
