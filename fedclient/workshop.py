"""Has work done by a worker process: starts it when there is work, keeps it warm for a while, and survives its death.

Orders and answers are lines of JSON on the worker's pipes, paired by a number. Anything else on its pipe ends a worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hansa.fedclient.confine import exceeded
from hansa.fedclient.pace import Pace
from hansa.fedclient.surroundings import environment
from hansa.fedlink.files import make_folder
from hansa.fedlink.texts import one_line

COMMAND = (sys.executable, "-P", "-m", "hansa.fedclient.worker")
"""-P: no file of the current folder is imported in place of a library's."""
LONGEST = 2**16
"""Bytes of a line from a worker."""
GLANCE = 0.2
"""Seconds between two looks at whether a worker still lives."""
START = "start"
"""The kind of work that is starting a worker."""
UNKNOWN = "the worker process wrote what is no answer, and was ended: see the device's log"
EXCEEDED = "the work took more processor time than this device's owner gives (cpu in site.yaml): ask for less"


class WorkFailed(Exception):
    """Work that has no answer; the text says why. ``again`` tells whether another worker may do it."""

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


class WorkerSlow(Exception):
    """A worker that takes much longer than usual."""


@dataclass(eq=False)
class Workshop:
    """One worker at most, in ``folder``; ``idle_after`` are the seconds that it stays without work.

    Work whose worker dies is done once more by a fresh one, to the same bits: all draw from one secret key, which is
    made here, told to each worker over its pipe, and gone with this process.
    """

    folder: Path
    idle_after: float
    clock: Callable[[], float]
    tell: Callable[[str], None]
    pace: Pace = field(default_factory=Pace)
    _key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _process: Process | None = None
    _ended: Process | None = None
    """The one before, which may not be gone yet."""
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closing: asyncio.TimerHandle | None = None

    async def work(self, order: Mapping[str, Any], what: str, kind: str) -> str:
        """Let a worker carry out an order; return what went wrong in it. Raises WorkFailed where there is no answer.

        ``what`` names it for a person, ``kind`` what its usual time is measured by. Cancelling it ends the worker.
        """
        async with self._one:
            if self._closing is not None:
                self._closing.cancel()
            try:
                return await self._tried(order, what, kind)
            finally:
                self._closing = asyncio.get_running_loop().call_later(self.idle_after, self.close)

    def close(self) -> None:
        """End the worker, and all that it started, whatever they do; the next order starts another."""
        if self._process is not None:
            self._ended, self._process = self._process, None
            _kill(self._ended)

    async def closed(self) -> None:
        """End the worker, and wait until it is gone."""
        self.close()
        while self._ended is not None and self._ended.returncode is None:
            await asyncio.sleep(GLANCE / 10)

    async def _tried(self, order: Mapping[str, Any], what: str, kind: str) -> str:
        """Do work until it is done: one worker may die of it, and one be too slow."""
        died, slow = False, False
        while True:
            try:
                return await self._once(order, kind, patient=slow)
            except WorkerSlow as error:
                slow = True
                self.tell(f"{what} {error}: it is begun anew by a fresh worker, which may take its time.")
            except WorkFailed as error:
                if not error.again:
                    raise
                if died:
                    raise WorkFailed(f"twice, {error}", again=False) from None
                died = True
                self.tell(f"{what} is done once more by a fresh worker: {error}")

    async def _once(self, order: Mapping[str, Any], kind: str, *, patient: bool) -> str:
        """Give an order to a worker. What ends without an answer to it ends the worker too."""
        try:
            process = await self._started(patient=patient)
            number = next(self._numbers)
            line = json.dumps({**order, "number": number, "key": self._key}).encode() + b"\n"
            answer = await self._measured(process, line, number, kind, patient=patient)
        except BaseException:
            self.close()
            raise
        if answer["broken"]:
            raise WorkFailed(answer["broken"], again=False)
        return answer["failure"]

    async def _started(self, *, patient: bool) -> Process:
        """Return a worker that waits for orders; it is started once the one before is gone."""
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = None
        await self.closed()
        make_folder(self.folder)
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                stdin=PIPE,
                stdout=PIPE,
                env=environment(os.environ, Path.cwd()),
                cwd=self.folder,
                limit=LONGEST,
                start_new_session=True,  # Ctrl-C is for the agent, which ends the worker itself
            )
        except OSError as error:
            raise WorkFailed(f"no worker process can be started ({error.strerror}).", again=True) from None
        await self._measured(process, b"", 0, START, patient=patient)
        return process

    async def _measured(
        self, process: Process, line: bytes, number: int, kind: str, *, patient: bool
    ) -> dict[str, str]:
        """Write an order and wait for the answer of this number; raises WorkFailed, WorkerSlow."""
        assert process.stdin is not None and process.stdout is not None
        begun, longest = self.clock(), math.inf if patient else self.pace.longest(kind)
        process.stdin.write(line)
        reading = asyncio.create_task(process.stdout.readline())
        try:
            while not (ended := process.returncode is not None) and self.clock() - begun <= longest:
                if (await asyncio.wait({reading}, timeout=GLANCE))[0]:
                    break
            if not reading.done() and not ended:
                raise WorkerSlow(f"takes more than {longest:.0f} s, much longer than usual")
            answer = _answer(reading.result(), number) if reading.done() else None
        except (ValueError, RecursionError):
            raise WorkFailed(UNKNOWN, again=True) from None
        finally:
            reading.cancel()
        if answer is None:
            await self.closed()
            raise _died(process.returncode or 0)
        self.pace.note("" if answer["failure"] or answer["broken"] else kind, self.clock() - begun)
        return answer


def _answer(line: bytes, number: int) -> dict[str, str] | None:
    """Read a worker's line, or None where there is none any more; raises ValueError for anything but this answer."""
    if not line:
        return None
    answer = json.loads(line)
    if not isinstance(answer, dict) or answer.pop("number", None) != number or answer.keys() != {"failure", "broken"}:
        raise ValueError(number)
    return {name: one_line(str(text)) for name, text in answer.items()}


def _kill(process: Process) -> None:
    """End a worker and its children, which may hold its pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # it is the leader of a session
        else:
            process.kill()


def _died(code: int) -> WorkFailed:
    if exceeded(code):
        return WorkFailed(EXCEEDED, again=False)
    if code == -9:
        return WorkFailed("the worker process was killed (signal 9): is there enough memory?", again=True)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return WorkFailed(f"the worker process ended with {how}: see the device's log", again=True)
