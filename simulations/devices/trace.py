"""Windows of availability from a file: CSV with the header ``client,start,stop``, times in seconds of virtual time."""

from __future__ import annotations

import csv
import difflib
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hansa.simulations.errors import DeviceError

HEADER = ["client", "start", "stop"]
Window = tuple[float, float]


@dataclass(frozen=True)
class Trace:
    """Windows of each client, in order and apart from each other. Who has none is never there."""

    windows: Mapping[str, Sequence[Window]]
    always: bool = False

    @classmethod
    def read(cls, path: Path, names: Sequence[str]) -> Trace:
        """Read a file about these clients. Raises DeviceError with file and line."""
        found: dict[str, list[Window]] = {}
        known = frozenset(names) if isinstance(names, (tuple, list)) else names
        for line, client, window in _lines(path):
            if client not in known:
                near = difflib.get_close_matches(client, itertools.islice(names, 1000), 3, 0.0)
                raise _wrong(path, line, f"no client is called {client!r}: nearest are {', '.join(near)}")
            found.setdefault(client, []).append(window)
        if not found:
            raise _wrong(path, 1, "no client is ever there: add lines such as client-1,0,3600")
        return cls({client: _joined(windows) for client, windows in found.items()})

    def until(self, client: str, now: float) -> float | None:
        """See ``Windows``; a window holds its start and not its stop."""
        windows = self.windows.get(client, ())
        place = bisect_right(windows, (now, math.inf)) - 1
        return windows[place][1] if place >= 0 and now < windows[place][1] else None

    def next(self, client: str, now: float) -> float:
        """See ``Windows``.

        >>> Trace({"riga": [(0.0, 5.0), (9.0, 12.0)]}).next("riga", 7.0)
        9.0
        """
        if self.until(client, now) is not None:
            return now
        windows = self.windows.get(client, ())
        place = bisect_right(windows, (now, math.inf))
        return windows[place][0] if place < len(windows) else math.inf


def _lines(path: Path) -> Iterator[tuple[int, str, Window]]:
    """Yield number, client and window of each line below the header."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if (header := next(rows, [])) != HEADER:
                raise _wrong(path, 1, f"the header is {','.join(header)!r}: it must be {','.join(HEADER)}")
            for row in rows:
                yield rows.line_num, *_read(path, rows.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DeviceError(f"devices.availability.trace={path}: {why}: name a CSV file of text.") from None


def _read(path: Path, line: int, row: Sequence[str]) -> tuple[str, Window]:
    try:
        client, start, stop = row[0], float(row[1]), float(row[2])
    except (IndexError, ValueError):
        start, stop, client = math.nan, math.nan, ""
    if len(row) != len(HEADER) or not 0 <= start < stop < math.inf:
        raise _wrong(path, line, f"{','.join(row)!r}: write a client and two numbers of seconds, 0 <= start < stop")
    return client, (start, stop)


def _wrong(path: Path, line: int, what: str) -> DeviceError:
    return DeviceError(f"{path}, line {line}: {what}.")


def _joined(windows: list[Window]) -> list[Window]:
    """Sort windows, and join those that touch each other."""
    joined: list[Window] = []
    for start, stop in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined
