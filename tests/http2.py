"""Attackers: HTTP/2 and TLS by hand, for what no decent library would send."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.identities import Side

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, WINDOW = 0, 1, 2, 3, 4, 6, 8
END_HEADERS = 4
HALF = struct.pack(">BI", 0, 4 * 2**20)
"""The head of a message of gRPC that says it has 4 MiB."""


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def field(name: str, value: str) -> bytes:
    """A header that is kept in no table."""
    parts = (one.encode() for one in (name, value))
    return b"\0" + b"".join(struct.pack(">B", len(one)) + one for one in parts)


def call(stream: int, path: str, *more: bytes) -> bytes:
    """The head of a call."""
    named = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "127.0.0.1"}
    grpc = {"te": "trailers", "content-type": "application/grpc"}
    block = b"".join(field(name, value) for name, value in {**named, **grpc}.items())
    return frame(HEADERS, END_HEADERS, stream, block + b"".join(more))


def context(side: Side | None, ca: bytes) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=ca.decode())
    made.set_alpn_protocols(["h2"])
    if side is not None:
        with tempfile.TemporaryDirectory() as folder:
            chain, key = Path(folder, "chain"), Path(folder, "key")
            chain.write_bytes(side.chain)
            key.write_bytes(side.key)
            made.load_cert_chain(chain, key)
    return made


@dataclass(eq=False)
class Http2:
    """One connection, after its greeting; ``window`` are the bytes that it lets the server send."""

    port: int
    tls: ssl.SSLContext
    window: int = 2**31 - 1
    seconds: float = 20

    def __post_init__(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), self.seconds)
        self.line = self.tls.wrap_socket(plain, server_hostname="127.0.0.1")
        settings = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, self.window))
        more = frame(WINDOW, 0, 0, struct.pack(">I", self.window - 65_535))
        self.line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + more)

    def send(self, *frames: bytes) -> None:
        self.line.sendall(b"".join(frames))

    def flood(self, raw: bytes, times: int) -> int:
        """Send the same again and again; return how often the line took it before it was cut."""
        for sent in range(times):
            try:
                self.line.sendall(raw)
            except OSError:
                return sent
        return times

    def half(self, path: str, streams: int, size: int) -> None:
        """Begin calls of 4 MiB each, and send but a part of each, as far as the window goes."""
        self.line.settimeout(0.2)
        with contextlib.suppress(OSError):
            for number in range(streams):
                body = [frame(DATA, 0, 2 * number + 1, bytes(2**14)) for _ in range(size // 2**14)]
                self.send(call(2 * number + 1, path), frame(DATA, 0, 2 * number + 1, HALF), *body)
        self.line.settimeout(self.seconds)

    def over(self) -> bool:
        """Wait until the server has ended the line; False where it is still there when the time is over."""
        try:
            while self.line.recv(2**16):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        self.line.close()
