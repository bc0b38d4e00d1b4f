"""A file that says something of each client: CSV with the header ``client,<column>``."""

from __future__ import annotations

import csv
import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.selection.there import knows


def read(path: Path, column: str, names: Sequence[str] | None) -> dict[str, tuple[int, str]]:
    """Return line and value of each client in a file; ``names`` are all that there are, sorted, where that is known.

    Raises SelectionError with file and line for what cannot be read, and for a client that is unknown or there twice.
    """
    found: dict[str, tuple[int, str]] = {}
    for line, row in _rows(path, ["client", column]):
        if len(row) != 2 or not all(row):
            raise wrong(path, line, f"{','.join(row)!r}: write a client, a comma and its {column}")
        demand_known(row[0], names, f"{path}, line {line}")
        if row[0] in found:
            raise wrong(path, line, f"{row[0]!r} stands in line {found[row[0]][0]} already: leave one of them out")
        found[row[0]] = line, row[1]
    return found


def demand_known(name: str, names: Sequence[str] | None, where: str) -> None:
    """Raise SelectionError for a name that is none of these; of None it cannot be said."""
    if names is not None and not knows(names, name):
        near = difflib.get_close_matches(name, itertools.islice(names, 1000), 3, 0.0)
        raise SelectionError(f"{where}: no client is called {name!r}: nearest are {', '.join(near)}.")


def wrong(path: Path, line: int, what: str) -> SelectionError:
    """Return the error of a line."""
    return SelectionError(f"{path}, line {line}: {what}.")


def _rows(path: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each line below the header."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if (first := next(rows, [])) != header:
                raise wrong(path, 1, f"the header is {','.join(first)!r}: it must be {','.join(header)}")
            for row in rows:
                yield rows.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SelectionError(f"selection.table={path}: {why}: name a CSV file of text.") from None
