"""The page and the picture of learning.py, from its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from kept_runs import LATE, Result, Results, listed, table, value
from learning_plan import COMMON, OWN, PRIVATE, SEEDS, Bed, Entry

from hansa.fedserver import sweep_picture
from hansa.fedserver.sweep import Row, Spread, SweptRun, spread
from hansa.fedserver.watch import size

FEDAVG, DRAWN, SHOWN = "fedavg", 5, 10
"""What all are compared with; strategies in the picture, and its first round: before it all climb, and afterwards they
differ by points."""


def chosen(bed: Bed, entry: Entry, runs: Mapping[str, str], results: Results) -> list[str]:
    """Return choices by what their runs came to, the best first."""
    metric = bed.metrics[entry.model]
    return sorted(runs, key=lambda choice: -value(results[runs[choice]], metric))


def finalists(bed: Bed, entry: Entry, results: Results) -> dict[str, str]:
    """Return the two choices whose trials ended best, and the runs by which one is chosen."""
    return bed.again(entry, chosen(bed, entry, bed.trials(entry), results)[:2])


def best(bed: Bed, entry: Entry, results: Results) -> str:
    """Return the choice that goes to the table."""
    return chosen(bed, entry, finalists(bed, entry, results), results)[0]


@dataclass(frozen=True)
class Line:
    """A strategy on a bed: the choice that its tuning made, and its runs by seed."""

    bed: Bed
    entry: Entry
    choice: str
    runs: Sequence[Result]

    @property
    def common(self) -> bool:
        return self.entry.model == COMMON

    @property
    def metric(self) -> str:
        return self.bed.metrics[self.entry.model]

    @property
    def refused(self) -> str:
        """Why a run was refused, if one was."""
        return next((one["failed"] for one in self.runs if one["refused"]), "")

    def accuracies(self, metric: str) -> list[float]:
        return [value(one, metric) for one in self.runs]

    @property
    def accuracy(self) -> Spread:
        return spread(self.accuracies(self.metric))

    def gains(self, fedavg: Line) -> list[float]:
        """Return the points above FedAvg's common model on the same test data, by seed."""
        other = fedavg.accuracies(self.metric.removeprefix("personal_"))
        return [one - another for one, another in zip(self.accuracies(self.metric), other, strict=True)]

    def reached(self) -> list[int]:
        """Return the first evaluated rounds at the target, of the seeds that reached it."""
        target = self.bed.targets[COMMON if self.common else OWN]
        curves = [one["curves"].get(self.metric, ()) for one in self.runs]
        firsts = [next((at for at, share in points if share >= target), 0) for points in curves]
        return [at for at in firsts if at]

    def cells(self, fedavg: Line) -> list[str]:
        """Return the cells of a table."""
        gains, per_round = self.gains(fedavg), fmean(one["bytes"] for one in self.runs)
        broken = " ✗" if self.entry.promise and min(gains) <= 0 else ""
        above = f"{sum(gain > 0 for gain in gains)} of {len(gains)}{broken}"
        against = ("", "") if self.entry.strategy == FEDAVG else (written(spread(gains), "+"), above)
        cost = self._cost(per_round)
        tuned = f"`{' '.join(self.choice.split())}`"
        return [f"`{self.entry.strategy}`", written(self.accuracy), *against, *cost, size(round(per_round)), tuned]

    def _cost(self, per_round: float) -> tuple[str, str]:
        """Write rounds and bytes to the target."""
        if not (reached := self.reached()):
            return "not reached", "-"
        some = "" if len(reached) == len(self.runs) else f" ({len(reached)} of {len(self.runs)})"
        return written(spread(reached)) + some, size(round(fmean(reached) * per_round)) + some


def written(found: Spread, sign: str = "") -> str:
    """Write mean ± standard deviation."""
    mean = f"{found.mean:{sign}.1f}"
    return mean if found.std is None else f"{mean} ± {found.std:.1f}"


def lines(bed: Bed, results: Results) -> list[Line]:
    """Return a bed's lines, the best first, and those without a result last."""
    found = []
    for entry in bed.entries:
        choice = best(bed, entry, results)
        found.append(Line(bed, entry, choice, [results[words] for words in bed.finals(entry, choice)]))
    return sorted(found, key=lambda one: 0.0 if one.refused else -one.accuracy.mean)


def plain(found: Iterable[Line]) -> Line:
    """Return FedAvg's line."""
    return next(one for one in found if one.entry.strategy == FEDAVG)


def page(beds: Sequence[Bed], results: Results) -> str:
    """Return the whole page."""
    found = [lines(bed, results) for bed in beds]
    notes = [note for some in found for note in glance(some)]
    parts = [INTRODUCTION, "## At a glance\n", *notes, PICTURE]
    for some in found:
        parts += [f"## {some[0].bed.name}\n", *tables(some, common=True), *tables(some, common=False)]
    return "\n".join(parts).rstrip() + "\n"


