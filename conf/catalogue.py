"""``hansa strategies``: what can be chosen, and with which settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from hansa.conf.components import installed
from hansa.conf.errors import UnknownSetting
from hansa.conf.parts import GROUPS


def main(words: Sequence[str]) -> None:
    """Print a table a group: each choice, what it is, and its settings."""
    if words:
        raise UnknownSetting(f"hansa strategies takes no {words[0]!r}: it lists everything.")
    console = Console()
    for group in GROUPS:
        table = Table(title=f"{group}=...", title_justify="left", show_lines=False, box=None, pad_edge=False)
        for column in ("choice", "what it is", "settings"):
            table.add_column(column, overflow="fold")
        for row in rows(group):
            table.add_row(*row)
        console.print(table, "")


def rows(group: str) -> Iterator[tuple[str, str, str]]:
    """Yield a group's choices: name, description, settings; strategies of installed packages last."""
    for file in sorted(files("hansa.conf").joinpath(group).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            text = file.read_text(encoding="utf-8")
            about = text.splitlines()[0].removeprefix("# ")
            yield file.name.removesuffix(".yaml"), about, ", ".join(_settings(yaml.safe_load(text)))
    if group == "strategy":
        for name, point in installed().items():
            yield name, f"of an installed package ({point.value})", ""


def _settings(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the names of a component's settings, and of the components in it."""
    for name, value in values.items():
        if isinstance(value, Mapping) and "_target_" in value:
            yield from _settings(value, f"{above}{name}.")
        elif name not in ("_target_", "defaults"):
            yield above + name
