"""``hansa partition``: who has which examples in a simulation, in words and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from hansa.conf.components import fields
from hansa.conf.compose import compose, own_code
from hansa.conf.errors import UnknownSetting, WrongValue
from hansa.conf.run import checked_task
from hansa.fedlink.files import replace
from hansa.fedtasks import Task
from hansa.fedtasks.canvas import to_png, to_svg
from hansa.fedtasks.survey import survey
from hansa.fedtasks.survey_picture import picture

HELP = """Say who has which examples in a simulation, and draw it; nothing is trained.

  hansa partition task=mnist partition=dirichlet partition.alpha=0.1 clients=100
  hansa partition task=./mine.py:MyTask out=mine.png

Settings are those of hansa simulate (hansa simulate --help), and two of its own: out=FILE.svg (partition.svg), or
FILE.png with the .svg beside it; most=N, the clients to look at where there are more (1000), evenly spread."""

OWN = {"out": "partition.svg", "most": "1000"}
"""The verb's own settings: where the picture goes, and the most clients to look at."""


def main(words: Sequence[str]) -> None:
    """Look at every client's training data, print what there is, and draw it."""
    if "-h" in words or "--help" in words:
        print(HELP)
        return
    if flags := [word for word in words if "=" not in word and not word.startswith("~")]:
        raise UnknownSetting(f"hansa partition takes no {flags[0]!r}: settings are name=value; see --help.")
    own = {name: value for name, _, value in (word.partition("=") for word in words) if name in OWN}
    out, most = _path(own.get("out", OWN["out"])), _most(own.get("most", OWN["most"]))
    words = own_code([word for word in words if word.partition("=")[0] not in OWN])
    config, choices = compose(words)
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    task = checked_task(values, choices)
    found, title = survey(task, most), _title(task, choices, words)
    shapes, width, height = picture(found, title)
    if out.suffix == ".png":
        replace(out, to_png(shapes, width, height))
    replace(out.with_suffix(".svg"), to_svg(shapes, width, height, title).encode())
    print("\n".join([title, *found.lines(), f"picture    {out}"]))


def _title(task: Task, choices: Mapping[str, str], words: Sequence[str]) -> str:
    """Say what was looked at, as on a command line."""
    groups = ("task", "partition") if "partition" in fields(type(task)) else ("task",)
    more = [word for word in words if word.partition("=")[0] not in choices]
    return " ".join([*(f"{group}={choices[group]}" for group in groups), *more])


def _path(out: str) -> Path:
    path = Path(out)
    if path.suffix not in (".svg", ".png"):
        raise WrongValue(f"out={out}: the picture's name ends in .svg or .png.")
    if not path.parent.is_dir():
        raise WrongValue(f"out={out}: there is no folder {path.parent}: make it first.")
    return path


def _most(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise WrongValue(f"most={text}: it is a number of clients, at least 1.")
    return int(text)
