"""What coordinator and client say to each other, whatever carries it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from hansa.strategies.types import Array, Row, Tree

Tag: TypeAlias = tuple[int, int]
"""A round and a request of it."""

HELLO = "query.hello"
"""Asks a place for its client's name and compares configurations."""
SETTLE = "query.settle"
"""Ends a run: the client keeps or drops what it staged last."""

Settings: TypeAlias = Mapping[str, str]
"""The fields of the learning part of a configuration, as text, with the hashes of its files."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request to one client. ``counted`` is the last request that staged a state at this client and counted it."""

    endpoint: str
    run: str
    round: int
    request: int
    digest: str
    counted: Tag | None = None
    payload: Tree = field(default_factory=dict)
    fitted: Array | None = None

    @property
    def tag(self) -> Tag:
        return self.round, self.request


@dataclass(frozen=True)
class Calls(Mapping[str, Call]):
    """One request to many clients: ``call`` to each of the names, with the request that ``counted`` it last.

    Their answers enter the total multiplied by ``fade``, in the channels that fade.
    """

    call: Call
    names: Sequence[str]
    counted: Mapping[str, Tag]
    fade: float = 1.0

    def to(self, names: Sequence[str], fade: float | None = None) -> Calls:
        """Return the calls to some of the names, sorted."""
        counted = {name: self.counted[name] for name in names if name in self.counted}
        return Calls(self.call, names, counted, self.fade if fade is None else fade)

    def __getitem__(self, name: str) -> Call:
        if name not in self._asked:
            raise KeyError(name)
        return dataclasses.replace(self.call, counted=self.counted[name]) if name in self.counted else self.call

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _asked(self) -> frozenset[str]:
        return frozenset(self.names)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a client could not answer: where in its work, the error's type and message."""

    stage: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.kind}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One client's answer: a row or a failure. ``staged`` tells that its state now waits to be counted."""

    client: str
    endpoint: str
    run: str
    round: int
    request: int
    digest: str
    row: Row | None = None
    failure: Failure | None = None
    staged: bool = False
    settings: Settings | None = None
    """The client's own learning settings, sent where its digest differs from the call's."""

    @classmethod
    def to(
        cls,
        call: Call,
        client: str,
        digest: str,
        *,
        row: Row | None = None,
        failure: Failure | None = None,
        staged: bool = False,
        settings: Settings | None = None,
    ) -> Reply:
        """Answer a call."""
        return cls(
            client=client,
            endpoint=call.endpoint,
            run=call.run,
            round=call.round,
            request=call.request,
            digest=digest,
            row=row,
            failure=failure,
            staged=staged,
            settings=settings,
        )

    @property
    def tag(self) -> Tag:
        return self.round, self.request
