"""The only I/O of a run: where clients are, and how their answers come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from hansa.fedlink.messages import Calls, Reply
from hansa.fedserver.policy import Wait
from hansa.fedserver.selection.there import There
from hansa.fedserver.tally import Part
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
    """A federation of clients that come and go, of whom it may take long to list who is there."""

    def clients(self) -> int:
        """Return how many clients there are in all, whether they are there now or not."""
        ...

    def there(self) -> There:
        """Return who is there for a round, to be looked at as far as it is needed."""
        ...


class Ended(NamedTuple):
    """A client is done with what it was asked by ``start``; ``why`` says why it has no answer, if it has none."""

    client: str
    why: str = ""


CAME = Ended("")
"""Nobody is done, but another client has come, which may begin."""


@runtime_checkable
class Standing(Protocol):
    """A federation whose clients stay at work beyond the end of a request, one piece of work a client."""

    def around(self) -> There:
        """Return who is there now, at work or not."""
        ...

    def start(self, calls: Calls, deadline: float | None) -> None:
        """Send each named client its call, and give up those who are not done so many seconds later."""
        ...

    def next(self) -> Ended | None:
        """Wait until a client is done, or ``CAME``; None where none is at work."""
        ...

    def collect(self, calls: Calls) -> Iterator[Reply | Part]:
        """Yield what these clients, perhaps none, answered, who are done with these calls; see ``Federation.ask``."""
        ...

    def stop(self) -> None:
        """Take back all that clients are still at work on, and forget what was not collected."""
        ...


def hear(wait: Wait, reply: Reply, now: float) -> None:
    """Tell a request's policy of a reply; one that failed counts as no answer."""
    if reply.failure is None:
        wait.answered(reply.client, now)
    else:
        wait.failed(reply.client, str(reply.failure))
