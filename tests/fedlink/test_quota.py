"""A peer that comes and goes for ever writes little into a log, and what was left out is told."""

from __future__ import annotations

import re
from random import Random

from hansa.fedlink import quota as module
from hansa.fedlink.quota import Quota


def test_a_peer_that_never_stops_writes_a_line_now_and_again_and_none_is_lost_uncounted():
    quota, written, told = Quota(), 0, 0
    for number in range(36_000):
        if line := quota.line("riga", "is gone", number / 10):
            written += 1
            told += int((re.search(r"\((\d+) more", line) or [0, 0])[1])
    assert written == 10 + 359 and 36_000 - 100 <= written + told <= 36_000


def test_others_are_told_as_ever():
    quota = Quota(at_once=2)
    for now in range(5):
        quota.line("riga", "is gone", now)
    assert quota.line("bergen", "is connected", 5) == "is connected"


def test_who_was_quiet_may_write_as_many_lines_again():
    quota = Quota(at_once=3, seconds=10)
    assert [bool(quota.line("riga", "x", now)) for now in (0, 0, 0, 0, 29.9, 29.9, 29.9, 60, 60, 60, 60)] == [
        *(True, True, True, False),
        *(True, True, False),
        *(True, True, True, False),
    ]


def test_peers_without_number_take_bounded_memory(monkeypatch):
    monkeypatch.setattr(module, "MOST", 100)
    quota, random = Quota(at_once=1), Random(1)
    for now in range(10_000):
        quota.line(str(random.randrange(5000)), "x", now)
    assert len(quota._accounts) == 100
