"""How a command is ended from outside, in order: by Ctrl-C, by SIGTERM, or by a terminal that closes."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(kw_only=True)
class Ending:
    """While it is entered each of ``SIGNALS`` raises KeyboardInterrupt, and none disturbs an end that is under way.

    A signal that was ignored stays so, as SIGHUP does under nohup. Enter it in the main thread.
    """

    _held: bool = False
    _came: bool = False

    def __enter__(self) -> Self:
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before: dict[int, Any] = {number: signal.signal(number, self._end) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_IGN if _interrupts(error) else before)  # what ends is not ended twice

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let what must not be torn, such as a file that is written, be over before a signal interrupts."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._came and not _interrupts(sys.exception()):
                raise KeyboardInterrupt

    def _end(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminals()
        if _interrupts(sys.exception()):
            return
        if self._held:
            self._came = True
            return
        raise KeyboardInterrupt


def _interrupts(error: BaseException | None) -> bool:
    """Whether an error is an interruption, or came while one was being handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _leave_terminals() -> None:
    """Write nowhere in place of terminals that are gone: an error of theirs would hide why the command ends."""
    for out in (1, 2):
        try:
            os.get_terminal_size(out)
        except OSError as error:
            if error.errno == errno.EIO:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, out)
                os.close(null)
