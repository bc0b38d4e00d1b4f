"""The inline federation: every client in this process, one after the other, with no message in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hansa.fedclient.errors import StageFailed
from hansa.fedclient.site import Site
from hansa.fedlink.messages import Call, Calls, Reply
from hansa.fedserver.policy import Wait
from hansa.simulations.errors import ClientFailed
from hansa.strategies.pipeline import Names


@dataclass(frozen=True)
class Inline:
    """A ``Federation`` of the clients of one site. With ``debug`` a client's error ends the run and says all."""

    site: Site
    names: Names
    debug: bool = False

    @property
    def workers(self) -> int:
        return 1

    def population(self) -> Names:
        return self.names

    def ask(self, calls: Calls, wait: Wait) -> Iterator[Reply]:
        answer = self._answer if self.debug else self.site.answer
        return (answer(call, name) for name, call in calls.items())

    def close(self) -> None:
        """Nothing: it is this process."""

    def _answer(self, call: Call, client: str) -> Reply:
        """Answer a call, or raise ClientFailed from the error itself."""
        try:
            return self.site.work_on(call, client)
        except StageFailed as failed:
            raise in_full(self.site, call, client, failed) from failed.__cause__


def in_full(site: Site, call: Call, client: str, failed: StageFailed) -> ClientFailed:
    """Return an error that says all there is to know of a client's."""
    return ClientFailed(
        f"client {client!r}, round {call.round}, {call.endpoint}, stage {failed.stage!r}: {failed.kind}: "
        f"{failed}; {site.work.shapes(client)}"
    )
