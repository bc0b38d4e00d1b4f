"""The room that clients' states have on a device's disk: old runs go by age, and the oldest where room is wanted."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hansa.fedclient.errors import BeyondLimits

DAY = 86_400.0
LONGEST = 150
"""Characters of a name that its folder shows."""
MOST = 1000
"""Runs of which anything is kept."""
FLOWER = "flower"
"""The folder of the states of Flower's runs, each a file."""


@dataclass(frozen=True)
class Run:
    """What is kept of a run: how much, since when nobody has touched it, and whether a state waits to be counted."""

    path: Path
    size: int
    touched: float
    waits: bool


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """States of all runs under ``root``: of ``most`` bytes, each for ``days`` after it was last written."""

    root: Path
    most: int
    days: float

    def sweep(self, run: str, now: float, wanted: int = 0) -> None:
        """Remove what is too old, then the oldest, those that wait last, until there is room for ``wanted`` bytes more.

        Never of this run: raises BeyondLimits where that would not be enough.
        """
        ours = {self.root / folder_of(run), self.root / FLOWER / folder_of(run)}
        kept, others = 0, []
        for found in self._runs():
            if ours & {found.path, *found.path.parents}:
                kept += found.size
            else:
                others.append(found)
        if kept + wanted > self.most:
            raise BeyondLimits(f"the states of this run have {kept + wanted:,} bytes", "states", self.most)
        others.sort(key=lambda other: (other.waits, other.touched))
        room, count = self.most - kept - wanted - sum(other.size for other in others), len(others)
        for other in others:
            if room < 0 or count >= MOST or now - other.touched > self.days * DAY:
                _remove(other.path)
                room, count = room + other.size, count - 1

    def _runs(self) -> Iterator[Run]:
        flowers = self.root / FLOWER
        folders = [*_within(self.root), *_within(flowers)]
        return (_run(path) for path in folders if path != flowers)


def shelf_of(order: Mapping[str, Any]) -> Shelf:
    """Return the shelf of a worker's order; what its owner says nothing of is free."""
    limits = order.get("limits", {})
    days = limits.get("state_days", math.inf)
    return Shelf(root=Path(order["state"]), most=limits.get("states", 2**62), days=days)


def folder_of(name: str) -> str:
    """Return the one folder of a name, whatever it holds; what is too long for a file system ends in a hash."""
    text = quote(name, safe="").replace(".", "%2E") or "%"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}%%{hashlib.sha256(name.encode()).hexdigest()}"


def _run(path: Path) -> Run:
    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    stats = [file.stat() for file in files]
    return Run(
        path=path,
        size=sum(stat.st_size for stat in stats),
        touched=max((stat.st_mtime for stat in stats), default=0.0),
        waits=any(file.name.startswith("staged") for file in files),
    )


def _within(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
