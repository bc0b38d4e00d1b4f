"""The page and the picture of learning.py, from its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeAlias

from learning_plan import ATTACKS, BACKDOOR, COMMON, OWN, PLAIN, PRIVATE, SEEDS, Bed, Entry, Rule, Siege

from hansa.fedserver import sweep_picture
from hansa.fedserver.sweep import Row, Spread, SweptRun, spread
from hansa.fedserver.watch import size

Result: TypeAlias = Mapping[str, Any]
Results: TypeAlias = dict[str, Result]
"""What came of each run, by its overrides."""

LATE, POINTS, DRAWN, SHOWN = 10, 2.0, 5, 10
"""Last rounds whose evaluations make a run's accuracy; points that a rule may lose; strategies in the picture, and its
first round: before it all climb, and afterwards they differ by points."""


def value(one: Result, metric: str) -> float:
    """Return a metric of a run in percent, 0 where the run diverged."""
    return 0.0 if one["failed"] else last(one)[metric]


def last(one: Result) -> dict[str, float]:
    """Return metrics in percent, each the mean over the evaluations of the last rounds."""
    return {
        name: 100 * fmean(share for at, share in points if at > points[-1][0] - LATE)
        for name, points in one["curves"].items()
    }


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
        against = ("", "") if self.entry.strategy == PLAIN else (written(spread(gains), "+"), above)
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
    return next(one for one in found if one.entry.strategy == PLAIN)


def page(beds: Sequence[Bed], siege: Siege, results: Results) -> str:
    """Return the whole page."""
    found = [lines(bed, results) for bed in beds]
    notes = [note for some in found for note in glance(some)]
    notes += [note for split in siege.splits for note in withstood(siege, split, results)]
    parts = [INTRODUCTION, "## At a glance\n", *notes, PICTURE]
    for some in found:
        parts += [f"## {some[0].bed.name}\n", *tables(some, common=True), *tables(some, common=False)]
    parts.append(ATTACKED.format(rounds=siege.rounds))
    for split in siege.splits:
        parts += [f"### {split}\n", table(["rule", "no attack", *ATTACKS, "backdoor"], walls(siege, split, results))]
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


def listed(names: Sequence[str]) -> str:
    """Write names in a row."""
    return ", ".join(f"`{name}`" for name in names) or "none"


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


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table, and an empty line."""
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


def mean(runs: Sequence[str], results: Results, metric: str = "server_accuracy") -> float | None:
    """Return a metric's mean over seeds, in percent; None where a run was refused."""
    done = [results[words] for words in runs]
    return None if any(one["refused"] for one in done) else fmean(value(one, metric) for one in done)


def lost(siege: Siege, rule: Rule, split: str, results: Results) -> dict[str, float]:
    """Return the points that a rule loses by each attack that could be carried out."""
    free = mean(siege.runs(rule, split), results)
    under = {attack: mean(siege.runs(rule, split, attack), results) for attack in ATTACKS}
    return {attack: free - found for attack, found in under.items() if found is not None and free is not None}


def walls(siege: Siege, split: str, results: Results) -> list[list[str]]:
    """Return a row for each rule."""
    rows = []
    for rule in siege.rules:
        points = lost(siege, rule, split, results)
        cells = [percent(mean(siege.runs(rule, split), results))]
        for attack in ATTACKS:
            cell = percent(mean(siege.runs(rule, split, attack), results))
            cell += " ✗" if points.get(attack, 0.0) > POINTS else ""
            cells.append(cell if attack in rule.claimed or rule.name == PLAIN else f"({cell})")
        turned = mean(siege.runs(rule, split, BACKDOOR), results, "server_backdoor")
        rows.append([f"`{rule.name}`", *cells, percent(turned)])
    return rows


def percent(found: float | None) -> str:
    """Write an accuracy."""
    return "refused" if found is None else f"{found:.1f}"


def withstood(siege: Siege, split: str, results: Results) -> list[str]:
    """Say which rules hold under what their papers claim, which do not, and what breaks the plain mean."""
    holds, fails, untried, broken = list[str](), list[str](), list[str](), "nothing"
    for rule in siege.rules:
        points = lost(siege, rule, split, results)
        bad = {attack: gone for attack, gone in points.items() if gone > POINTS}
        text = ", ".join(f"{attack} {-gone:+.1f}" for attack, gone in bad.items())
        if rule.name == PLAIN:
            broken = text or broken
        elif not points:
            untried.append(rule.name)
        elif broke := [f"{attack} {-gone:+.1f}" for attack, gone in bad.items() if attack in rule.claimed]:
            fails.append(f"{rule.name}: {', '.join(broke)}")
        else:
            holds.append(rule.name)
    within = f"within {POINTS:.0f} points under every attack that their papers claim"
    tried = [f"  - Not tried, because the simulation cannot attack them: {listed(untried)}."] if untried else []
    return [
        f"- **{split}, 20 % attackers**, {within}: {listed(holds)}.",
        f"  - Not so: {listed(fails)}.",
        *tried,
        f"  - The plain mean breaks under: {broken}.",
    ]


def picture(bed: Bed, results: Results) -> str:
    """Draw accuracy by round of FedAvg and the best strategies with a common model."""
    found = [one for one in lines(bed, results) if one.common and not one.refused]
    others = [one for one in found if one.entry.strategy != PLAIN]
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

All strategies on two tasks, tuned alike, and the robust rules under attack. The page is made by

```sh
HANSA_DATA=/data python benchmarks/learning.py
```

What is compared, and with which settings, stands in [benchmarks/learning_plan.py](../benchmarks/learning_plan.py). It
was fixed before the runs of this page, but for one change of the tuning, told below. The span of the rates, the rounds
and the first target follow from a few runs of FedAvg with seed 1; the rate under attack was looked at in single runs of
some rules with seed 11.

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
- **Bytes** are those of training, up and down, without evaluation. Models are evaluated every 2 rounds
  (`fine_tuning`: 10), and rounds to a target are that coarse. Where not all seeds reached it, the number is the mean of
  those that did.
- **Asynchronous** strategies have as many answers a round as the others on MNIST, of 20 phones at work; how long that
  takes tells `benchmarks/asynchronous.py`. Four hospitals are too few to evaluate while some are at work.
- **FedBN** needs a model with BatchNorm, and is beside FedAvg of that model. In 40 rounds a client takes part four
  times in the mean: that is how often it has trained the norms that it is evaluated with.
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
ATTACKED = f"""## Under attack

20 clients of MNIST, all in each round, 10 local steps at rate 0.3, {{rounds}} rounds, without tuning; 4 of the clients
attack. A cell is the accuracy in percent on the coordinator's test data, the mean over the seeds; a run
that diverged counts as 0.

- ✗: more than {POINTS:.0f} points below the same rule without an attack.
- In brackets: an attack of which the rule's paper neither proves nor measures that the rule withstands it.
- backdoor: the share of the pictures that the trigger of `{BACKDOOR}` turns into its class; accuracy does not show it.
- `{PLAIN}` is the plain mean, with equal weights, as all rules have them.
"""
