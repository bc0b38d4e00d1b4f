"""How many bodies move at once: a bound on memory that does not let a slow client hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Gate:
    """Lets ``most`` transfers through at once; one that is slower than ``pace`` gives up its place.

    It goes on outside, and holds no more than its connection does. ``pace`` is in bytes a second, over ``patience``
    seconds each.
    """

    most: int
    patience: float
    pace: float
    _places: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.most)

    @asynccontextmanager
    async def place(self, moved: Callable[[], int]) -> AsyncIterator[None]:
        """Wait for a place and keep it until the end, or for as long as ``moved``, in bytes, grows fast enough."""
        await self._places.acquire()
        watch = asyncio.create_task(self._watch(moved))
        try:
            yield
        finally:
            if not watch.done():
                watch.cancel()
                self._places.release()

    async def _watch(self, moved: Callable[[], int]) -> None:
        seen = moved()
        while True:
            await asyncio.sleep(self.patience)
            if (now := moved()) - seen < self.patience * self.pace:
                break
            seen = now
        self._places.release()