def glance(found: Sequence[Line]) -> list[str]:
    """Say who wins, by how much, and whose paper's promise does not hold."""
    fedavg, told = plain(found), list[str]()
    for title, common in (("a common model", True), ("models of the clients' own", False)):
        some = [one for one in found if one.common == common and not one.refused]
        promising = [one for one in some if one.entry.promise]
        kept = [one.entry.strategy for one in promising if min(one.gains(fedavg)) > 0]
        broken = [one.entry.strategy for one in promising if one.entry.strategy not in kept]
        if some and some != [fedavg]:
            best_one, gain = some[0].entry.strategy, written(spread(some[0].gains(fedavg)), "+")
            told.append(f"- **{found[0].bed.name}, {title}**: `{best_one}` is the best, {written(some[0].accuracy)} %;")
            told.append(f"  that is {gain} points from FedAvg's common model.")
            told.append(f"  - Above FedAvg in all seeds, as their papers say: {listed(kept)}.")
            told.append(f"  - Not so: {listed(broken)}.")
    return told


def tables(found: Sequence[Line], *, common: bool) -> list[str]:
    """Return the table of common models, or of the clients' own."""
    bed, fedavg = found[0].bed, plain(found)
    some = [one for one in found if one.common == common]
    to = f"{100 * bed.targets[COMMON if common else OWN]:.0f} %"
    head = ["strategy", "accuracy, %", "points above FedAvg", "seeds above", f"rounds to {to}", f"bytes to {to}"]
    rows = [one.cells(fedavg) for one in some if not one.refused]
    notes = [f"`{one.entry.strategy}` is not applicable: {one.refused}\n" for one in some if one.refused]
    title = COMMON_TITLE.format(metric=bed.metrics[COMMON]) if common else _own_title(bed, fedavg)
    return [title, table([*head, "bytes a round", "tuned"], rows), *notes]


def _own_title(bed: Bed, fedavg: Line) -> str:
    other = written(spread(fedavg.accuracies(bed.metrics[OWN].removeprefix("personal_"))))
    return OWN_TITLE.format(own=bed.metrics[OWN], private=bed.metrics[PRIVATE], other=other)


def picture(bed: Bed, results: Results) -> str:
    """Draw accuracy by round of FedAvg and the best strategies with a common model."""
    found = [one for one in lines(bed, results) if one.common and not one.refused]
    others = [one for one in found if one.entry.strategy != FEDAVG]
    return sweep_picture.curves([_row(one) for one in [plain(found), *others[:DRAWN]]], bed.name)


def _row(one: Line) -> Row:
    settings = {"strategy": one.entry.strategy}
    runs = [
        SweptRun(
            number=number,
            settings=settings,
            directory="",
            stopped="finished",
            series={one.metric: [(at, share) for at, share in run["curves"].get(one.metric, ()) if at >= SHOWN]},
        )
        for number, run in enumerate(one.runs, 1)
    ]
    return Row(settings=settings, finished=runs, planned=len(SEEDS))


INTRODUCTION = f"""# How well the strategies learn

All strategies on two tasks, tuned alike. The page is made by

```sh
HANSA_DATA=/data python benchmarks/learning.py
```

What is compared, and with which settings, stands in [benchmarks/learning_plan.py](../benchmarks/learning_plan.py). It
was fixed before the runs of this page, but for one change of the tuning, told below. The span of the rates, the rounds
and the first target follow from a few runs of FedAvg with seed 1. [robustness.md](robustness.md) has the robust
rules under attack.

- **Tuning.** Each strategy has six trials: three learning rates by two values of a knob of its own, or six rates of
  the same span where it has none. Their seed is 1. The two that ended best are run again, and that of them goes
  to the table whose evaluations in the last {LATE} rounds have the better mean. At first it was the one that ended
  best, which chance decides as much as the setting; this was changed, for all strategies, when 14 of the first table
  were seen.
- **Seeds.** The table has the seeds {", ".join(map(str, SEEDS))}. A seed also has its own split of the data: what
  follows `±`, the standard deviation over the seeds, is that of another federation of the same kind.
- **Accuracy** is the mean of the evaluations in the last {LATE} rounds, and 0 for a run that diverged. *Points above
  FedAvg* are differences of the same seed. ✗ marks a strategy whose paper has it above FedAvg where clients differ, and
  which is not in every seed.
- **Chance.** An Intel Xeon rounds otherwise than the AMD EPYC of this page. There the same benchmark had most means on
  MNIST within a point of these, those of `moon` and `fedprox` within 2, that of `fedbn` 12 above; and `term` had 87.5,
  of which one seed diverges here. Rates of 0.6 are near the edge, and six trials of one seed do not always see it. The
  hospitals' numbers were the same.
- **Bytes** are those of training, up and down, without evaluation. Models are evaluated every 2 rounds
  (`fine_tuning`: 10), and rounds to a target are that coarse. Where not all seeds reached it, the number is the mean of
  those that did.
- **Asynchronous** strategies have as many answers a round as the others on MNIST, of 20 phones at work; how long that
  takes tells `benchmarks/asynchronous.py`. Four hospitals are too few to evaluate while some are at work.
- **FedBN** needs a model with BatchNorm, and is beside FedAvg of that model. On MNIST a client takes part four times in
  40 rounds, in the mean: that is how often it has trained the norms that it is evaluated with. Hospitals, all in each
  round and with patients of different kinds, are what it was made for.
"""
PICTURE = """
![accuracy over the rounds, of FedAvg and the best strategies, with bands](pictures/learning.svg)
"""
COMMON_TITLE = """### A common model

Metric: `{metric}`.
"""
OWN_TITLE = """### Models of the clients' own

Metric, on the clients' own test data: `{own}`, or `{private}` where a part of the model is private.
FedAvg's common model has {other} % on the same data.
"""
