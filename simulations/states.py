"""Clients' states that all workers of a simulation see: in memory up to a size, and on disk beyond it."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hansa.fedclient.state import DiskStates, Version
from hansa.simulations.sheet import Sheet, plan


@dataclass
class SharedStates:
    """Implements ``States`` by files: ``memory`` is a folder of a file system in memory, ``disk`` of one on disk.

    ``limit`` is in bytes of what lies in memory.
    """

    memory: Path
    disk: Path
    limit: int
    _used: Sheet = field(default_factory=lambda: Sheet.new(plan({"used": ((2,), np.dtype(np.int64))})))

    def __post_init__(self) -> None:
        self._near, self._far = DiskStates(self.memory, lasting=False), DiskStates(self.disk, lasting=False)
        self._bytes_and_writes = self._used.array("used")

    def read(self, run: str, client: str, slot: str) -> Version | None:
        if not self._bytes_and_writes[1]:
            return None
        return self._near.read(run, client, slot) or self._far.read(run, client, slot)

    def write(self, run: str, client: str, slot: str, version: Version | None) -> None:
        if version is None and not self._bytes_and_writes[1]:
            return
        before, size = (
            self._near_size(run, client, slot),
            sum(a.nbytes for a in version.states.values()) if version else 0,
        )
        near = int(self._bytes_and_writes[0]) - before + size <= self.limit
        (self._near if near else self._far).write(run, client, slot, version)
        (self._far if near else self._near).write(run, client, slot, None)
        self._book(self._near_size(run, client, slot) - before)

    def close(self) -> None:
        """Say that nobody writes any more."""
        self._used.close()

    def _book(self, more: int) -> None:
        fcntl.lockf(self._used.file, fcntl.LOCK_EX)
        self._bytes_and_writes += (more, 1)
        fcntl.lockf(self._used.file, fcntl.LOCK_UN)

    def _near_size(self, run: str, client: str, slot: str) -> int:
        try:
            return self._near.path(run, client, slot).stat().st_size
        except FileNotFoundError:
            return 0
