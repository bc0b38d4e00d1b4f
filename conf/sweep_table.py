"""The table of a sweep, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hansa.fedserver.sweep import Row, Spread, columns
from hansa.fedserver.watch import size

UNBOUNDED = 10_000
"""Columns of what is no terminal."""


def show(table: Sequence[Row], console: Console) -> None:
    """Print the table, in several where the terminal is narrow: of each value the mean ± the standard deviation."""
    names = [name for name in columns(table) if not name.endswith("_error")]
    while True:
        fits = len(names)
        while fits > 1 and _width(_drawn(table, names[:fits]), console) > console.width:
            fits -= 1
        console.print(_drawn(table, names[:fits]))
        names = names[fits:]
        if not names:
            return


def _width(drawn: Table, console: Console) -> int:
    return console.measure(drawn, options=console.options.update(width=UNBOUNDED)).maximum


def _drawn(table: Sequence[Row], names: Sequence[str]) -> Table:
    drawn = Table(box=box.SIMPLE, pad_edge=False)
    for setting in table[0].settings:
        drawn.add_column(setting, overflow="fold")
    for name in ("seeds", *names):
        drawn.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for row in table:
        spreads = row.spreads()
        seeds = len(row.finished)
        cells = [_cell(name, spreads.get(name), seeds) for name in names]
        drawn.add_row(*map(Text, row.settings.values()), f"{seeds}/{row.planned}", *cells)
    return drawn


def _cell(name: str, found: Spread | None, seeds: int) -> str:
    """Write a value; where only some of the seeds have it, how many."""
    if found is None:
        return "n/a"
    some = "" if found.count == seeds else f" ({found.count} of {seeds})"
    if name.startswith("bytes"):
        return size(round(found.mean)) + some
    digits = 1 if name.startswith("rounds") else 2 if name.startswith("seconds") else 4
    whole = name.startswith("rounds") and found.mean.is_integer() and not found.std
    mean = f"{found.mean:.{0 if whole else digits}f}"
    return mean + (f" ± {found.std:.{digits}f}" if found.std else "") + some
