"""What bounds every frame, name and count of the link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hansa.fedlink.errors import MalformedFrame
from hansa.fedlink.texts import LONGEST_ID, plain

KIB, MIB = 2**10, 2**20
SMALLEST_CHUNK, LARGEST_CHUNK = 64 * KIB, 4 * MIB
LARGEST_FRAME = LARGEST_CHUNK + 64 * KIB
"""Bytes of any frame: what gRPC's ``max_receive_message_length`` should be on both sides."""
LARGEST_CONTROL = 256 * KIB
"""Bytes of a frame that is no Chunk."""
LONGEST_HEAD = 64 * KIB
LONGEST_SOFTWARE = 100
MOST_HELD = 64
"""Requests that a client may hold at once, whatever the coordinator."""
MOST_VERSIONS = 16
MOST_WORDS = 1000
HASH = 32


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one side grants; the constants of this file are the same for everyone.

    Raises ValueError, which names the field, where a value is outside of what the protocol allows.
    """

    chunk: int = MIB
    """Bytes of a chunk: the coordinator's upper bound; a client's wish."""
    open_requests: int = 8
    """Requests that are open for one client at once; the coordinator tells it."""
    body: int = 2**36
    """Bytes of a body that a client downloads; 64 GiB."""
    answer: int = 2**36
    """Bytes of an answer's body, whatever a request allows."""
    held: int = 2**42
    """Bytes of all bodies and answers that a client holds at once; 64 of the longest."""
    heartbeat: float = 5.0
    """Seconds between two heartbeats; the coordinator tells it to each session that begins."""
    missed: int = 3
    """Heartbeats without any frame after which a session ends."""
    hello: float = 30.0
    """Seconds for Hello, and for Welcome, to arrive."""
    damaged: int = 3
    """Times that a body may arrive with a wrong hash before the request fails."""
    skew: float = 300.0
    """Seconds between two clocks from which on it is told."""

    def __post_init__(self) -> None:
        for field, low, high in (
            ("chunk", SMALLEST_CHUNK, LARGEST_CHUNK),
            ("open_requests", 1, MOST_HELD),
            ("body", 0, 2**62),
            ("answer", 0, 2**62),
            ("held", 0, 2**62),
            ("heartbeat", 1, 600),
            ("missed", 1, 100),
            ("hello", 1, 600),
            ("damaged", 1, 100),
            ("skew", 1, 2**31),
        ):
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"the link's {field} is {getattr(self, field)}: choose from {low} to {high}.")


def check_id(text: str) -> str:
    """Return an id or a name; raises MalformedFrame where it is empty, too long, or cannot be read."""
    if not text or not plain(text):
        raise MalformedFrame(f"an id of {len(text)} characters, which must be 1 to {LONGEST_ID} visible bytes")
    return text


def fits(words: Sequence[str]) -> bool:
    """Whether Welcome has room for a run's words, all of which can be read."""
    return (
        len(words) <= MOST_WORDS
        and all(plain(word, LONGEST_HEAD) for word in words)
        and sum(len(word.encode()) for word in words) <= LONGEST_HEAD
    )


def check_body(size: int, sha256: bytes, limit: int) -> None:
    """Raise MalformedFrame where a body is larger than allowed or its hash is no hash."""
    if not 0 <= size <= limit:
        raise MalformedFrame(f"a body of {size} bytes, of which {limit} are allowed")
    if len(sha256) != (HASH if size else 0):
        raise MalformedFrame(
            f"a hash of {len(sha256)} bytes for a body of {size}: SHA-256 has {HASH}, and no body none"
        )


def check_head(head: bytes) -> bytes:
    """Return a head; raises MalformedFrame where it is too long."""
    if len(head) > LONGEST_HEAD:
        raise MalformedFrame(f"a head of {len(head)} bytes, of which {LONGEST_HEAD} are allowed")
    return head


def check_chunk(offset: int, length: int, stored: int, size: int, longest: int) -> None:
    """Raise MalformedFrame where a chunk is not the next of a body of ``size`` bytes, ``stored`` of which are here."""
    if offset != stored:
        raise MalformedFrame(f"a Chunk at byte {offset} where {stored} is next")
    if not 1 <= length <= longest:
        raise MalformedFrame(f"a Chunk of {length} bytes, which must have 1 to {longest}")
    if stored + length > size:
        raise MalformedFrame(f"a Chunk that ends at byte {stored + length} of a body of {size}")
