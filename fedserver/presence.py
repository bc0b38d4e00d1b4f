"""Who is connected, what each client does and since when, and who has been gone for too long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from hansa.fedlink.protocol.effects import Connected, Delivered, Dropped, Notice
from hansa.fedlink.quota import Quota
from hansa.fedlink.service import Barred, Told
from hansa.fedserver.attendance import LATE
from hansa.fedserver.waiting import LONGEST, patience
from hansa.strategies.pipeline import Names


class State(NamedTuple):
    """What a client does, and since when: connected, fetching, working, or gone."""

    word: str
    since: float


@dataclass(kw_only=True)
class Presence:
    """Reads a server's events. A client that is gone for ``patience`` seconds no longer counts; ``say`` is told.

    ``silence`` says for how long nothing was heard of one that is connected and should have been heard; 0 otherwise.
    """

    clock: Callable[[], float]
    say: Callable[[str], None]
    silence: Callable[[str], float] = lambda client: 0.0
    patience: float = LONGEST
    states: dict[str, State] = field(default_factory=dict)
    barred: dict[str, str] = field(default_factory=dict)
    """Who is let in no more, and why."""
    _sessions: dict[str, int | None] = field(default_factory=dict)
    _quota: Quota = field(default_factory=Quota)

    def here(self) -> Names:
        """Return who is connected, or was until a moment ago."""
        return tuple(sorted(name for name in self.states if not self.lost(name)))

    def lost(self, client: str) -> bool:
        """Whether a client has been gone for too long, or was never here."""
        state = self.states.get(client)
        return state is None or (state.word == "gone" and self.clock() - state.since > self.patience)

    def why(self, client: str) -> str:
        """Say why a client is lost."""
        return self.barred.get(client, f"the line of {client!r} has been down for {self.patience:.0f} s")

    def follow(self, usual: float) -> None:
        """Be patient as rounds allow that usually take so many seconds."""
        self.patience = patience(usual)

    def absent(self, invited: Iterable[str], all_asked: bool) -> dict[str, str]:
        """Say of those who are invited, or were ever here, why they may not have been asked.

        Where not ``all_asked`` are, it is nothing to be told that somebody who was here was not drawn.
        """
        here = {name: self.barred.get(name, LATE) for name in self._sessions if all_asked or name in self.barred}
        return {name: "never connected" for name in invited if name not in self._sessions} | here

    def doing(self, client: str) -> str:
        """Say what a client does and for how long; empty for one that was never here."""
        if (state := self.states.get(client)) is None:
            return ""
        if state.word != "gone" and (silent := self.silence(client)):
            return f"silent {silent:.0f} s"
        return f"{state.word} {self.clock() - state.since:.0f} s"

    def now(self, client: str, word: str) -> None:
        """Note what a client does; one that is gone stays so until it is connected."""
        if self._sessions.get(client) is not None:
            self.states[client] = State(word, self.clock())

    def note(self, event: Told) -> None:
        """Take in an event; those about single requests say nothing here."""
        match event:
            case Connected():
                if self._sessions.get(event.name) is None:
                    self._say(event.name, f"{event.name} is connected ({event.software})")
                self._sessions[event.name] = event.session
                self.barred.pop(event.name, None)
                self.now(event.name, "connected")
            case Dropped() if self._sessions.get(event.name) == event.session:
                self.now(event.name, "gone")
                self._sessions[event.name] = None
                self._say(event.name, f"{event.name} is gone: {event.text}")
            case Barred():
                self.barred[event.name] = event.text
                self.states.pop(event.name, None)
            case Delivered():
                self.now(event.name, "working")
            case Notice():
                self._say(event.name, event.text)

    def _say(self, client: str, text: str) -> None:
        if (line := self._quota.line(client, text, self.clock())) is not None:
            self.say(line)
