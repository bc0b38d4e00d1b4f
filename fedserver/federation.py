"""The only I/O of a run: where clients are, and how their answers come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from hansa.fedlink.messages import Calls, Reply
from hansa.fedserver.policy import Wait
from hansa.fedserver.tally import Part
from hansa.strategies import Context
from hansa.strategies.pipeline import Names


class Federation(Protocol):
    """Carries calls to clients and their replies back, in any order."""

    def population(self) -> Names:
        """Return the names of the clients that are there now, sorted."""
        ...

    def ask(self, calls: Calls, wait: Wait) -> Iterator[Reply | Part]:
        """Send each named client its call; yield replies as they come, until ``wait`` says that the request is over.

        Replies may be missing, late, doubled or forged: whoever reads them screens them. A federation on one machine
        may screen and add up by itself, with a ``Tally``, and yield parts of the total.
        """
        ...


@runtime_checkable
class Drawing(Protocol):
    """A federation that draws its cohorts: of clients that come and go it may take long to list who is there."""

    def clients(self) -> int:
        """Return how many clients there are in all, whether they are there now or not."""
        ...

    def draw(self, ctx: Context, size: int | None) -> Names:
        """Draw so many of the clients that are there, uniformly, with the round's keys; all of them where there are
        fewer, or no size is given."""
        ...


def hear(wait: Wait, reply: Reply, now: float) -> None:
    """Tell a request's policy of a reply; one that failed counts as no answer."""
    if reply.failure is None:
        wait.answered(reply.client, now)
    else:
        wait.failed(reply.client, str(reply.failure))
