"""The inline federation: every client in this process, one after the other, with no message in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hansa.fedclient.site import Site
from hansa.fedlink.messages import Call, Reply
from hansa.strategies.pipeline import Names


@dataclass(frozen=True)
class Inline:
    """A ``Federation`` of the clients of one site."""

    site: Site
    names: Names

    def population(self) -> Names:
        return self.names

    def ask(self, calls: dict[str, Call], seconds: float | None) -> Iterator[Reply]:
        return (self.site.answer(call, name) for name, call in calls.items())
