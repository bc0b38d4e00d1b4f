"""What a process and those it forked say to each other: Python values with descriptors, over a pair of sockets."""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HEAD = struct.Struct("<QI")
MOST = 64
"""Descriptors that go with one message."""


class HungUp(Exception):
    """The other end is gone."""


@dataclass(frozen=True)
class Line:
    """One end. Both ends are one program and its fork, so that values may be pickled."""

    socket: socket.socket

    @classmethod
    def pair(cls) -> tuple[Line, Line]:
        """Return both ends of a new line."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), cls(theirs)

    def send(self, value: Any, files: Sequence[int] = ()) -> None:
        """Send a value, and descriptors, which the other end gets as its own; raises HungUp."""
        body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        try:
            socket.send_fds(self.socket, [HEAD.pack(len(body), len(files))], list(files))
            self.socket.sendall(body)
        except OSError:
            raise HungUp from None

    def receive(self) -> tuple[Any, list[int]]:
        """Wait for a value and its descriptors; raises HungUp."""
        head = bytearray(HEAD.size)
        try:
            begun, files, _, _ = socket.recv_fds(self.socket, HEAD.size, MOST)
        except OSError:
            raise HungUp from None
        if not begun:
            raise HungUp
        head[: len(begun)] = begun
        self._fill(memoryview(head)[len(begun) :])
        body = bytearray(HEAD.unpack(head)[0])
        self._fill(memoryview(body))
        return pickle.loads(body), files

    def close(self) -> None:
        self.socket.close()

    def _fill(self, room: memoryview) -> None:
        """Read until there is no more room."""
        while room:
            try:
                count = self.socket.recv_into(room)
            except OSError:
                count = 0
            if not count:
                raise HungUp
            room = room[count:]
