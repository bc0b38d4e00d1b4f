"""What the machines tell the shell around them to do: small frozen values, in the order in which they must be done.

Effects of the coordinator name the session (its number) or the client that they are about. ``Send`` and ``Notice`` are
of both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hansa.fedlink.link_pb2 import ClientFrame, ServerFrame
from hansa.fedlink.protocol.wire import Data


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """Write a frame to the stream. ``session`` is 0 on a client, which has one."""

    frame: ClientFrame | ServerFrame
    session: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Tell a person; everything goes on. ``name`` is the client that it is about, empty on the client itself."""

    text: str
    name: str = ""


# The coordinator's, for the stream.


@dataclass(frozen=True, kw_only=True, slots=True)
class SendBody:
    """Write a request's body as Chunks from ``offset`` on, ``chunk`` bytes each, as fast as the stream takes them.

    It replaces an earlier one of the same session and request, and stops when the session closes.
    """

    session: int
    request_id: str
    offset: int
    chunk: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StopBody:
    """Write no further Chunk of this request, if any are being written."""

    session: int
    request_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Close:
    """Write what was sent so far, then close the stream. The session is over."""

    session: int
    code: int
    text: str


# The coordinator's, for what takes answers.


@dataclass(frozen=True, kw_only=True, slots=True)
class Begin:
    """An answer's body of ``size`` bytes begins at 0: throw away what was stored of this request's answer."""

    name: str
    request_id: str
    size: int
    sha256: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """Write ``data`` at ``offset`` of the answer's body. It is a view into the frame: copy nothing, keep it briefly."""

    name: str
    request_id: str
    offset: int
    data: Data


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """All bytes of an answer are stored: check the hash, then call ``Desk.accepted`` or ``Desk.damaged``."""

    name: str
    request_id: str
    head: bytes
    size: int
    sha256: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A request is answered: exactly once a request. Take it for good, then call ``Desk.finish``."""

    name: str
    request_id: str
    head: bytes
    size: int
    sha256: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A request will not be answered, and is no longer open: the client refused it, or its answer is always damaged."""

    name: str
    request_id: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """A client has a request's whole body and works on it. May come again after a reconnect."""

    name: str
    request_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Connected:
    """A client said Hello and is welcome."""

    session: int
    name: str
    version: int
    software: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A session is over, whether or not it had come to Connected."""

    session: int
    name: str
    text: str


# The client's.


@dataclass(frozen=True, kw_only=True, slots=True)
class Welcomed:
    """The coordinator answered; its run and how it speaks. ``chunk`` is the longest piece of a body, in bytes."""

    version: int
    software: str
    chunk: int
    heartbeat: float
    run: str
    settings: tuple[str, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StartBody:
    """A request's body of ``size`` bytes begins at 0: note size and hash on disk, throw away what was stored of it."""

    request_id: str
    size: int
    sha256: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreBody:
    """Write ``data`` at ``offset`` of the work's body. It is a view into the frame: copy nothing, keep it briefly."""

    request_id: str
    offset: int
    data: Data


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyComplete:
    """All bytes of a body are stored: check the hash, then call ``Client.downloaded`` or ``Client.damaged``."""

    request_id: str
    size: int
    sha256: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class RunWork:
    """Do the work: once a request and process. Then write the answer to disk and call ``Client.answered``."""

    request_id: str
    head: bytes
    size: int
    answer_limit: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadFrom:
    """Write the answer's body as Chunks from ``offset`` on, in pieces of ``chunk`` bytes.

    It replaces an earlier one of the same request, and stops at Forget, CancelWork and Ended.
    """

    request_id: str
    offset: int
    chunk: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Forget:
    """The answer has arrived for good: delete all that is kept of the request."""

    request_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelWork:
    """Nobody waits for the request any more: stop work and transfer, and delete all that is kept of it."""

    request_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundled:
    """Signed bytes from the coordinator; nothing of them was checked."""

    payload: bytes
    signature: bytes
    key: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The connection is over: write what was sent so far and close it. ``come_back`` says whether to connect again."""

    code: int
    text: str
    come_back: bool


ServerEffect: TypeAlias = (
    Send
    | Notice
    | SendBody
    | StopBody
    | Close
    | Begin
    | Store
    | Completed
    | Answered
    | Failed
    | Delivered
    | Connected
    | Dropped
)
ClientEffect: TypeAlias = (
    Send
    | Notice
    | Welcomed
    | StartBody
    | StoreBody
    | BodyComplete
    | RunWork
    | UploadFrom
    | Forget
    | CancelWork
    | Bundled
    | Ended
)
