"""What README, CONTRIBUTING and docs/ say is so: blocks run, links resolve, settings are those that exist.

A fenced ``python`` block whose first line is ``# name.py`` is written to that file. Of a ``console`` block each line
``$ command`` is run, in the order of the page, in a folder of the page's own that has a copy of examples/; what is
shown below it must be printed, where numbers may differ and ``…`` stands for anything. Other blocks are only read.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from hansa.conf import main
from hansa.conf.compose import compose, flat
from hansa.conf.parts import OPERATION, SITE, SITE_OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
GROUPS = ("task", "partition", "strategy", "pipeline", "client", "cohort", "selection", "devices", "attack")


class Step(NamedTuple):
    """A command of a page, and the lines that it shows."""

    command: str
    shown: list[str]


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def steps(page: Path) -> list[Step]:
    found: list[Step] = []
    for line in "".join(blocks(page, "console")).splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:], []))
        else:
            found[-1].shown.append(line)
    return found


def write_files(page: Path, folder: Path) -> None:
    for body in blocks(page, "python"):
        first, _, rest = body.partition("\n")
        name = re.fullmatch(r"# (\w+\.py)", first)
        assert name, f"{page.name}: a python block begins with its file's name, as in '# mine.py', not with {first!r}"
        (folder / name[1]).write_text(rest, encoding="utf-8")


def run(command: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Run a command in this process where it is Hansa's, which saves its imports; return all that it printed."""
    words = shlex.split(command)
    if words[0] == "cd":
        os.chdir(words[1])
        return ""
    if words[0] == "hansa":
        main.run(words[1:])
        told = capfd.readouterr()
        return told.err + told.out
    words[0] = {"python": sys.executable}.get(words[0], words[0])
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def masked(line: str) -> str:
    """Make a line comparable: names of runs, hashes, sizes and numbers may differ."""
    line = re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}|[0-9a-f]{64}", "#", line)
    return re.sub(r"\d+(\.\d+)?( [kMG]?B\b)?", "#", line)


def demand_shown(step: Step, told: str) -> None:
    printed = [masked(line) for line in told.splitlines()]
    for line in step.shown:
        if line != "…":
            pattern = re.escape(masked(line)).replace("…", ".*")
            assert any(re.fullmatch(pattern, one) for one in printed), f"$ {step.command}\nprints no {line!r}:\n{told}"


@pytest.mark.parametrize("page", [page for page in PAGES if steps(page)], ids=lambda page: page.stem)
def test_what_a_page_shows_is_what_happens(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    write_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    for step in steps(page):
        demand_shown(step, run(step.command, capfd))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_resolve(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if not path.startswith("https://"):
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name}: {link} leads nowhere"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link} has no such heading"


def anchors(page: Path) -> set[str]:
    """The headings of a page as links write them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def choices() -> list[list[str]]:
    """Every choice of each group, as on a command line."""
    folders = {group: files("hansa.conf").joinpath(group).iterdir() for group in GROUPS}
    return [
        [f"{group}={name}" for name in sorted(f.name[:-5] for f in folder if f.name.endswith(".yaml"))]
        for group, folder in folders.items()
    ]


@functools.cache
def composed() -> list[dict[str, object]]:
    """The settings with every choice: with the first of each group, with the second of each, and so on."""
    return [settings([word for word in words if word]) for words in itertools.zip_longest(*choices())]


def settings(words: Sequence[str]) -> dict[str, object]:
    """The settings of a configuration and their values; what lies inside of clip is no setting of its own."""
    found = flat(compose(list(words))[0])
    names = (name for name in found if not name.endswith("_target_"))
    return {re.sub(r"(\.clip)\..*", r"\1", name): found[name] for name in names}


def documented() -> dict[str, tuple[str, str]]:
    """Default and part of each setting, as docs/settings.md says."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \| (\w+) \| ", text, re.M)
    assert len(rows) == len({name for name, *_ in rows})
    return {name: (default, part) for name, default, part in rows}


def test_settings_are_all_documented_and_all_exist() -> None:
    assert set(documented()) == {name for found in composed() for name in found}


def test_settings_have_the_defaults_and_parts_that_are_documented() -> None:
    found: dict[str, object] = {}
    for some in (
        *composed(),
        *map(settings, (["pipeline=quantised"], ["task=digits"], ["devices=phones"], ["seed=1"])),
    ):
        found |= some
    own = SITE | {f"task.{option}" for options in SITE_OPTIONS.values() for option in options}
    for name, (default, part) in documented().items():
        assert yaml.safe_load(default) == found[name], name
        assert part == ("site" if name in own else "operation" if name in OPERATION else "learning"), name


def test_every_choice_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert [word for words in choices() for word in words if f"`{word.partition('=')[2]}`" not in text] == []
