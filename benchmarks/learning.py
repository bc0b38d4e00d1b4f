"""How well each strategy learns: all of them on two tasks, tuned alike, and robust rules under attack.

    HANSA_DATA=/data python benchmarks/learning.py                   # everything, and docs/learning.md
    HANSA_DATA=/data python benchmarks/learning.py --quick           # four rounds of a few, to learning-quick/

learning_plan.py says what is compared and how it is tuned. A run's overrides are its name in the file of results, a
line of JSON a run: what is there is not done again, so that an interrupted benchmark goes on where it was, and the page
is made from it alone. Runs are carried out side by side, a process and a core each, with the engine inline: a seed
gives the same bits on the same kind of machine. It takes less time than one run after the other on all cores, for much
of a small run is the coordinator's evaluation.

2 cores of an Intel Xeon, 2026-11-29: what stands in docs/learning.md, in one and a half hours beside other work.
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
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from learning_page import Result, Results, best, finalists, last, page, picture
from learning_plan import BEDS, RULES, Bed, Siege

from hansa.conf.compose import compose, own_code
from hansa.conf.errors import told
from hansa.conf.simulate import prepare
from hansa.fedserver.picture import all_series
from hansa.fedserver.records import RoundRecord

HERE = Path(__file__).parents[1]
KEPT = ("accuracy", "server_accuracy", "personal_accuracy", "server_backdoor")
QUICK = ("fedavg", "scaffold", "fltrust", "ditto", "fedbn")


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


def read(path: Path) -> Results:
    """Return what was done before, by its overrides; a line that an interruption cut is left out."""
    found: Results = {}
    for text in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            one = json.loads(text)
            found[one["words"]] = one
    return found


def carry_out(name: str, runs: Iterable[str], results: Results, path: Path, jobs: int) -> None:
    """Carry out what of these runs is not done yet, and write each down as it ends."""
    todo = [words for words in dict.fromkeys(runs) if words not in results]
    start = time.monotonic()
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        for number, done in enumerate(as_completed([pool.submit(carried_out, words) for words in todo]), 1):
            one = done.result()
            results[one["words"]] = one
            with path.open("a") as out:
                out.write(f"\n{json.dumps(one)}")  # a line that an interruption cut must not cut this one
            left = (time.monotonic() - start) / number * (len(todo) - number) / 60
            print(f"{name} {number}/{len(todo)}, {left:.1f} minutes left: {_brief(one)}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _brief(one: Result) -> str:
    found = ", ".join(f"{name} {value:.1f}" for name, value in last(one).items())
    return f"strategy={one['words'].partition('strategy=')[2]}: {one['failed'] or found}"


def shortened(bed: Bed) -> Bed:
    """Return a bed of a few rounds and strategies."""
    return replace(bed, rounds=4, entries=tuple(one for one in bed.entries if one.strategy in QUICK))


def everything(beds: Sequence[Bed], siege: Siege, results: Results, path: Path, jobs: int) -> None:
    """Tune, carry out the runs of the tables, then the attacks."""
    for bed in beds:
        name = bed.name.partition(",")[0]
        trials = [words for entry in bed.entries for words in bed.trials(entry).values()]
        carry_out(f"{name}, tuning", trials, results, path, jobs)
        again = [words for entry in bed.entries for words in finalists(bed, entry, results).values()]
        carry_out(f"{name}, tuning again", again, results, path, jobs)
        finals = [words for entry in bed.entries for words in bed.finals(entry, best(bed, entry, results))]
        carry_out(name, finals, results, path, jobs)
    for split in siege.splits:
        carry_out(f"attacks, {split}", replace(siege, splits=(split,)).all(), results, path, jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="a few rounds of a few strategies, to learning-quick/")
    parser.add_argument("--results", type=Path, default=Path("learning.jsonl"), help="where runs are kept")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time; one a core")
    given = parser.parse_args()
    if "HANSA_DATA" not in os.environ:
        sys.exit("learning.py: set HANSA_DATA to the folder that has mnist/ with the four IDX files.")
    os.environ["HANSA_DATA"] = str(Path(os.environ["HANSA_DATA"]).resolve())
    beds, siege, pages = BEDS, Siege(), HERE / "docs"
    if given.quick:
        beds, pages = tuple(map(shortened, BEDS)), Path("learning-quick").resolve()
        siege = Siege(rounds=2, splits=("IID",), rules=tuple(rule for rule in RULES if rule.name in QUICK))
    path = pages / "learning.jsonl" if given.quick else given.results.resolve()
    (pages / "pictures").mkdir(parents=True, exist_ok=True)
    os.chdir(HERE)
    results = read(path)
    everything(beds, siege, results, path, given.jobs)
    (pages / "learning.md").write_text(page(beds, siege, results), encoding="utf-8")
    (pages / "pictures" / "learning.svg").write_text(picture(beds[0], results), encoding="utf-8")


if __name__ == "__main__":
    main()
