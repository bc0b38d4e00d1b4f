"""What learning.py compares: tasks, strategies, and how each is tuned.

A strategy of one's own is one `Entry` more, and needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kept_runs import line

RATES, FINE = (0.06, 0.2, 0.6), (0.06, 0.1, 0.2, 0.3, 0.4, 0.6)
"""Learning rates: three beside two values of a strategy's own knob, or six of the same span where it has none."""
TUNED, SEEDS = 1, (11, 13, 15)
"""The seed of the trials, and those of the tables; each also has a split of the data of its own."""
OWN, PRIVATE, COMMON = "own", "private", "common"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A strategy: two values of its ``knob``, what ``more`` it needs, and which model is judged.

    ``model`` is COMMON; PRIVATE, where clients keep a part; or OWN, where they have whole models beside the common one.
    ``promise`` says that its paper has it above FedAvg where clients differ. In ``knob`` and ``more``, {rate} is the
    learning rate and {inverse} 1 by it.
    """

    strategy: str
    knob: tuple[str, ...] = ()
    more: str = ""
    model: str = COMMON
    promise: bool = False

    def choices(self) -> list[str]:
        """Return the trials, six for each strategy, as overrides."""
        rates = RATES if self.knob else FINE
        return [
            f"client.lr={rate} {knob} {self.more}".format(rate=rate, inverse=f"{1 / rate:.6g}")
            for rate in rates
            for knob in self.knob or ("",)
        ]


@dataclass(frozen=True, kw_only=True)
class Bed:
    """A task with all strategies: its overrides, the metric by which model, and the targets for common and own ones."""

    name: str
    words: str
    rounds: int
    metrics: Mapping[str, str]
    targets: Mapping[str, float]
    entries: tuple[Entry, ...]

    @property
    def short(self) -> str:
        """What comes first in its name."""
        return self.name.partition(",")[0]

    def run(self, entry: Entry, choice: str, seed: int, every: int) -> str:
        """Return the overrides of one run, as a shell takes them; it is evaluated every so many rounds."""
        return line(
            f"{self.words} seed={seed} task.split={seed} rounds={self.rounds} evaluation.every={every} "
            f"strategy={entry.strategy} {choice}"
        )

    def trials(self, entry: Entry) -> dict[str, str]:
        """Return each choice, and its run of the tuning, which is evaluated once."""
        return {choice: self.run(entry, choice, TUNED, self.rounds) for choice in entry.choices()}

    def again(self, entry: Entry, choices: Iterable[str]) -> dict[str, str]:
        """Return some choices, and the runs by which one of them is chosen."""
        every = EVERY.get(entry.strategy, OFTEN)
        return {choice: self.run(entry, choice, TUNED, every) for choice in choices}

    def finals(self, entry: Entry, choice: str) -> list[str]:
        """Return the runs of the table."""
        return [self.run(entry, choice, seed, EVERY.get(entry.strategy, 2)) for seed in SEEDS]


OFTEN = 4
"""Rounds between evaluations of the trials that are run again."""
EVERY = {"fine_tuning": 10}
"""Rounds between evaluations, where these cost more than the rounds; the others have 2."""


BUFFERED = "cohort=asynchronous cohort.size=20 cohort.buffer=10 evaluation.to=cohort"
"""As many answers a round as the others have, of twice as many at work."""
ENTRIES = (
    Entry(strategy="fedavg"),
    Entry(strategy="fedavg_fixed"),
    Entry(strategy="fedprox", knob=("strategy.mu=0.01", "strategy.mu=0.1"), promise=True),
    Entry(strategy="moon", knob=("strategy.mu=1.0", "strategy.mu=5.0"), promise=True),
    Entry(strategy="scaffold", knob=("strategy.option=1", "strategy.option=2"), promise=True),
    Entry(strategy="feddyn", knob=("strategy.alpha=0.01", "strategy.alpha=0.1"), promise=True),
    Entry(strategy="fedcm", knob=("strategy.alpha=0.1", "strategy.alpha=0.3"), promise=True),
    Entry(strategy="fednova", promise=True),
    Entry(strategy="fedavgm", knob=("strategy.momentum=0.5", "strategy.momentum=0.9"), promise=True),
    Entry(strategy="fedadagrad", knob=("strategy.lr=0.03", "strategy.lr=0.1"), promise=True),
    Entry(strategy="fedadam", knob=("strategy.lr=0.01", "strategy.lr=0.03"), promise=True),
    Entry(strategy="fedyogi", knob=("strategy.lr=0.01", "strategy.lr=0.03"), promise=True),
    Entry(strategy="qfedavg", knob=("strategy.q=0.1", "strategy.q=1.0"), more="strategy.lipschitz={inverse}"),
    Entry(strategy="term", knob=("strategy.t=0.1", "strategy.t=1.0")),
    Entry(strategy="afl", knob=("strategy.gamma=0.01", "strategy.gamma=0.1")),
    Entry(strategy="fedbuff", more=f"devices=phones {BUFFERED}"),
    Entry(strategy="fedasync", knob=("strategy.lr=0.6", "strategy.lr=1.0"), more=f"devices=phones {BUFFERED}"),
    Entry(strategy="median"),
    Entry(strategy="trimmed_mean", knob=("strategy.rule.trim=0.1", "strategy.rule.trim=0.2")),
    Entry(strategy="krum", knob=("strategy.rule.byzantine=1", "strategy.rule.byzantine=2")),
    Entry(strategy="multi_krum", knob=("strategy.rule.byzantine=1", "strategy.rule.byzantine=2")),
    Entry(strategy="bulyan", more="strategy.rule.byzantine=1"),
    Entry(strategy="geometric_median", knob=("strategy.rule.passes=1", "strategy.rule.passes=4")),
    Entry(strategy="rfa", knob=("strategy.passes=2", "strategy.passes=4")),
    Entry(strategy="centred_clipping", knob=("strategy.rule.radius=1.0", "strategy.rule.radius=10.0")),
    Entry(strategy="bucketing", knob=("strategy.bucket=2", "strategy.bucket=3")),
    Entry(strategy="median_of_means", knob=("strategy.groups=3", "strategy.groups=5")),
    Entry(strategy="fltrust", more="task.root=100"),
    Entry(strategy="ifca", knob=("strategy.clusters=2", "strategy.clusters=4"), model=OWN, promise=True),
    Entry(strategy="fine_tuning", knob=("strategy.epochs=1", "strategy.epochs=3"), model=OWN, promise=True),
    Entry(strategy="ditto", knob=("strategy.attraction=0.1", "strategy.attraction=1.0"), model=OWN, promise=True),
    Entry(
        strategy="pfedme",
        knob=("strategy.attraction=5.0", "strategy.attraction=15.0"),
        more="strategy.rate=0.03 strategy.local_rounds=5 strategy.steps=3",
        model=OWN,
        promise=True,
    ),
    Entry(strategy="fedper", more="private=['5.*']", model=PRIVATE, promise=True),
    Entry(
        strategy="fedrep",
        knob=("strategy.head_epochs=1", "strategy.head_epochs=5"),
        more="private=['5.*']",
        model=PRIVATE,
        promise=True,
    ),
    Entry(strategy="fedbn", more="private=[norms]", model=PRIVATE, promise=True),
)
NORMED = tuple(one for one in ENTRIES if one.strategy in ("fedavg", "fedbn"))
NONE: tuple[str, ...] = ()
FOUR = {
    "krum": {"knob": NONE, "more": "strategy.rule.byzantine=0"},
    "multi_krum": {"knob": NONE, "more": "strategy.rule.byzantine=0"},
    "bulyan": {"more": "strategy.rule.byzantine=0"},
    "trimmed_mean": {"knob": NONE},
    "bucketing": {"knob": NONE},
    "median_of_means": {"knob": ("strategy.groups=2", "strategy.groups=3")},
    "fltrust": {"more": "strategy.root=cleveland"},
    "fedper": {"more": "private=['logit.*']"},
    "fedrep": {"more": "private=['logit.*']"},
}
"""What differs with four clients."""

MNIST = "task=./benchmarks/learning_task.py:Kept federation=inline partition=dirichlet"
BEDS: tuple[Bed, ...] = (
    Bed(
        name="MNIST, Dirichlet 0.1, 10 of 100 clients a round",
        words=f"{MNIST} partition.alpha=0.1 clients=100 cohort.size=10",
        rounds=40,
        metrics={COMMON: "server_accuracy", PRIVATE: "accuracy", OWN: "personal_accuracy"},
        targets={COMMON: 0.9, OWN: 0.95},
        entries=ENTRIES,
    ),
    Bed(
        name="MNIST with BatchNorm, Dirichlet 0.1, 10 of 100 clients a round",
        words=f"{MNIST.replace('Kept', 'Normed')} partition.alpha=0.1 clients=100 cohort.size=10",
        rounds=40,
        metrics={COMMON: "server_accuracy", PRIVATE: "accuracy", OWN: "personal_accuracy"},
        targets={COMMON: 0.9, OWN: 0.95},
        entries=NORMED,
    ),
    Bed(
        name="heart_disease, four hospitals",
        words="task=heart_disease federation=inline task.net=mlp client.batch_size=16",
        rounds=30,
        metrics={COMMON: "accuracy", PRIVATE: "accuracy", OWN: "personal_accuracy"},
        targets={COMMON: 0.75, OWN: 0.75},
        entries=tuple(replace(one, **FOUR.get(one.strategy, {})) for one in ENTRIES if BUFFERED not in one.more),  # type: ignore[arg-type]
    ),
    Bed(
        name="heart_disease with BatchNorm, four hospitals",
        words="task=./benchmarks/learning_task.py:NormedHearts federation=inline client.batch_size=16",
        rounds=30,
        metrics={COMMON: "accuracy", PRIVATE: "accuracy", OWN: "personal_accuracy"},
        targets={COMMON: 0.75, OWN: 0.75},
        entries=NORMED,
    ),
)
