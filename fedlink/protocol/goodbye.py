"""Why sessions end, and whether a client comes back."""

from __future__ import annotations

from typing import Final

from hansa.fedlink.link_pb2 import Code

STAYS_AWAY: Final = frozenset({Code.REPLACED, Code.REVOKED, Code.VERSION, Code.REFUSED})


def comes_back(code: int) -> bool:
    """Tell whether a client reconnects after a Goodbye; codes of later versions say that it does."""
    return code not in STAYS_AWAY


def lost() -> str:
    return "the connection is lost"


def silent(seconds: float) -> str:
    return f"nothing was heard for {seconds:.0f} s: the line or the other side is down."
