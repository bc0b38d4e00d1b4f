"""What attacks cost a run: rounds with and without an attacker, all of Hansa on one core and the attacker on the other.

    python benchmarks/attacks.py            # ten pairs an attack, about 20 minutes
    python benchmarks/attacks.py --quick    # two pairs

A run of two clients with 200,000 parameters, which train nothing, goes on while windows without and with an attack take
turns. A window's figure is its seconds by the rounds that ended in it.

MEASURED
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet import HANSA, TASK, free_port

from hansa.fedclient.place import Place
from tests.http2 import Http2, call, context
from tests.identities import Side

OURS, THEIRS = {0}, {1}
WINDOW, PAUSE, CALM = 5.0, 3.0, 60.0
"""Seconds of a window, of the pause before it, and until memory is looked at again."""
SESSION, RENEW, NONE = "/hansa.link.v1.Link/Session", "/hansa.link.v1.Link/Renew", "/no/method"


def silent(connect: Callable[[], Http2], port: int) -> None:
    """Hold 1,124 sockets that say nothing; those that are ended are opened again."""
    held: list[socket.socket] = []
    while True:
        while len(held) < 1124:
            held.append(one := socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        time.sleep(1)
        held = [one for one in held if not _over(one)]


def halves(connect: Callable[[], Http2], port: int) -> None:
    """Hold 50 connections with four half-sent renewals each, of a revoked device."""
    held: list[Http2] = []
    while True:
        while len(held) < 50:
            with contextlib.suppress(OSError):
                held.append(one := connect())
                one.half(RENEW, 4, 3 * 2**20)
        held = [one for one in held if not _over(one.line)]


def handshakes(connect: Callable[[], Http2], port: int) -> None:
    """Shake hands, and hang up."""
    while True:
        with contextlib.suppress(OSError):
            connect().close()


def connections(connect: Callable[[], Http2], port: int) -> None:
    """Connect, and hang up."""
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()


def calls(connect: Callable[[], Http2], port: int) -> None:
    """Call what is not there, as fast as a connection takes it."""
    while True:
        with contextlib.suppress(OSError):
            one = connect()
            one.flood(b"".join(call(2 * number + 1, NONE) for number in range(500)), 1)
            one.close()


def sessions(connect: Callable[[], Http2], port: int) -> None:
    """Begin a session, and hang up."""
    while True:
        with contextlib.suppress(OSError):
            one = connect()
            one.send(call(1, SESSION))
            one.close()


ATTACKS = (silent, halves, handshakes, connections, calls, sessions)


def _over(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return not one.recv(2**16)
    except (BlockingIOError, TimeoutError):
        return False
    except OSError as error:
        return "want read" not in str(error).lower() and "did not complete" not in str(error)


class Run:
    """A run that goes on; ``pid`` is the coordinator's."""

    def __init__(self, home: Path, port: int, pid: int) -> None:
        self.home, self.port, self.pid = home, port, pid

    def rounds(self) -> int:
        return (self.home / "run" / "metrics.jsonl").read_bytes().count(b"\n")

    def memory(self) -> float:
        """Return the coordinator's memory in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+)", status, re.M)[1]) / 1000  # type: ignore[index]

    def pace(self) -> tuple[float, float]:
        """Return the seconds a round of one window, and the most memory in it."""
        before, begun, most = self.rounds(), time.monotonic(), 0.0
        while time.monotonic() < begun + WINDOW:
            time.sleep(0.25)
            most = max(most, self.memory())
        return (time.monotonic() - begun) / max(1, self.rounds() - before), most


@contextmanager
def running(home: Path) -> Iterator[Run]:
    """Start a coordinator and two devices on one core."""
    port, processes = free_port(), list[subprocess.Popen[bytes]]()
    names = ("node0", "node1", "mallory", "revoked")
    quiet = {"cwd": home, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def start(*words: str) -> subprocess.Popen[bytes]:
        pin = lambda: os.sched_setaffinity(0, OURS)  # noqa: E731 - in the child, before it begins
        processes.append(subprocess.Popen([HANSA, *words], preexec_fn=pin, **quiet))  # type: ignore[call-overload]
        return processes[-1]

    start("provision", "fleet", f"address=localhost:{port}", f"task={TASK}", f"clients={','.join(names)}").wait()
    settings = ("rounds=1000000", "evaluation.every=0", "task.number=2", "start_with=2", "run_dir=run")
    try:
        for name in names[2:]:
            start("join", f"fleet/invitations/{name}.invitation", "--yes", "--request", f"{name}.request").wait()
            start("provision", "sign", "fleet", f"{name}.request", f"out={name}.crt").wait()
            chain, ca = (home / f"{name}.crt").read_bytes(), (home / "fleet" / "server" / "ca.pem").read_bytes()
            Place.read(home / f"hansa-{name}").accept(chain, ca)
        start("provision", "revoke", "fleet", "revoked").wait()
        serving = start("serve", "fleet", f"listen=127.0.0.1:{port}", *settings)
        for name in names[:2]:
            start("join", f"fleet/invitations/{name}.invitation", "--yes")
        run = Run(home, port, serving.pid)
        _until(lambda: (home / "run" / "metrics.jsonl").exists() and run.rounds() > 20)
        yield run
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def attacked(run: Run, attack: str) -> Iterator[None]:
    """Let an attacker work on the other core."""
    command = [sys.executable, __file__, attack, str(run.port), str(run.home)]
    attacker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        time.sleep(PAUSE)
        yield
    finally:
        attacker.kill()
        attacker.wait()


def measure(run: Run, attack: str, pairs: int) -> str:
    before, ratios, most = run.memory(), list[float](), 0.0
    for _ in range(pairs):
        time.sleep(PAUSE)
        quiet, _ = run.pace()
        with attacked(run, attack):
            loud, peak = run.pace()
        ratios.append(loud / quiet)
        most = max(most, peak)
    time.sleep(CALM if pairs > 2 else 1)
    low, high = interval(ratios)
    grown = f"{most - before:+.0f} MB at most, {run.memory() - before:+.0f} MB a minute later"
    return f"{attack:12} rounds x {statistics.median(ratios):.2f} (90 %: {low:.2f} to {high:.2f}); {grown}"


def interval(ratios: list[float]) -> tuple[float, float]:
    """Return the 90 % interval of the median, by the bootstrap."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[100], medians[1899]


def be(attack: str, port: int, home: Path) -> None:
    """Be the attacker, for five minutes at most."""
    signal.alarm(300)
    os.sched_setaffinity(0, THEIRS)
    name = "revoked" if attack == "halves" else "mallory"
    trust = Place.read(home / f"hansa-{name}").trust()
    tls = context(Side(trust.chain, trust.key), trust.ca or b"")
    {one.__name__: one for one in ATTACKS}[attack](lambda: Http2(port, tls, seconds=2), port)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as run:
        for attack in ATTACKS:
            print(measure(run, attack.__name__, 2 if "--quick" in sys.argv else 10), flush=True)
        lines = (run.home / "run" / "metrics.jsonl").read_text().splitlines()
        lost = sum(json.loads(line)["counted"] < 2 for line in lines)
        print(f"{len(lines)} rounds, {lost} of them without one of the clients")


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        be(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
