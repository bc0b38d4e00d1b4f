"""What a coordinator needs for many clients on the link: memory of a round, and of idle connections.

    python benchmarks/link_scale.py

The clients are connections of one other process, each with a certificate of its own, that answer without training.

Measured on 2 cores of an AMD EPYC, 2026-11-28, nothing else on the machine:

    100 clients, 1 M parameters   a round's peak is 4.1 MB = 1.04 x the model above the 330 MB between rounds
    the same, 1.6 s a round       and 61 MB above the 273 MB (most of it torch) before the first round
    1,000 idle clients            connected in 1.8 s, 72 kB each, 0.60 % of a core

The goal was 3 x above idle. Without ``tcp_max_read_buffer_size`` gRPC keeps up to 2 MB a connection between rounds.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from aggregation import MODEL_MB, PARAMETERS, Nobody, job, resident
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.certificates import key_pem, new_key
from hansa.fedlink.folder import Federation, ServerFolder
from hansa.fedlink.memory import keep_chunks
from hansa.fedlink.messages import Reply
from hansa.fedlink.packing import pack_reply, read_call
from hansa.fedlink.protocol import LARGEST_FRAME, Answer, Client, Desk
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.protocol.wire import write_chunk
from hansa.fedlink.server import Server
from hansa.fedlink.signing import read_request, signing_request
from hansa.fedserver.coordinator import Coordinator
from hansa.fedserver.link import LinkFederation
from hansa.fedserver.presence import Presence

MANY, COHORT, WARM, QUIET = 1000, 100, 8, 10.0
"""Idle connections, clients of a round, rounds before the one that is measured, seconds of idle CPU."""


def provision(home: Path, clients: int) -> None:
    """Make a server's folder, and a chain and key for each client."""
    now = time.time()
    root = new_root("bench", now)
    issuer = root.issuing("bench", now)
    ServerFolder(path=home / "server").make(
        root, issuer, Federation(name="bench", address="127.0.0.1:8443", task="heart_disease"), now
    )
    (home / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    for number in range(clients):
        key = new_key()
        request = read_request(signing_request(f"client-{number:04}", key, Ed25519PrivateKey.generate()))
        (home / f"{number}.pem").write_bytes(issuer.pem(issuer.client(request, now, DAY)))
        (home / f"{number}.key").write_bytes(key_pem(key))


async def device(home: Path, port: int, number: int, row: np.ndarray, sha256: bytes) -> None:
    """Be one client: hold the stream, and answer whatever is asked with the same row."""
    trust, chain, key = ((home / name).read_bytes() for name in ("ca.pem", f"{number}.pem", f"{number}.key"))
    options = [("grpc.max_receive_message_length", LARGEST_FRAME), ("grpc.use_local_subchannel_pool", 1)]
    credentials = grpc.ssl_channel_credentials(trust, key, chain)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        stream = channel.stream_stream("/hansa.link.v1.Link/Session")()
        client, name = Client(software="bench"), f"client-{number:04}"
        pending = client.start(time.monotonic(), time.time())
        while True:
            while pending:
                match effect := pending.pop(0):
                    case do.Send():
                        await stream.write(effect.frame.SerializeToString())
                    case do.BodyComplete():
                        pending += client.downloaded(effect.request_id)
                    case do.RunWork():
                        call = read_call(effect.head, bytes(effect.size))
                        head, _ = pack_reply(Reply.to(call, name, call.digest, row=row))
                        pending += client.answered(effect.request_id, Answer(head=head, size=row.nbytes, sha256=sha256))
                    case do.UploadFrom():
                        raw = memoryview(row).cast("B")
                        for at in range(effect.offset, len(raw), effect.chunk):
                            piece = raw[at : at + effect.chunk]
                            await stream.write(write_chunk(effect.request_id, at, piece))
            if (raw_frame := await stream.read()) is grpc.aio.EOF:
                return
            pending = client.receive(raw_frame, time.monotonic())


async def devices(home: Path, port: int, count: int) -> None:
    row = np.full(PARAMETERS + 2, 0.01, np.float32)
    row[-1] = 1.0
    sha256 = hashlib.sha256(row.tobytes()).digest()
    await asyncio.gather(*(device(home, port, number, row, sha256) for number in range(count)))


class Fleet:
    """A server in this process, and connected clients in another."""

    def __init__(self, home: Path, count: int) -> None:
        provision(home, count)
        self.server = Server(
            desk=Desk(software="bench", run="bench"), address="127.0.0.1:0", folder=ServerFolder(path=home / "server")
        )
        end = job().endpoints["train.update"].pipeline.wire
        self.federation = LinkFederation(
            server=self.server,
            answers={"train.update": end.dim * end.dtype.itemsize},
            clock=time.monotonic,
            presence=Presence(clock=time.monotonic, say=lambda text: None),
        )
        self.home, self.count = home, count

    def __enter__(self) -> Fleet:
        self.server.__enter__()
        self.before = resident("VmRSS")
        start = time.perf_counter()
        command = [sys.executable, __file__, "devices", str(self.home), str(self.server.port), str(self.count)]
        self.clients = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        first = 0.0
        while len(self.federation.population()) < self.count:
            if not first and self.federation.population():
                first = time.perf_counter()
            time.sleep(0.01)
        self.connecting, self.starting = time.perf_counter() - first, first - start
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()
        self.clients.kill()
        self.clients.wait()


def round_of_many(home: Path) -> str:
    """Play rounds of a million parameters with a hundred clients; say what the second needs."""
    with Fleet(home, COHORT) as fleet:
        rounds, fresh = coordinator(fleet).rounds(), resident("VmRSS")
        for _ in range(WARM):
            next(rounds)
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        idle = resident("VmRSS")
        record = next(rounds)
        peak = resident("VmHWM")
        assert record.counted == COHORT, record
        above = (
            f"{peak - idle:.1f} MB = {(peak - idle) / MODEL_MB:.2f} x the model above the {idle:.0f} MB between rounds"
        )
        return (
            f"{COHORT} clients x {PARAMETERS:,} parameters: a round's peak is {above}, and {peak - fresh:.0f} MB above "
            f"the {fresh:.0f} MB before the first; {record.seconds:.2f} s a round"
        )


def coordinator(fleet: Fleet) -> Coordinator:
    return Coordinator(
        job=job(), federation=fleet.federation, run="bench", own=b"k", clock=time.perf_counter, watch=Nobody()
    )


def idle_connections(home: Path) -> str:
    """Hold a thousand connections for a while."""
    with Fleet(home, MANY) as fleet:
        grown = resident("VmRSS") - fleet.before
        start = sum(os.times()[:2])
        time.sleep(QUIET)
        busy = (sum(os.times()[:2]) - start) / QUIET
        return (
            f"{MANY} idle clients: connected in {fleet.connecting:.1f} s, {1000 * grown / MANY:.0f} kB each, "
            f"{100 * busy:.2f} % of a core"
        )


def folders() -> Iterator[Any]:
    while True:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


if __name__ == "__main__":
    keep_chunks()  # as hansa serve does
    if sys.argv[1:2] == ["devices"]:
        asyncio.run(devices(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
    else:
        for measure, home in zip((round_of_many, idle_connections), folders(), strict=False):
            print(measure(home), flush=True)
