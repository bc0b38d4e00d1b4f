"""The only I/O of a run: where clients are, and how their answers come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from hansa.fedlink.messages import Calls, Reply
from hansa.fedserver.tally import Part
from hansa.strategies.pipeline import Names


class Federation(Protocol):
    """Carries calls to clients and their replies back, in any order."""

    def population(self) -> Names:
        """Return the names of the clients that are there now, sorted."""
        ...

    def ask(self, calls: Calls, seconds: float | None) -> Iterator[Reply | Part]:
        """Send each named client its call; yield replies as they come, until all have or ``seconds`` are over.

        Replies may be missing, late, doubled or forged: whoever reads them screens them. A federation on one machine
        may screen and add up by itself, with a ``Tally``, and yield parts of the total.
        """
        ...
