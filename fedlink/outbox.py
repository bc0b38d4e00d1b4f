"""What waits to be written to one stream: frames in their order, and between them one chunk of a body at a time."""

from __future__ import annotations

import asyncio
from collections import deque

FEW, MOST = 64, 4096
"""Frames that may wait before the stream's own reader is held up, and at all."""


class Outbox:
    """Filled by whoever has something to say, emptied by the stream's writer; for one event loop."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._chunk: bytes | None = None
        self._closed = asyncio.Event()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    async def over(self) -> None:
        """Wait until it is closed."""
        await self._closed.wait()

    def frame(self, raw: bytes) -> None:
        """Add a frame; who does not read for so long that MOST are waiting is given up."""
        if len(self._frames) >= MOST:
            self._frames.clear()
            self.close()
        if not self.closed:
            self._frames.append(raw)
            self._changed.set()

    async def chunk(self, raw: bytes) -> bool:
        """Add a chunk once the one before is taken; False where the stream was closed instead."""
        while self._chunk is not None and not self.closed:
            self._taken.clear()
            await self._taken.wait()
        if not self.closed:
            self._chunk = raw
            self._changed.set()
        return not self.closed

    async def room(self) -> None:
        """Wait until only few frames are left."""
        while len(self._frames) > FEW and not self.closed:
            self._taken.clear()
            await self._taken.wait()

    async def next(self) -> bytes | None:
        """Wait for what is to be written next; None once the outbox is closed and its frames are out."""
        while not self._frames and self._chunk is None and not self.closed:
            self._changed.clear()
            await self._changed.wait()
        if self._frames:
            raw: bytes | None = self._frames.popleft()
        else:
            raw, self._chunk = self._chunk, None
        self._taken.set()
        return raw

    def close(self) -> None:
        """Let the frames that wait go out, and nothing else."""
        self._chunk = None
        self._closed.set()
        self._changed.set()
        self._taken.set()
