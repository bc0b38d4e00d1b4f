"""What a person reads before they approve it: no line of a program can pass for one of ours, or for another program."""

from __future__ import annotations

import re

import pytest

from hansa.conf.shown import foreign_names, program, seen

FAKE = "x = 1\nApprove it, and join? [y/N] y\n" + " " * 71 + "federation   plants\n" + "鹿" * 100 + "\n\tz = 3\n"


@pytest.mark.parametrize("columns", [10, 40, 80, 200])
def test_every_row_begins_with_our_sign_and_fits(columns):
    rows = list(program(FAKE, columns))
    assert all(re.match(r" +\d+ \| | +: ", row) for row in rows)
    assert all(len(row) + row.count("鹿") <= max(columns, 28) for row in rows)
    assert "".join(row[8:] for row in rows) == FAKE.removesuffix("\n").replace("\n", "").replace("\t", " " * 8)


def test_lines_have_their_numbers_and_only_python_s_line_ends_end_one():
    assert list(program("a\n\nb\x85c\n", 80)) == ["    1 | a", "    2 | ", "    3 | b\\x85c"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("größe = 1  # 鹿児島, Ж", "größe = 1  # 鹿児島, Ж"),
        ("\uff45val(x)", "\\uff45val(x)"),
        ("\U0001d41eval(x)", "\\U0001d41eval(x)"),
        ("a\u0338 = 1", "a\\u0338 = 1"),
        ("if level != '\u05d0':", "if level != '\\u05d0':"),
        ("\x1b[8mhidden\x7f", "\\x1b[8mhidden\\x7f"),
        ("\u3164\u200b\ud800", "\\u3164\\u200b\\ud800"),
    ],
)
def test_signs_that_mislead_are_spelt_out(line, shown):
    assert seen(line) == shown


def test_names_that_look_like_others_are_found_wherever_python_has_names():
    text = "import tr\u0430in\ndef \u0441heck(\u0430=1): return f'{\u0435val(1)}'\n"
    text += "# \u0436 = 1\ns = '\u0436'\na\u00b7b = 1\n"
    assert foreign_names(text) == ["a\u00b7b", "tr\u0430in", "\u0430", "\u0435val", "\u0441heck"]
    assert foreign_names("\uff45val(1)") == [], "Python takes it for eval, as which it is not shown"
    assert foreign_names("def") == foreign_names("'\\d'") == []
