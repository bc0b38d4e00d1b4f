"""Starts the worker process when there is work, keeps it warm for a while, and survives its death.

An answer belongs to the order before it. Whoever stops waiting for one, or is answered with anything but a line of
JSON, ends the process, so that what it still says can never pass for the answer to the next order.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hansa.fedclient.confine import exceeded
from hansa.fedclient.surroundings import environment
from hansa.fedlink.files import make_folder

COMMAND = (sys.executable, "-P", "-m", "hansa.fedclient.worker")
"""-P: no file of the current folder is imported in place of a library's."""


class WorkerDied(Exception):
    """The process ended before it had answered; the text says how. ``again`` tells whether another may do better."""

    public = True

    def __init__(self, text: str, *, again: bool = True) -> None:
        super().__init__(text)
        self.again = again


@dataclass(eq=False)
class Workshop:
    """One worker at most, in ``folder``; ``idle_after`` are the seconds that it stays without work."""

    folder: Path
    idle_after: float
    _process: Process | None = None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closing: asyncio.TimerHandle | None = None

    async def work(self, order: Mapping[str, Any], tell: Callable[[str], None]) -> str:
        """Let the worker carry out an order, and once more where it dies over it, of which ``tell`` hears.

        Returns what went wrong in the work. Raises WorkerDied where the second worker died too.
        """
        async with self._one:
            if self._closing is not None:
                self._closing.cancel()
            try:
                return await self._twice(order, tell)
            except BaseException:  # cancelled, for one: work cannot be interrupted otherwise
                await self.end()
                raise
            finally:
                self._closing = asyncio.get_running_loop().call_later(self.idle_after, self.close)

    async def _twice(self, order: Mapping[str, Any], tell: Callable[[str], None]) -> str:
        try:
            return await self._once(order)
        except WorkerDied as died:
            if not died.again:
                raise
            tell(f"{died}; the work is done once more")
        try:
            return await self._once(order)
        except WorkerDied as died:
            raise WorkerDied(f"twice, {died}") from None

    async def _once(self, order: Mapping[str, Any]) -> str:
        process = await self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            await process.stdin.drain()
            answered = await process.stdout.readline()
        except ConnectionError:
            answered = b""
        except ValueError:
            answered = b"a line longer than any answer"
        if not answered:
            self._process = None
            code = await process.wait()
            raise WorkerDied(_how(code), again=not exceeded(code))
        try:
            return str(json.loads(answered)["failure"])
        except (ValueError, TypeError, KeyError):
            await self.end()
            raise WorkerDied("the worker process wrote what is no answer: see the device's log") from None

    async def end(self) -> None:
        """End the worker, and wait until it is gone."""
        process = self._process
        self.close()
        if process is not None:
            await process.wait()

    def close(self) -> None:
        """End the worker, whatever it does; the next order starts another."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()

    async def _started(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            make_folder(self.folder)
            around = environment(os.environ, Path.cwd())
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND, stdin=PIPE, stdout=PIPE, env=around, cwd=self.folder, start_new_session=True
            )  # Ctrl-C is for the agent, which ends the worker itself
        return self._process


def _how(code: int) -> str:
    if exceeded(code):
        return "the work took more processor time than this device's owner gives (cpu in site.yaml): ask for less"
    if code == -9:
        return "the worker process was killed (signal 9): is there enough memory?"
    return (
        f"the worker process ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}: see the device's log"
    )
