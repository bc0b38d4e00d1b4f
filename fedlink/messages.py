"""What coordinator and client say to each other, whatever carries it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, TypeVar

from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.protocol.limits import fits
from hansa.fedlink.texts import LONGEST_TEXT, one_line, plain
from hansa.strategies.types import Array, Row, Tree

Tag: TypeAlias = tuple[int, int]
"""A round and a request of it."""

HELLO = "query.hello"
"""Asks a place for its client's name and compares configurations."""
SETTLE = "query.settle"
"""Ends a run: the client keeps or drops what it staged last."""

Settings: TypeAlias = Mapping[str, str]
"""The fields of the learning part of a configuration, as text, with the hashes of its files."""
MOST_DIFFERS = 20
"""Names of fields that a client tells where its configuration differs."""
LONGEST_NAME = 100
LARGEST = 2**63 - 1
"""Of a round's and a request's number."""


def fingerprints(settings: Settings) -> tuple[str, ...]:
    """Return a word ``NAME=HEX`` for each field, by which values can be compared without being sent.

    >>> fingerprints({"seed": "1"})
    ('seed=6b86b273ff34fce1',)
    """
    return tuple(f"{name}={hashlib.sha256(value.encode()).hexdigest()[:16]}" for name, value in settings.items())


def differing(settings: Settings, fields: Sequence[str]) -> tuple[str, ...]:
    """Return the names that differ from those of another place's fingerprints; none where it told no fingerprints."""
    odd = set(fingerprints(settings)) ^ set(fields) if fields else set[str]()
    return tuple(sorted({word.rpartition("=")[0] for word in odd})[:MOST_DIFFERS])


def shown(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of fields that a peer told, as many and as long as may be shown."""
    return tuple(one_line(name, LONGEST_NAME) for name in names[:MOST_DIFFERS])


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request to one client. ``counted`` is the last request that staged a state at this client and counted it.

    ``fields`` are the fingerprints of the coordinator's learning settings, where they are told.
    """

    endpoint: str
    run: str
    round: int
    request: int
    digest: str
    counted: Tag | None = None
    payload: Tree = field(default_factory=dict)
    fitted: Array | None = None
    fields: Sequence[str] = ()

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
    """Why a client could not answer: where in its work, the error's type and message; each is one short line."""

    stage: str
    kind: str
    text: str

    def __post_init__(self) -> None:
        for name, longest in (("stage", LONGEST_NAME), ("kind", LONGEST_NAME), ("text", LONGEST_TEXT)):
            object.__setattr__(self, name, one_line(getattr(self, name), longest))

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
    differs: tuple[str, ...] | None = None
    """Where its digest differs from the call's: the names of the fields that do, as far as it knows the call's."""

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
        differs: tuple[str, ...] | None = None,
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
            differs=differs,
        )

    @property
    def tag(self) -> Tag:
        return self.round, self.request


Said = TypeVar("Said", bound=Call | Reply)


def checked(said: Said) -> Said:
    """Return what a peer said; raises MalformedMessage where a name of it cannot be read, or a number is no count."""
    more = (*said.payload,) if isinstance(said, Call) else (said.client,)
    numbers = (*said.tag, *((said.counted or ()) if isinstance(said, Call) else ()))
    if not all(map(plain, (said.endpoint, said.run, said.digest, *more))):
        raise MalformedMessage("the message has a name that is too long or cannot be read: choose plain names.")
    if not all(0 <= number <= LARGEST for number in numbers):
        raise MalformedMessage("the message's round or request is no count: install the same hansa on both sides.")
    if isinstance(said, Call) and not fits(said.fields):
        raise MalformedMessage("the message's fields are too many or cannot be read: install the same hansa.")
    return said
