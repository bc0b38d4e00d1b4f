"""Many small runs, each carried out once and kept: what learning.py and robustness.py make their pages of.

A run's overrides are its name in the file of results, a line of JSON a run: what is there is not done again, so that an
interrupted benchmark goes on where it was, and a page is made from the file alone; remove the file when what it
measures has changed. Runs that were refused before they began are tried again. Runs are carried out side by side, a
process and a core each, with the engine inline: a seed gives the same bits on the same kind of processor. It takes less
time than one run after the other on all cores, for much of a small run is the coordinator's evaluation.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import torch

from hansa.conf.compose import compose, own_code
from hansa.conf.errors import told
from hansa.conf.simulate import prepare
from hansa.fedserver.picture import all_series
from hansa.fedserver.records import RoundRecord

Result: TypeAlias = Mapping[str, Any]
Results: TypeAlias = dict[str, Result]
"""What came of each run, by its overrides."""

HERE = Path(__file__).parents[1]
KEPT = ("accuracy", "server_accuracy", "personal_accuracy", "server_backdoor")
LATE = 10
"""Last rounds whose evaluations make a run's accuracy."""


def line(words: str) -> str:
    """Write overrides with single blanks, quoted as a shell needs them."""
    return " ".join(shlex.quote(word) if set(word) & set("'*[]{}") else word for word in words.split())


def value(one: Result, metric: str) -> float:
    """Return a metric of a run in percent, 0 where the run failed or has none."""
    return 0.0 if one["failed"] else last(one).get(metric, 0.0)


def last(one: Result) -> dict[str, float]:
    """Return metrics in percent, each the mean over the evaluations of the last rounds."""
    return {
        name: 100 * fmean(share for at, share in points if at > points[-1][0] - LATE)
        for name, points in one["curves"].items()
    }


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table, and an empty line."""
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


def listed(names: Sequence[str]) -> str:
    """Write names in a row."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def carried_out(words: str) -> Result:
    """Carry out one run; return its curves, the bytes of a round without evaluation, and why it failed.

    A run that was ``refused`` did not begin; one that diverged has no metrics in the end.
    """
    start, records, failed = time.monotonic(), list[RoundRecord](), ""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as out, contextlib.redirect_stderr(out):
        try:
            given = own_code([*shlex.split(words), f"run_dir={folder}/run"])
            with prepare(*compose(given)) as runner:
                records.extend(runner.coordinator.rounds())
        except Exception as error:  # noqa: BLE001 - it stands in the table
            failed = told(error)
    curves = {name: points for name, points in all_series(records).items() if name in KEPT}
    if not failed and any(points[-1][0] < records[-1].round for points in curves.values() or [[(0, 0.0)]]):
        failed = records[-1].lost or "the last round has no finite metrics"
    sizes = [one.bytes_up + one.bytes_down for one in records if one.round and "loss" not in one.metrics]
    return {
        "words": words,
        "failed": failed,
        "refused": not records,
        "curves": curves,
        "bytes": fmean(sizes or [0]),
        "seconds": round(time.monotonic() - start, 1),
    }


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """A file of results, and how many runs go on at a time."""

    path: Path
    jobs: int
    results: Results

    @classmethod
    def of(cls, path: Path, jobs: int) -> Keeper:
        """Read what was done before; a line that an interruption cut is left out."""
        found: Results = {}
        for text in path.read_text().splitlines() if path.exists() else ():
            with contextlib.suppress(json.JSONDecodeError):
                one = json.loads(text)
                found |= {} if one["refused"] else {one["words"]: one}
        return cls(path=path, jobs=jobs, results=found)

    def carry_out(self, name: str, runs: Iterable[str]) -> None:
        """Carry out what of these runs is not done yet, and write each down as it ends."""
        todo = [words for words in dict.fromkeys(runs) if words not in self.results]
        start = time.monotonic()
        pool = ProcessPoolExecutor(self.jobs, multiprocessing.get_context("spawn"))
        try:
            for number, done in enumerate(as_completed([pool.submit(carried_out, words) for words in todo]), 1):
                one = done.result()
                self.results[one["words"]] = one
                with self.path.open("a") as out:
                    out.write(f"\n{json.dumps(one)}")  # a line that an interruption cut must not cut this one
                left = (time.monotonic() - start) / number * (len(todo) - number) / 60
                print(f"{name} {number}/{len(todo)}, {left:.1f} minutes left: {_brief(one)}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _brief(one: Result) -> str:
    found = ", ".join(f"{name} {share:.1f}" for name, share in last(one).items())
    return f"strategy={one['words'].partition('strategy=')[2]}: {one['failed'] or found}"


def begun(name: str) -> tuple[bool, Path, Keeper]:
    """Read the command line; return whether --quick was given, the folder of the page, and the keeper of its runs.

    From here on the working directory is that of the repository, where runs find the tasks that they name.
    """
    parser = argparse.ArgumentParser(description=f"Carry out many runs, and make docs/{name}.md of them.")
    parser.add_argument("--quick", action="store_true", help=f"a few rounds of a few, to {name}-quick/")
    parser.add_argument("--results", type=Path, default=Path(f"{name}.jsonl"), help="where runs are kept")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time; one a core")
    given = parser.parse_args()
    data = Path(os.environ.get("HANSA_DATA", "")).resolve()
    if not (data / "mnist").is_dir():
        sys.exit(f"{name}.py: set HANSA_DATA to the folder that has mnist/ with the four IDX files.")
    os.environ["HANSA_DATA"] = str(data)
    pages = Path(f"{name}-quick").resolve() if given.quick else HERE / "docs"
    path = pages / f"{name}.jsonl" if given.quick else given.results.resolve()
    (pages / "pictures").mkdir(parents=True, exist_ok=True)
    os.chdir(HERE)
    return given.quick, pages, Keeper.of(path, given.jobs)
