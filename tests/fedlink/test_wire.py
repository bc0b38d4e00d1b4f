"""Frames from bytes: the quick way says what protobuf says, copies nothing, and nothing unbounded comes through."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.errors import MalformedFrame
from hansa.fedlink.protocol import LARGEST_FRAME, wire
from hansa.fedlink.protocol.limits import LARGEST_CONTROL
from hansa.fedlink.texts import plain

IDS = st.text(min_size=1, max_size=50).filter(plain)


@given(IDS, st.integers(0, 2**63 - 1), st.binary(min_size=1, max_size=400))
def test_chunks_are_written_and_read_as_protobuf_does(request_id, offset, data):
    raw = wire.write_chunk(request_id, offset, memoryview(data))
    frame = pb.ClientFrame(chunk=pb.Chunk(request_id=request_id, offset=offset, data=data))
    assert raw == frame.SerializeToString()
    part = wire.read(raw, pb.ServerFrame)
    assert (part.request_id, part.offset, bytes(part.data)) == (request_id, offset, data)


@given(st.integers(0, 2**32))
@example(0)
def test_where_the_quick_way_reads_anything_protobuf_reads_the_same(seed):
    random = Random(seed)
    raw = bytearray(wire.write_chunk("r1", random.choice((0, 5, 2**40)), random.randbytes(random.choice((1, 200)))))
    for _ in range(random.choice((1, 1, 2))):
        raw[random.randrange(1, min(len(raw), 16))] = random.randrange(256)
    raw = bytes(raw[: random.choice((len(raw), len(raw), random.randrange(len(raw))))])
    try:
        quick = wire._quick(raw)
    except MalformedFrame:
        return
    if quick is not None:
        chunk = pb.ClientFrame.FromString(raw).chunk
        assert (chunk.request_id, chunk.offset, chunk.data) == (quick.request_id, quick.offset, bytes(quick.data))


def test_a_chunk_written_in_another_order_is_read_too():
    inner = b"\x1a\x04data" + b"\x10\x07" + b"\x0a\x01r"
    part = wire.read(b"\x2a" + bytes((len(inner),)) + inner, pb.ClientFrame)
    assert (part.request_id, part.offset, bytes(part.data)) == ("r", 7, b"data")


def test_a_chunk_is_not_copied():
    raw = wire.write_chunk("r", 0, bytes(2**20))
    tracemalloc.start()
    part = wire.read(raw, pb.ClientFrame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.data.obj is raw and len(part.data) == 2**20 and peak < 2**14


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "of a kind"),
        (b"\x0a", "not protobuf"),
        (b"\xff" * 50, "not protobuf"),
        (b"\x2a" + bytes(LARGEST_FRAME), "allowed"),
        (b"\x0a" + bytes(LARGEST_CONTROL), "no Chunk"),
        (pb.ClientFrame(chunk=pb.Chunk(request_id="", data=b"x")).SerializeToString(), "an id of 0"),
        (pb.ClientFrame(chunk=pb.Chunk(request_id="é" * 101, data=b"x")).SerializeToString(), "an id of 101"),
        (b"\x2a\x06\x0a\x01\xff\x1a\x01x", "not protobuf"),
        (b"\xaa\x01\x00", "of a kind"),
        *(
            (pb.ClientFrame(chunk=pb.Chunk(request_id=f"r{odd}", data=b"x")).SerializeToString(), "an id of")
            for odd in ("\x1b[2J", "\n", "\x9b", "\u202e", "\u2028", "\u200b", "a\u0301\u0301\u0301\u0301")
        ),
    ],
)
def test_what_is_no_frame_is_malformed(raw, told):
    with pytest.raises(MalformedFrame, match=told):
        wire.read(raw, pb.ClientFrame)


def test_bytes_that_protobuf_refuses_are_never_read():
    random, refused = Random(3), 0
    for _ in range(2000):
        raw = b"\x2a" + random.randbytes(random.randrange(12))
        try:
            pb.ClientFrame.FromString(raw)
        except DecodeError:
            refused += 1
            with pytest.raises(MalformedFrame):
                wire.read(raw, pb.ClientFrame)
    assert refused > 500
