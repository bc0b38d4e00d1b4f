"""How well each strategy learns: all of them on two tasks, tuned alike.

    HANSA_DATA=/data python benchmarks/learning.py                   # everything, and docs/learning.md
    HANSA_DATA=/data python benchmarks/learning.py --quick           # four rounds of a few, to learning-quick/

learning_plan.py says what is compared and how it is tuned, and kept_runs.py how runs are carried out and kept.

2 cores of an AMD EPYC, 2026-11-29: what stands in docs/learning.md, in about 25 minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kept_runs import Keeper, begun
from learning_page import best, finalists, page, picture
from learning_plan import BEDS, Bed

QUICK = ("fedavg", "scaffold", "fltrust", "ditto", "fedbn")


def shortened(bed: Bed) -> Bed:
    """Return a bed of a few rounds and strategies."""
    return replace(bed, rounds=4, entries=tuple(one for one in bed.entries if one.strategy in QUICK))


def everything(beds: Sequence[Bed], keeper: Keeper) -> None:
    """Tune, and carry out the runs of the tables."""
    for bed in beds:
        trials = [words for entry in bed.entries for words in bed.trials(entry).values()]
        keeper.carry_out(f"{bed.short}, tuning", trials)
        again = [words for entry in bed.entries for words in finalists(bed, entry, keeper.results).values()]
        keeper.carry_out(f"{bed.short}, tuning again", again)
        finals = [words for entry in bed.entries for words in bed.finals(entry, best(bed, entry, keeper.results))]
        keeper.carry_out(bed.short, finals)


def main() -> None:
    quick, pages, keeper = begun("learning")
    beds = tuple(map(shortened, BEDS)) if quick else BEDS
    everything(beds, keeper)
    (pages / "learning.md").write_text(page(beds, keeper.results), encoding="utf-8")
    (pages / "pictures" / "learning.svg").write_text(picture(beds[0], keeper.results), encoding="utf-8")


if __name__ == "__main__":
    main()
