"""A client's own state, in two steps: staged when it answers, committed when it learns that the answer was counted."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hansa.fedclient.errors import StateLost, StateUnreadable
from hansa.fedclient.shelf import Shelf, folder_of
from hansa.fedlink.messages import Tag
from hansa.strategies.types import Array


@dataclass(frozen=True)
class Version:
    """Named states as they were after a request."""

    tag: Tag
    states: dict[str, Array]


class States(Protocol):
    """Where clients' states lie: per run and client one committed version, one staged, and rows kept for a round."""

    def read(self, run: str, client: str, slot: str) -> Version | None: ...

    def write(self, run: str, client: str, slot: str, version: Version | None) -> None: ...


HEADER = 4096
"""Bytes of a state's file beside its arrays, or somewhat more."""
COMMITTED, STAGED, KEPT = "committed", "staged", "kept"


def settle(states: States, run: str, client: str, counted: Tag | None) -> dict[str, Array]:
    """Promote or drop what is staged, given the last request that counted it; return the committed states.

    Doing so again changes nothing. Raises StateLost where the client was counted with a state that is gone.
    """
    staged, committed = states.read(run, client, STAGED), states.read(run, client, COMMITTED)
    if staged is not None and staged.tag == counted:
        states.write(run, client, COMMITTED, staged)
        committed = staged
    if staged is not None:
        states.write(run, client, STAGED, None)
    if counted is None:
        return {}
    if committed is None or committed.tag != counted:
        raise StateLost(
            f"client {client!r} was counted in round {counted[0]} with a state that is not here: "
            "restore its state_dir, or start a new run."
        )
    return committed.states


@dataclass
class MemoryStates:
    """States of one process, gone with it: for simulations."""

    versions: dict[tuple[str, str, str], Version] = field(default_factory=dict)

    def read(self, run: str, client: str, slot: str) -> Version | None:
        return self.versions.get((run, client, slot))

    def write(self, run: str, client: str, slot: str, version: Version | None) -> None:
        self.versions.pop((run, client, slot), None)
        if version is not None:
            self.versions[run, client, slot] = version


@dataclass(frozen=True)
class DiskStates:
    """States under a directory, as ``run/client/slot.safetensors``; each write replaces a file as a whole.

    ``lasting`` states are on the disk, and not only in the system's memory, before a write is over. On a ``shelf`` they
    have room as its owner gives it, and ``write`` raises BeyondLimits.
    """

    root: Path
    lasting: bool = True
    shelf: Shelf | None = None

    def read(self, run: str, client: str, slot: str) -> Version | None:
        path = self.path(run, client, slot)
        if not path.exists():
            return None
        try:
            arrays = load_file(path)
            round, request = arrays.pop("hansa.tag").tolist()
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise StateUnreadable(
                f"state file {path} cannot be read ({error}): restore it, or start a new run."
            ) from None
        return Version((round, request), arrays)

    def write(self, run: str, client: str, slot: str, version: Version | None) -> None:
        path = self.path(run, client, slot)
        if version is None:
            path.unlink(missing_ok=True)
            return
        if self.shelf is not None:
            self.shelf.sweep(run, time.time(), sum(array.nbytes for array in version.states.values()) + HEADER)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        save_file({**version.states, "hansa.tag": np.array(version.tag, np.int64)}, fresh)
        if self.lasting:
            with fresh.open("rb") as written:
                os.fsync(written.fileno())
        fresh.replace(path)

    def path(self, run: str, client: str, slot: str) -> Path:
        """Return the file of a state."""
        return self.root / folder_of(run) / folder_of(client) / f"{slot}.safetensors"
