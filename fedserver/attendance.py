"""Who took part in a run's training, and why the others did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hansa.fedserver.records import Refusal
from hansa.strategies.pipeline import Names

MOST = 100
"""Clients that are named; of more it is said how many they are."""
LATE = "it was not there when a round began"
ASKED = "it was asked, and counted in no round that was not lost"
"""Why somebody is missing of whom nothing worse is known: who was not asked, and who was."""


@dataclass(kw_only=True)
class Attendance:
    """``counted`` are those who were in some round's training, ``missed`` those who were asked only, and why."""

    counted: set[str] = field(default_factory=set)
    missed: dict[str, str] = field(default_factory=dict)

    def asked(self, names: Names) -> None:
        """These clients are asked to train."""
        for name in names:
            if name not in self.counted:
                self.missed.setdefault(name, ASKED)

    def refused(self, refusal: Refusal) -> None:
        """A client's answer is left out, whatever it was asked."""
        if refusal.client in self.missed:
            self.missed[refusal.client] = refusal.why

    def count(self, names: Names) -> None:
        """These clients are counted in a round that is not lost."""
        self.counted.update(names)
        for name in names:
            self.missed.pop(name, None)

    def never(self, absent: Mapping[str, str]) -> dict[str, str]:
        """Return whoever was counted in no round, and why; ``absent`` says it of those who were not even asked."""
        found = {name: why for name, why in absent.items() if name not in self.counted} | self.missed
        return dict(sorted(found.items()))


def never_counted(never: Mapping[str, str]) -> dict[str, Any]:
    """Return what a summary says of those who were never counted, the first of them by name.

    >>> never_counted({"riga": "never connected"})
    {'never_counted': {'riga': 'never connected'}}
    """
    more = len(never) - MOST
    return {"never_counted": dict(list(never.items())[:MOST])} | ({"never_counted_more": more} if more > 0 else {})
