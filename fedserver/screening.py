"""What a reply must be before its row may enter a sum; the row's own numbers are checked by the sum itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hansa.fedlink.messages import Call, Reply, Settings
from hansa.fedserver.errors import Refused
from hansa.strategies.types import Row


def screen(reply: Reply, calls: Mapping[str, Call], settings: Settings) -> Row:
    """Return the row of a reply to one of these calls; raises Refused, saying why, for any other reply."""
    call = calls.get(reply.client)
    if call is None:
        raise Refused("it was not asked: its name is not among this request's clients")
    if reply.digest != call.digest:
        raise Refused(difference(settings, reply.differs))
    if reply.failure is not None:
        raise Refused(str(reply.failure))
    if reply.run != call.run:
        raise Refused(f"it answers run {reply.run!r}, not {call.run!r}: end the client's old process")
    if (reply.endpoint, reply.tag) != (call.endpoint, call.tag):
        old = f"{reply.endpoint} of round {reply.round}, request {reply.request}"
        raise Refused(f"it answers {old}, not {call.endpoint} of round {call.round}, request {call.request}: too late")
    if reply.row is None:
        raise Refused("it has no row: install the same hansa on both sides")
    return reply.row


def difference(ours: Settings, differs: Sequence[str] | None) -> str:
    """Say in one line in which fields or files another place's configuration differs; its values are its own."""
    if not differs:
        return "it answers under another configuration: start the client with this run's settings"
    told = [f"{name}, which is {ours.get(name, 'absent')} here" for name in differs[:3]]
    more = f" (and {len(differs) - 3} more)" if len(differs) > 3 else ""
    return f"its configuration differs in {'; '.join(told)}{more}: make them the same"
