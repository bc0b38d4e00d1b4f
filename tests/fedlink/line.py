"""A server on loopback with real gRPC and real certificates, and what tests ask of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import DAY
from hansa.fedlink.certificates import INVITATION, key_pem, new_key
from hansa.fedlink.packing import Body
from hansa.fedlink.protocol import Desk, Limits, Work
from hansa.fedlink.server import Server
from hansa.fedlink.service import Arrived
from tests.devices import Caller, Plant, Raw, channel
from tests.identities import Side

SECONDS = 20
MODEL = np.arange(300_000, dtype=np.float32)


@contextmanager
def serving(plant: Plant | None, spool: Path, **limits: float) -> Iterator[Server]:
    desk = Desk(software="test", run="run", limits=Limits(**limits))  # type: ignore[arg-type]
    folder = None if plant is None else plant.folder
    with Server(desk=desk, address="127.0.0.1:0", folder=folder, spool=spool) as server:
        yield server


def event(server: Server, kind: type, seconds: float = SECONDS):
    """The next event of a kind."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = server.events.get(timeout=max(0.01, end - time.monotonic()))
        if isinstance(found, kind):
            return found
    raise AssertionError(f"no {kind.__name__} came")


def goodbye(server: Server, plant: Plant, side: Side) -> pb.Goodbye:
    """What a device that says Hello is told, where it is not let in."""
    raw = Raw(channel(server.port, plant.ca, side)).hello()
    try:
        return raw.until("goodbye")
    finally:
        raw.close()


def refused(connect: Callable[[], grpc.Channel]) -> str:
    """What gRPC says where there is not even a stream."""
    raw = Raw(connect()).hello()
    with pytest.raises(grpc.RpcError) as failed:
        raw.next()
    raw.close()
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    return failed.value.details() or ""


def works(server: Server, plant: Plant, name: str = "honest") -> None:
    """The server still serves others: a request goes out and its answer comes back."""
    caller = Caller.of(server.port, name, lambda head, body: (head, body[:4000]), plant).call()
    work = Work(request_id=f"{name}/1", head=b"h", size=MODEL.nbytes, sha256=sha256(MODEL), answer_limit=4000)
    server.submit(name, work, Body((MODEL,)))
    arrived = event(server, Arrived)
    assert arrived.file.seek(0) == 0 and arrived.file.read() == MODEL.tobytes()[:4000]
    arrived.close()
    server.finish(work.request_id)
    caller.drop()


def sha256(array: np.ndarray) -> bytes:
    return hashlib.sha256(array.tobytes()).digest()


def invitation(plant: Plant, name: str, seconds: float = DAY) -> Side:
    key = new_key()
    return Side(
        plant.issuer.pem(plant.issuer.leaf(INVITATION, name, key.public_key(), time.time(), seconds)), key_pem(key)
    )
