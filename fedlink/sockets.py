"""The sockets of this process that gRPC keeps to itself: who is connected, how to end a line, how to let nobody in.

gRPC for Python neither ends a connection nor refuses one. The process can, for the sockets are its own. All of this
needs Linux's ``/proc``; elsewhere nothing is found, and nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

OWN = Path("/proc/self/fd")
RECEIVED = 128
"""Where Linux's ``tcp_info`` has the bytes that were received, 8 of them."""
WAITING, OPENED = 0, 64
"""Connections that wait in the kernel to be accepted, beside one, while nobody is let in, and else.

As few as that, so that all who are turned away are equal: the kernel of each tries again after a second.
"""


def address_of(peer: str) -> str:
    """Return the address of gRPC's ``context.peer()`` as ``Sockets`` tells it.

    >>> address_of("ipv4:192.0.2.1:1234"), address_of("ipv6:%5B::1%5D:1234")
    ('192.0.2.1:1234', '::1:1234')
    """
    host, _, port = unquote(peer.partition(":")[2]).rpartition(":")
    return f"{host.strip('[]')}:{port}"


@dataclass(eq=False)
class Sockets:
    """The sockets at a port that this process listens at."""

    port: int
    _known: dict[tuple[int, int], str | None] = field(default_factory=dict)
    """The peer's address by descriptor and inode; None for all that is no line."""
    _received: dict[str, float] = field(default_factory=dict)

    def lines(self) -> dict[str, float] | None:
        """Return the addresses of all lines, with the bytes that were received on each; None where nobody can say."""
        try:
            own = list(_own())
        except OSError:
            return None
        self._known = {key: self._known[key] if key in self._known else _peer(key, self.port) for key in own}
        there = {address: key for key, address in self._known.items() if address is not None}
        self._received = {address: _received(key, self._received.get(address, 0.0)) for address, key in there.items()}
        return self._received

    def end(self, addresses: Collection[str]) -> None:
        """End lines: gRPC sees that each is over, and gives back all it holds for it. Nothing waits to be sent."""
        for key in [key for key, address in self._known.items() if address in addresses]:
            with contextlib.suppress(OSError), _copy(key) as line:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.shutdown(socket.SHUT_RDWR)

    def gates(self) -> list[Gate]:
        """Return what listens."""
        try:
            return [gate for key in list(_own()) if (gate := _gate(key, self.port)) is not None]
        except OSError:
            return []


class Gate:
    """A socket that listens, at which gRPC accepts whatever comes.

    Shut, its descriptor is that of a socket to which nobody can connect, so that gRPC finds nobody; the kernel then
    drops what it has no room for, and honest devices try again. ``stop`` must come before gRPC closes it.
    """

    def __init__(self, number: int, listening: socket.socket) -> None:
        self._number, self._listening, self.shut = number, listening, False
        self._nobody = socket.socket(socket.AF_UNIX)
        self._nobody.bind("")  # a name that the kernel makes up
        self._nobody.listen()
        self._nobody.setblocking(False)
        listening.listen(OPENED)

    def close(self) -> None:
        """Let nobody in."""
        self.shut = True
        self._listening.listen(WAITING)
        os.dup2(self._nobody.fileno(), self._number, inheritable=False)

    def open(self) -> None:
        """Let everybody in, and wake gRPC, which saw those who wait when it could not accept them."""
        self.shut = False
        self._listening.listen(2 * OPENED)  # room for the bell, however many wait
        os.dup2(self._listening.fileno(), self._number, inheritable=False)
        with contextlib.suppress(OSError), socket.socket(self._listening.family) as bell:
            bell.setblocking(False)
            bell.connect(self._listening.getsockname())
        self._listening.listen(OPENED)

    def stop(self) -> None:
        """Give the socket back to gRPC."""
        if self.shut:
            self.open()
        self._listening.close()
        self._nobody.close()


def _own() -> Iterator[tuple[int, int]]:
    """Yield descriptor and inode of each socket of this process; raises OSError."""
    for name in os.listdir(OWN):
        with contextlib.suppress(OSError):
            told = os.fstat(int(name))
            if stat.S_ISSOCK(told.st_mode):
                yield int(name), told.st_ino


def _peer(key: tuple[int, int], port: int) -> str | None:
    """Return the peer's address of a line at a port, or None."""
    with contextlib.suppress(OSError), _copy(key) as one:
        internet = one.family in (socket.AF_INET, socket.AF_INET6)
        if internet and one.getsockname()[1] == port and not _listens(one):
            host, far = one.getpeername()[:2]
            return f"{host.removeprefix('::ffff:')}:{far}"
    return None


def _gate(key: tuple[int, int], port: int) -> Gate | None:
    with contextlib.suppress(OSError):
        one = _copy(key)
        if _listens(one) and one.getsockname()[1] == port:
            return Gate(key[0], one)
        one.close()
    return None


def _received(key: tuple[int, int], before: float) -> float:
    """Return the bytes that were received on a line, or what was known before."""
    with contextlib.suppress(OSError, struct.error), _copy(key) as one:
        told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RECEIVED + 8)
        return float(struct.unpack_from("Q", told, RECEIVED)[0])
    return before


def _copy(key: tuple[int, int]) -> socket.socket:
    """Return another descriptor of a socket, so that it is that one whatever gRPC closes meanwhile; raises OSError."""
    number, inode = key
    one = socket.socket(fileno=os.dup(number))
    if os.fstat(one.fileno()).st_ino != inode:
        one.close()
        raise OSError(f"descriptor {number} is another socket's by now")
    return one


def _listens(one: socket.socket) -> bool:
    internet = one.family in (socket.AF_INET, socket.AF_INET6)
    return internet and bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
