"""Programs that are what they look like: nothing in them is hidden from who reads them, or read otherwise by Python."""

from __future__ import annotations

import re
import unicodedata

from hansa.fedlink.texts import shows

COOKIE = re.compile(r"[ \t]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
"""How a file says in which encoding it is (PEP 263)."""
UTF_8 = ("utf-8", "utf8")
REMEDIES = {"\r": "save it with Unix line ends", "\ufeff": "save it as UTF-8 without a byte order mark"}


def demand_plain(content: bytes | str, where: str, kind: type[Exception]) -> str:
    """Return a program's text; raises the kind of error where Python reads what a person cannot see, or otherwise."""
    text = content if isinstance(content, str) else _decoded(content, where, kind)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not is_plain(line):
            column, sign = next((at, c) for at, c in enumerate(line, 1) if not is_plain(c))
            name = unicodedata.name(sign, "a control or unknown character")
            remedy = REMEDIES.get(sign, f"write {sign!a} for it")
            raise kind(f"{where}, line {number}, column {column}: U+{ord(sign):04X}, {name}: {remedy}.")
    for number, line in enumerate(lines[:2], 1):
        if (cookie := COOKIE.match(line)) and cookie[1].lower().replace("_", "-") not in UTF_8:
            raise kind(f"{where}, line {number}: its encoding is {cookie[1][:40]}: save it as utf-8, and take it out.")
    return text


def is_plain(line: str) -> bool:
    """Whether all of a line is seen.

    >>> is_plain("a\\tü"), is_plain("a\\u200bb"), is_plain("a\\x85b"), is_plain("\\u3164")
    (True, False, False, False)
    """
    return all(map(shows, line.replace("\t", " ")))


def _decoded(content: bytes, where: str, kind: type[Exception]) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise kind(f"{where}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8: save it as UTF-8.") from None
