"""``hansa strategies``: what can be chosen, and with which settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hansa.conf.components import installed
from hansa.conf.composition import composition
from hansa.conf.errors import UnknownSetting
from hansa.conf.facts import Facts, flat, strategies
from hansa.conf.pages import composed, told, works, written
from hansa.conf.parts import GROUPS

STRATEGY = ("choice", "what it is", "keeps", "goes with")
WIDTHS = {"keeps": 18, "goes with": 16}
"""The most that columns take; a choice, and ``asynchronous``, are never broken."""
LEAST = {"choice": 16, "goes with": 12}
GOES_WITH = (
    "keeps: what the coordinator keeps beside the model, and what a client does.\n"
    "goes with: what its sums allow; masks and noise are not part of Hansa yet.\n"
    "hansa strategies NAME tells all settings of one, what else it goes with, and why not."
)


def main(words: Sequence[str]) -> None:
    """Print a table a group: each choice, what it is, and its settings; or all that is to be known of one strategy."""
    console = Console()
    if words:
        _show(console, words)
        return
    _print(console, "strategy", STRATEGY, _strategies())
    console.print(GOES_WITH, "", markup=False, highlight=False)
    for group in GROUPS:
        if group != "strategy":
            _print(console, group, ("choice", "what it is", "settings"), rows(group))


def _print(console: Console, group: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    table = Table(title=f"{group}=...", title_justify="left", show_lines=False, box=None, pad_edge=False)
    for column in columns:
        least = LEAST.get(column) if columns is STRATEGY else None
        table.add_column(column, overflow="fold", min_width=least, max_width=WIDTHS.get(column))
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table, "")


def _strategies() -> Iterator[tuple[str, ...]]:
    """Yield what a line says of a strategy; those of installed packages are not taken apart."""
    for fact in strategies():
        states = {"coordinator": fact.server_state, "client": fact.client_state}
        keeps = "; ".join(f"{who}: {', '.join(names)}" for who, names in states.items() if names)
        yield fact.name, fact.about, keeps or "-", ", ".join(works(composition(fact)["allowed"])) or "-"
    for name, about, _ in _installed():
        yield name, about, "", ""


def _show(console: Console, words: Sequence[str]) -> None:
    known = {name: about for name, about, _ in rows("strategy")}
    if len(words) > 1 or words[0] not in known:
        near = difflib.get_close_matches(words[0], known, 3, 0.0)
        raise UnknownSetting(
            f"hansa strategies {' '.join(words)}: there is no such strategy: nearest are {', '.join(near)}."
        )
    if words[0] in installed():
        console.print(f"strategy={words[0]}: {known[words[0]]}")
        return
    fact = Facts(words[0])
    console.print(Text.assemble((f"strategy={fact.name}", "bold"), f": {fact.about}\n"))
    console.print(reflowed(fact.equations) + "\n", markup=False, highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    settings = [(f"strategy.{name}", written(value)) for name, value in fact.settings.items()]
    for lines in (told(fact), settings, composed(fact)):
        for name, value in lines:
            table.add_row(Text(name), Text(value))
        table.add_row()
    console.print(table)


def reflowed(text: str) -> str:
    """Join the lines of each paragraph, so that a terminal breaks them where it ends; equations stay as they are.

    >>> reflowed("one\\ntwo\\n\\n    a\\n    b")
    'one two\\n\\n    a\\n    b'
    """
    paragraphs = text.split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else " ".join(part.split()) for part in paragraphs)


def rows(group: str) -> Iterator[tuple[str, str, str]]:
    """Yield a group's choices: name, description, settings; strategies of installed packages last."""
    for file in sorted(files("hansa.conf").joinpath(group).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            text = file.read_text(encoding="utf-8")
            about, settings = text.splitlines()[0].removeprefix("# "), dict(flat(yaml.safe_load(text)))
            settings.pop("defaults", None)
            yield file.name.removesuffix(".yaml"), about, ", ".join(settings)
    if group == "strategy":
        yield from _installed()


def _installed() -> Iterator[tuple[str, str, str]]:
    for name, point in installed().items():
        yield name, f"of an installed package ({point.value})", ""
