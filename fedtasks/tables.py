"""Strict reading of CSV tables: comma-separated UTF-8 with a header; what is wrong is named with its file and line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hansa.fedtasks.errors import DataError, listed

Columns: TypeAlias = Mapping[str, Mapping[str, float] | None]
"""The columns to read, in order: None for a column of numbers, or the number that each of its words stands for."""


class Line(NamedTuple):
    """One record and the line of the file on which it ends, counted from 1."""

    number: int
    cells: list[str]


def read_table(path: Path | str, columns: Columns, *, drop_missing: bool = False) -> NDArray[np.float64]:
    """Read the named columns of a CSV file as numbers of shape (rows, columns); other columns are ignored.

    An empty cell is an error, or leaves its row out where ``drop_missing``. Numbers must be finite. Raises DataError,
    which says where and never what stands there, for it is told to the coordinator.
    """
    path = Path(path)
    lines = _lines(path)
    header = next(lines, None)
    if header is None:
        raise DataError(path, "the file is empty: write a header line and a line for each example.")
    places = _places(path, header, columns)
    even = (_even(path, line, len(header.cells)) for line in lines)
    rows = [row for line in even if (row := _row(path, line, places, columns, drop_missing)) is not None]
    if not rows:
        raise DataError(path, "below the header there is no complete row: give it at least one.")
    return np.array(rows, np.float64)


def _lines(path: Path) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield Line(reader.line_num, [cell.strip() for cell in cells])
    except csv.Error as error:
        raise DataError(path, f"this is no CSV ({error}): mend the quotes.", line=reader.line_num) from error


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror}): check the path and its permissions.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(path, f"byte {raw[error.start]:#04x} is not UTF-8: save it as UTF-8.", line=line) from error


def _places(path: Path, header: Line, columns: Columns) -> list[int]:
    """Return where each column stands in the file."""
    for name in columns:
        if (count := header.cells.count(name)) != 1:
            wrong = f"there is no column {name!r}" if count == 0 else f"there are {count} columns {name!r}"
            text = f"{wrong} among the {len(header.cells)} of the header: give it one, by this name."
            raise DataError(path, text, line=header.number)
    return [header.cells.index(name) for name in columns]


def _even(path: Path, line: Line, width: int) -> Line:
    if len(line.cells) != width:
        text = f"{len(line.cells)} values where the header has {width}: give each column one."
        raise DataError(path, text, line=line.number)
    return line


def _row(path: Path, line: Line, places: list[int], columns: Columns, drop_missing: bool) -> list[float] | None:
    cells = [line.cells[place] for place in places]
    if drop_missing and "" in cells:
        return None
    row = []
    for cell, (name, words) in zip(cells, columns.items(), strict=True):
        try:
            row.append(_value(cell, words))
        except ValueError as error:
            raise DataError(path, f"column {name!r}: {error}.", line=line.number) from None
    return row


def _value(cell: str, words: Mapping[str, float] | None) -> float:
    if cell == "":
        raise ValueError("a value is missing: fill it in or remove the line")
    if words is not None:
        if cell not in words:
            raise ValueError(f"the value is not one of {listed(list(words))}")
        return words[cell]
    try:
        value = float(cell.replace("_", "?"))
    except ValueError:
        raise ValueError("the value is no number: write it as 1.5 or -2e3") from None
    if not math.isfinite(value):
        raise ValueError("the value is not finite: fill in a number or remove the line")
    return value
