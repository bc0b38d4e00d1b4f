"""The bytes of version 1 stay what they are: frames of every kind, and a recorded dialogue.

A change that makes a test here fail breaks the clients that are out there: make a new version instead. New files for
one are written by ``python -m tests.fedlink.test_golden``, which never touches a version that exists.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.protocol import Desk, Limits, Work, effects, wire

GOLDEN = Path(__file__).parent / "golden"
V1 = GOLDEN / "v1"
HASH = bytes(range(32))
ID = "run/3/1/riga"
CHUNK = pb.Chunk(request_id=ID, offset=2**40 + 1, data=b"\x00\xffdata")
GOODBYE = pb.Goodbye(code=pb.PROTOCOL, text="why, and what to do.")
RUN = pb.Run(id="run", settings=["task=mnist", "rounds=3"])

FRAMES = {
    "client_hello": pb.ClientFrame(
        hello=pb.Hello(
            versions=[1], software="hansa 0.2.0", clock_ms=1_800_000_000_123, chunk_bytes=65536, held=[ID, "é"]
        )
    ),
    "client_want": pb.ClientFrame(want=pb.Want(request_id=ID, offset=300)),
    "client_have": pb.ClientFrame(have=pb.Have(request_id=ID)),
    "client_refuse": pb.ClientFrame(refuse=pb.Refuse(request_id=ID, text="no room")),
    "client_chunk": pb.ClientFrame(chunk=CHUNK),
    "client_chunk_first": pb.ClientFrame(chunk=pb.Chunk(request_id=ID, data=b"x" * 300)),
    "client_offer": pb.ClientFrame(offer=pb.Offer(request_id=ID, head=b"head", size=2**33, sha256=HASH)),
    "client_heartbeat": pb.ClientFrame(heartbeat=pb.Heartbeat()),
    "client_goodbye": pb.ClientFrame(goodbye=GOODBYE),
    "server_welcome": pb.ServerFrame(
        welcome=pb.Welcome(
            version=1,
            software="hansa 0.2.0",
            clock_ms=1_800_000_000_456,
            heartbeat_ms=15000,
            chunk_bytes=2**20,
            open_requests=8,
            run=RUN,
        )
    ),
    "server_work": pb.ServerFrame(
        work=pb.Work(request_id=ID, head=b"head", size=2**33, sha256=HASH, answer_limit=2**34)
    ),
    "server_cancel": pb.ServerFrame(cancel=pb.Cancel(request_id=ID, reason="the round is over")),
    "server_send": pb.ServerFrame(send=pb.Send(request_id=ID, offset=7)),
    "server_chunk": pb.ServerFrame(chunk=CHUNK),
    "server_done": pb.ServerFrame(done=pb.Done(request_id=ID, gone=True)),
    "server_heartbeat": pb.ServerFrame(heartbeat=pb.Heartbeat()),
    "server_goodbye": pb.ServerFrame(goodbye=GOODBYE),
    "server_bundle": pb.ServerFrame(bundle=pb.Bundle(payload=b"payload", signature=b"signature", key=b"key")),
}

LIMITS = Limits(open_requests=2, heartbeat=15)
KNOWN = Work(request_id="a", head=b"train", size=5, sha256=HASH, answer_limit=100)
SAID = (
    pb.ClientFrame(hello=pb.Hello(versions=[1], software="other 1", clock_ms=10**12, held=["a", "old"])),
    pb.ClientFrame(want=pb.Want(request_id="a", offset=2)),
    pb.ClientFrame(have=pb.Have(request_id="a")),
    pb.ClientFrame(offer=pb.Offer(request_id="a", head=b"ok", size=4, sha256=HASH)),
    pb.ClientFrame(chunk=pb.Chunk(request_id="a", data=b"ro")),
    pb.ClientFrame(chunk=pb.Chunk(request_id="a", offset=2, data=b"ws")),
    pb.ClientFrame(offer=pb.Offer(request_id="a", head=b"ok", size=4, sha256=HASH)),
    pb.ClientFrame(heartbeat=pb.Heartbeat()),
    pb.ClientFrame(chunk=pb.Chunk(request_id="a", offset=4, data=b"!")),
)


def dialogue(said):
    """What a desk answers to frames: lines of '> hex' for what it was sent, '< hex' for what it says."""
    desk = Desk(software="hansa 0.2.0", limits=LIMITS, run="run", settings=("task=mnist",))
    desk.submit("riga", KNOWN)
    session, _ = desk.connect("riga", 0.0, 1e9)
    lines = []
    for raw in said:
        lines.append(f"> {raw.hex()}")
        done = session.receive(raw, 0.0)
        while done:
            effect = done.pop(0)
            match effect:
                case effects.Send():
                    lines.append(f"< {effect.frame.SerializeToString().hex()}")
                case effects.SendBody():
                    lines.append(
                        f"< {wire.write_chunk(effect.request_id, effect.offset, b'model'[effect.offset :]).hex()}"
                    )
                case effects.Completed():
                    done += desk.accepted(effect.request_id)
                case effects.Answered():
                    done += desk.finish(effect.request_id)
    return lines


def golden_lines(name):
    return (V1 / name).read_text(encoding="ascii").splitlines()


def test_every_kind_has_a_golden_frame():
    for side, kind in (("client", pb.ClientFrame), ("server", pb.ServerFrame)):
        kinds = {field.name for field in kind.DESCRIPTOR.oneofs_by_name["kind"].fields}
        assert kinds == {f.WhichOneof("kind") for name, f in FRAMES.items() if name.startswith(side)}
    assert {path.stem for path in V1.glob("*.bin")} == set(FRAMES)


@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_version_1_are_written_and_read_as_ever(name):
    frame, raw = FRAMES[name], (V1 / f"{name}.bin").read_bytes()
    assert frame.SerializeToString() == raw
    assert type(frame).FromString(raw) == frame
    read = wire.read(raw, type(frame))
    if frame.WhichOneof("kind") == "chunk":
        chunk = frame.chunk
        assert (read.request_id, read.offset, bytes(read.data)) == (chunk.request_id, chunk.offset, chunk.data)
        assert wire.write_chunk(chunk.request_id, chunk.offset, chunk.data) == raw
    else:
        assert read == frame


def test_a_recorded_client_of_version_1_is_answered_as_recorded():
    recorded = golden_lines("dialogue.txt")
    said = [bytes.fromhex(line[2:]) for line in recorded if line.startswith(">")]
    assert dialogue(said) == recorded
    assert said == [frame.SerializeToString() for frame in SAID]
    last = pb.ServerFrame.FromString(bytes.fromhex(recorded[-1][2:]))
    assert last.goodbye.code == pb.PROTOCOL and "not asked for" in last.goodbye.text


def write():
    V1.mkdir(parents=True, exist_ok=True)
    if (V1 / "dialogue.txt").exists():
        raise SystemExit(f"{V1} is recorded: frames of a version never change.")
    for name, frame in FRAMES.items():
        (V1 / f"{name}.bin").write_bytes(frame.SerializeToString())
    lines = dialogue([frame.SerializeToString() for frame in SAID])
    (V1 / "dialogue.txt").write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    write()
