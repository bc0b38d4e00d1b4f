"""Deploy Hansa on Flower's own engine: a SuperLink and four SuperNodes on loopback, one hospital each.

    python run.py                                     # FedAvg, 3 rounds
    python run.py strategy=scaffold rounds=5          # any settings of `hansa simulate`

The last line is the run's summary, as `hansa simulate` prints it. Flower's telemetry is off.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

APP = Path(__file__).parent
BIN = Path(sys.executable).parent
HOSPITALS = ("cleveland", "hungary", "switzerland", "va_long_beach")
DEFAULTS = ("task=heart_disease", "strategy=fedavg", "rounds=3", "seed=1", "start_with=4", "coordinator_key=seed")
SECONDS = 30
"""How long the SuperLink may take to answer."""


@contextmanager
def fleet(home: Path, clients: Sequence[str] = HOSPITALS) -> Iterator[Callable[..., dict[str, Any]]]:
    """Start a SuperLink and a SuperNode a client; yield what carries out one run on them, given settings.

    Everything is written below ``home``. A run returns its summary, and raises RuntimeError with Flower's output;
    several may go on at once.
    """
    port, *node_ports = free_ports(1 + len(clients))
    env = environment(home, port)
    with ExitStack() as started:
        started.enter_context(process(superlink(port), env, home, "superlink"))
        wait_for(port)
        for client, node_port in zip(clients, node_ports, strict=True):
            started.enter_context(process(supernode(client, port, node_port), env, home, client))
        yield lambda *settings: carry_out(settings, env, home)


def carry_out(settings: Sequence[str], env: dict[str, str], home: Path) -> dict[str, Any]:
    """Give the SuperLink a run and wait for its end."""
    config = "hansa=" + json.dumps(" ".join(map(shlex.quote, (*DEFAULTS, *settings))))
    command = [BIN / "flwr", "run", APP, "here", "--stream", "--run-config", config]
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    started = re.search(r"started run (\d+)", told.stdout)
    written = list(home.glob(f"runs/superlink-{started[1]}-*/summary.json")) if started else []
    if not written:
        raise RuntimeError(f"the run left no summary:\n{told.stdout}{told.stderr}")
    summary: dict[str, Any] = json.loads(written[0].read_text())
    return summary


def superlink(port: int) -> list[str]:
    flags = ["--insecure", "--disable-runtime-dependency-installation", "--host", "127.0.0.1", "--port", str(port)]
    return [str(BIN / "flower-superlink"), *flags]


def supernode(client: str, superlink_port: int, port: int) -> list[str]:
    name = f'hansa-client="{client}"'
    flags = ["--insecure", "--superlink", f"127.0.0.1:{superlink_port}", "--port", str(port), "--node-config", name]
    return [str(BIN / "flower-supernode"), *flags]


def environment(home: Path, port: int) -> dict[str, str]:
    """Return the environment of all processes: no telemetry, and a home of its own for Flower."""
    address = f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (home / "config.toml").write_text(address)
    own = {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    return {**os.environ, **own}


@contextmanager
def process(command: list[str], env: dict[str, str], home: Path, name: str) -> Iterator[None]:
    """Start a process that works and logs in ``home``; end it on leaving."""
    with (home / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(command, env=env, cwd=home, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]


def wait_for(port: int) -> None:
    """Wait until somebody listens; raises TimeoutError."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"the SuperLink does not listen on port {port} after {SECONDS} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder)) as run:
        print(json.dumps(run(*sys.argv[1:])))
