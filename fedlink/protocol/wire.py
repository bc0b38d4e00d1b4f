"""Frames from bytes and back. The bodies' bytes are never copied on the way in, and once on the way out.

A frame whose first tag says Chunk (field 5 in both directions) is taken apart here, as protobuf would copy its data
twice; one that is written unusually goes to protobuf. All else is parsed by protobuf.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import DecodeError

from hansa.fedlink.errors import MalformedFrame
from hansa.fedlink.link_pb2 import Chunk, ClientFrame, ServerFrame
from hansa.fedlink.protocol.limits import LARGEST_CONTROL, LARGEST_FRAME, check_id

CHUNK_TAG: Final = 5 << 3 | 2
ID_TAG: Final = 1 << 3 | 2
OFFSET_TAG: Final = 2 << 3
DATA_TAG: Final = 3 << 3 | 2

Frame = TypeVar("Frame", ClientFrame, ServerFrame)
Data: TypeAlias = bytes | memoryview


class Part(NamedTuple):
    """A Chunk: its data is a view into the frame that it came in."""

    request_id: str
    offset: int
    data: Data


def read(raw: bytes, kind: type[Frame]) -> Frame | Part:
    """Return a frame's content; raises MalformedFrame. A frame of no kind is malformed too."""
    if len(raw) > LARGEST_FRAME:
        raise MalformedFrame(f"a frame of {len(raw)} bytes, of which {LARGEST_FRAME} are allowed")
    if raw[:1] == bytes((CHUNK_TAG,)):
        if (part := _quick(raw)) is not None:
            return part
    elif len(raw) > LARGEST_CONTROL:
        raise MalformedFrame(f"a frame of {len(raw)} bytes that is no Chunk, of which {LARGEST_CONTROL} are allowed")
    frame = kind()
    try:
        frame.ParseFromString(raw)
    except DecodeError:
        raise MalformedFrame(f"a frame of {len(raw)} bytes that is not protobuf") from None
    which = frame.WhichOneof("kind")
    if which is None:
        raise MalformedFrame("a frame of a kind that this version does not have")
    return _part(frame.chunk) if which == "chunk" else frame


def write_chunk(request_id: str, offset: int, data: Data) -> bytes:
    """Return the frame of a Chunk, the same for both directions."""
    name = request_id.encode()
    inner = bytes((ID_TAG, *_varint(len(name)))) + name
    if offset:
        inner += bytes((OFFSET_TAG, *_varint(offset)))
    inner += bytes((DATA_TAG, *_varint(len(data))))
    return b"".join((bytes((CHUNK_TAG, *_varint(len(inner) + len(data)))), inner, data))


def _part(chunk: Chunk) -> Part:
    return Part(check_id(chunk.request_id), chunk.offset, chunk.data)


def _quick(raw: bytes) -> Part | None:
    """Take apart a Chunk that is written as every common protobuf writes it; None where it is not."""
    try:
        length, at = _read_varint(raw, 1)
        if raw[at] != ID_TAG or at + length != len(raw):
            return None
        size, at = _read_varint(raw, at + 1)
        name, at = raw[at : at + size], at + size
        offset = 0
        if raw[at] == OFFSET_TAG:
            offset, at = _read_varint(raw, at + 1)
        if raw[at] != DATA_TAG:
            return None
        size, at = _read_varint(raw, at + 1)
        if at + size != len(raw):
            return None
        return Part(check_id(name.decode()), offset, memoryview(raw)[at:])
    except (IndexError, UnicodeDecodeError):
        return None


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ended; raises IndexError where it has more than 9 bytes or none."""
    value = 0
    for shift in range(0, 63, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError


def _varint(value: int) -> list[int]:
    """Return the bytes of a number that is not negative."""
    found = []
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return [*found, value]
