"""A list of items that several processes work off: each takes the next one, without a word to anybody."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from hansa.simulations.sheet import Plan, Sheet, plan
from hansa.strategies.types import Array


def claims_plan(items: int) -> Plan:
    """Return how a sheet of claims over so many items is laid out."""
    kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        "next": ((1,), np.dtype(np.int64)),
        "owner": ((items,), np.dtype(np.int32)),
        "done": ((items,), np.dtype(np.bool_)),
    }
    return plan(kinds)


@dataclass(frozen=True)
class Claims:
    """Who took which item, in shared memory. The lock is the kernel's, which takes it from a process that dies."""

    sheet: Sheet

    def take(self, owner: int) -> int | None:
        """Claim the next item for an owner, counted from 1; None where there is none."""
        turn = self.sheet.array("next")
        fcntl.lockf(self.sheet.file, fcntl.LOCK_EX)
        try:
            item = int(turn[0])
            if item >= len(self.owner):
                return None
            self.owner[item] = owner
            turn[0] = item + 1
            return item
        finally:
            fcntl.lockf(self.sheet.file, fcntl.LOCK_UN)

    def finish(self) -> None:
        """Let nobody take another item."""
        fcntl.lockf(self.sheet.file, fcntl.LOCK_EX)
        self.sheet.array("next")[0] = len(self.owner)
        fcntl.lockf(self.sheet.file, fcntl.LOCK_UN)

    @property
    def owner(self) -> Array:
        """The owner of each item; 0 is nobody."""
        return self.sheet.array("owner")

    @property
    def done(self) -> Array:
        """Which items are done."""
        return self.sheet.array("done")

    def close(self) -> None:
        os.close(self.sheet.file)
