"""``hansa strategies``: what can be chosen, and with which settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from importlib.resources import files

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hansa.conf.components import installed
from hansa.conf.errors import UnknownSetting
from hansa.conf.facts import Facts, flat, told, written
from hansa.conf.parts import GROUPS


def main(words: Sequence[str]) -> None:
    """Print a table a group: each choice, what it is, and its settings; or all that is to be known of one strategy."""
    console = Console()
    if words:
        _show(console, words)
        return
    for group in GROUPS:
        table = Table(title=f"{group}=...", title_justify="left", show_lines=False, box=None, pad_edge=False)
        for column in ("choice", "what it is", "settings"):
            table.add_column(column, overflow="fold")
        for row in rows(group):
            table.add_row(*row)
        console.print(table, "")


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
    console.print(f"[bold]strategy={fact.name}[/]: {fact.about}\n", highlight=False)
    console.print(fact.equations + "\n", markup=False, highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in [*told(fact), *((f"strategy.{name}", written(value)) for name, value in fact.settings.items())]:
        table.add_row(name, Text(value))
    console.print(table)


def rows(group: str) -> Iterator[tuple[str, str, str]]:
    """Yield a group's choices: name, description, settings; strategies of installed packages last."""
    for file in sorted(files("hansa.conf").joinpath(group).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            text = file.read_text(encoding="utf-8")
            about, settings = text.splitlines()[0].removeprefix("# "), dict(flat(yaml.safe_load(text)))
            settings.pop("defaults", None)
            yield file.name.removesuffix(".yaml"), about, ", ".join(settings)
    if group == "strategy":
        for name, point in installed().items():
            yield name, f"of an installed package ({point.value})", ""
