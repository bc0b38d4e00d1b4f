"""A program as a person reads it before it runs: each row begins with our own sign, and odd letters are spelt out."""

from __future__ import annotations

import ast
import unicodedata
import warnings
from collections.abc import Iterator

from hansa.fedlink.plain import is_plain

MARGIN = len("12345 | ")
TURNED = ("R", "AL", "AN")
"""Letters that are written from right to left: a terminal may show their neighbours in another order."""


def lines(text: str) -> list[str]:
    """Return the lines of a program; what ends the last one begins none."""
    return text.removesuffix("\n").split("\n")


def program(text: str, columns: int) -> Iterator[str]:
    """Yield rows of at most so many columns: each line with its number, and what does not fit below it, with none."""
    for number, line in enumerate(lines(text), 1):
        head = f"{number:>5} | "
        for row in _rows(seen(line).expandtabs(8), max(columns - MARGIN, 20)):
            yield head + row
            head = f"{'':>5} : "


def seen(line: str) -> str:
    """Spell out what a terminal would carry out, hide, put elsewhere or show as another sign.

    >>> seen("ü = \\uff45val(x)\\x1b[8m  # \\u05d0")
    'ü = \\\\uff45val(x)\\\\x1b[8m  # \\\\u05d0'
    """
    return line if line.isascii() and is_plain(line) else "".join(map(_seen, line))


def foreign_names(text: str) -> list[str]:
    """Return the names in a program, as Python takes them, that have other letters than ASCII's."""
    try:
        with warnings.catch_warnings(action="ignore"):
            nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # it cannot run either
    fields = [value for node in nodes if not isinstance(node, ast.Constant) for _, value in ast.iter_fields(node)]
    words = [word for value in fields for word in (value if isinstance(value, list) else [value])]
    return sorted({word for word in words if isinstance(word, str) and not word.isascii()})


def _seen(sign: str) -> str:
    plain = is_plain(sign) and unicodedata.category(sign)[0] != "M" and unicodedata.bidirectional(sign) not in TURNED
    return sign if plain and unicodedata.normalize("NFKC", sign) == sign else ascii(sign)[1:-1]


def _rows(line: str, columns: int) -> Iterator[str]:
    """Cut a line into rows that fit, where some signs are two columns wide."""
    start = width = 0
    for at, sign in enumerate(line):
        wide = 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        if width + wide > columns:
            yield line[start:at]
            start, width = at, 0
        width += wide
    yield line[start:]
