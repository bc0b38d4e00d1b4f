"""A federation of real processes on loopback for tests: hansa provision, serve and join, as a person starts them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CODE = "from hansa.conf.main import main; main()"
SECONDS = 60


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", CODE, *words]


def until(true: Callable[[], bool], told: Callable[[], str] = str) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, told()
        time.sleep(0.02)


@dataclass(eq=False)
class Fleet:
    """Everything lies in ``home``; each device's log is ``home/NAME.log``."""

    home: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def hansa(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            command(*words), cwd=self.home, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def provision(self, *clients: str, task: str = "heart_disease") -> None:
        names = f"clients={','.join(clients)}"
        self.hansa("provision", "plants", f"address=localhost:{self.port}", f"task={task}", names)

    def join(self, name: str, *words: str) -> None:
        invitation = f"plants/invitations/{name}.invitation"
        self.start(name, "join", invitation, "--yes", *words)

    def start(self, name: str, *words: str) -> None:
        """Start a process that logs in ``NAME.log``, behind what was there."""
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command(*words), cwd=self.home, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def serve(self, *words: str) -> dict[str, Any]:
        """Carry out a run; return its summary."""
        self.start("serve", "serve", "plants", f"listen=127.0.0.1:{self.port}", *words)
        return self.served()

    def served(self, code: int = 0) -> dict[str, Any]:
        assert self.processes.pop("serve").wait(SECONDS) == code, self.log("serve")
        lines = self.log("serve").splitlines()  # gRPC may have a last word on standard error
        return dict(json.loads([line for line in lines if line.startswith("{")][-1]))

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()

    def kill(self, name: str, how: int = signal.SIGKILL) -> int:
        process = self.processes.pop(name)
        os.kill(process.pid, how)
        return process.wait(SECONDS)


@contextmanager
def fleet(home: Path) -> Iterator[Fleet]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    there = Fleet(home, port)
    try:
        yield there
    finally:
        for name in list(there.processes):
            there.kill(name, signal.SIGTERM)
