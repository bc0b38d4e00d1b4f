"""What a person sees of a run: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from hansa.fedlink.quota import Quota
from hansa.fedserver.axes import duration
from hansa.fedserver.records import Refusal, RoundRecord, Values, written
from hansa.fedserver.waiting import whom
from hansa.strategies.pipeline import Names

SHOWN = 3
"""Refusals that are shown a round, as far as each client's quota allows; all are in metrics.jsonl."""


def values(metrics: Values) -> str:
    """Write metrics in a few words.

    >>> values({"loss": 0.25, "auc": None})
    'loss 0.2500, auc n/a'
    """
    return ", ".join(f"{name} {'n/a' if value is None else f'{value:.4f}'}" for name, value in metrics.items())


def line(record: RoundRecord, rounds: int) -> str:
    """Write a closed round in one line."""
    name = f"round {record.round}/{rounds}" if record.round else "queries"
    told = f"lost: {record.lost}" if record.lost else values(record.metrics)
    sent = f"{size(record.bytes_up)} up, {size(record.bytes_down)} down"
    took = f"{record.seconds:.2f} s"
    if record.virtual is not None:
        took += f" ({duration(record.virtual.seconds)} of virtual time)"
    who = f"{record.counted}/{record.cohort} clients"
    if record.staleness:
        who = f"{record.counted} answer{'s' * (record.counted != 1)}, {record.cohort} at work"
    return f"{name}: {who}, {took}, {sent}{', ' if told else ''}{told}"


def size(count: int) -> str:
    """Write a number of bytes.

    >>> size(33_100)
    '33.1 kB'
    """
    for unit, least in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count} B"


class Lines:
    """Plain lines, for logs."""

    def __init__(self, rounds: int, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.rounds, self.out, self.clock, self.quota = rounds, out or sys.stderr, clock, Quota()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.out.flush()

    def opened(self, record: RoundRecord, endpoint: str, names: Names, wanted: int) -> None:
        """Nothing: a line is written when the round is closed."""

    def joined(self, record: RoundRecord, names: Names) -> None:
        """Nothing: a line is written when the round is closed."""

    def answered(self, record: RoundRecord, client: str) -> None:
        """Nothing: a line is written when the round is closed."""

    def refused(self, record: RoundRecord, refusal: Refusal) -> None:
        text = f"round {record.round}: {refusal.client} is left out: {refusal.why}"
        if len(record.refused) <= SHOWN and (told := self.quota.line(refusal.client, text, self.clock())):
            print(told, file=self.out)

    def closed(self, record: RoundRecord) -> None:
        print(line(record, self.rounds), file=self.out, flush=True)

    def say(self, text: str) -> None:
        print(text, file=self.out, flush=True)


class Json:
    """A line of JSON for each thing that happens, for machines that collect logs; ``wall`` gives seconds since 1970."""

    def __init__(self, wall: Callable[[], float], out: TextIO | None = None) -> None:
        self.wall, self.out, self.quota = wall, out or sys.stderr, Quota()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.out.flush()

    def opened(self, record: RoundRecord, endpoint: str, names: Names, wanted: int) -> None:
        self._line("request", round=record.round, endpoint=endpoint, clients=list(names))

    def joined(self, record: RoundRecord, names: Names) -> None:
        self._line("joined", round=record.round, clients=list(names))

    def answered(self, record: RoundRecord, client: str) -> None:
        self._line("answer", round=record.round, client=client)

    def refused(self, record: RoundRecord, refusal: Refusal) -> None:
        if why := self.quota.line(refusal.client, refusal.why, self.wall()):
            self._line("refused", round=record.round, client=refusal.client, why=why)

    def closed(self, record: RoundRecord) -> None:
        self._line("round", **written(record))

    def say(self, text: str) -> None:
        self._line("told", text=text)

    def _line(self, event: str, **fields: Any) -> None:
        at = datetime.fromtimestamp(self.wall(), UTC).isoformat(timespec="milliseconds")
        print(json.dumps({"at": at, "event": event, **fields}), file=self.out, flush=True)


class Screen:
    """A live bar with round, clients and what is waited for; the last metrics and refusals below it.

    ``doing`` says what a client does and for how long, where that is known.
    """

    def __init__(
        self, rounds: int, console: Console | None = None, doing: Callable[[str], str] = lambda client: ""
    ) -> None:
        self.doing = doing
        columns = (
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.rounds, self.bars = rounds, Progress(*columns, expand=True)
        self.whole = self.bars.add_task("rounds", total=rounds)
        self.now = self.bars.add_task("clients", total=None)
        self.told, self.trouble, self.waiting = Text(), Text(style="yellow"), set[str]()
        self.live = Live(console=console or Console(stderr=True), get_renderable=self._view, refresh_per_second=8)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.live.stop()

    def opened(self, record: RoundRecord, endpoint: str, names: Names, wanted: int) -> None:
        self.waiting = set(names)
        self.bars.reset(self.now, description=endpoint, total=wanted)

    def joined(self, record: RoundRecord, names: Names) -> None:
        self.waiting.update(names)

    def answered(self, record: RoundRecord, client: str) -> None:
        self.waiting.discard(client)
        self.bars.advance(self.now)

    def refused(self, record: RoundRecord, refusal: Refusal) -> None:
        self.waiting.discard(refusal.client)
        self.bars.advance(self.now)
        self.trouble = Text(f"round {record.round}: {refusal.client} is left out: {refusal.why}", style="yellow")

    def closed(self, record: RoundRecord) -> None:
        self.waiting.clear()  # of those who were not needed
        self.bars.update(self.whole, completed=record.round)
        self.told = Text(line(record, self.rounds))

    def say(self, text: str) -> None:
        self.live.console.print(Text(text, style="dim"))

    def _view(self) -> Group:
        waits = Text(f"waiting for {whom(self.waiting, self.doing)}", style="dim") if self.waiting else Text()
        return Group(self.bars, self.told, waits, self.trouble)
