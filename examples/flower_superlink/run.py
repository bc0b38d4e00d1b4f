"""Deploy Hansa on Flower's own engine: a SuperLink and four SuperNodes on loopback, one hospital each.

    python run.py                                     # FedAvg, 3 rounds
    python run.py strategy=scaffold rounds=5          # any settings of `hansa simulate`

The last line is the run's summary, as `hansa simulate` prints it. Flower's telemetry is off.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

APP = Path(__file__).parent
BIN = Path(sys.executable).parent
HOSPITALS = ("cleveland", "hungary", "switzerland", "va_long_beach")
DEFAULTS = ("task=heart_disease", "strategy=fedavg", "rounds=3", "seed=1", "cohort.min=4", "coordinator_key=seed")
SECONDS = 30
"""How long the SuperLink may take to answer."""


def deploy(settings: Sequence[str], out: Path, clients: Sequence[str] = HOSPITALS) -> dict[str, Any]:
    """Run once, results in ``out``; return the summary. Raises RuntimeError with Flower's output."""
    with tempfile.TemporaryDirectory() as home, ExitStack() as started:
        port, *node_ports = free_ports(1 + len(clients))
        env = environment(Path(home), port, out)
        started.enter_context(process(superlink(port), env, Path(home) / "superlink.log"))
        wait_for(port)
        for client, node_port in zip(clients, node_ports, strict=True):
            started.enter_context(process(supernode(client, port, node_port), env, Path(home) / f"{client}.log"))
        config = "hansa=" + json.dumps(" ".join(map(shlex.quote, (*DEFAULTS, *settings))))
        command = [BIN / "flwr", "run", APP, "here", "--stream", "--run-config", config]
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if not (out / "summary.json").exists():
            raise RuntimeError(f"the run left no summary:\n{told.stdout}{told.stderr}")
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
        return summary


def superlink(port: int) -> list[str]:
    flags = ["--insecure", "--disable-runtime-dependency-installation", "--host", "127.0.0.1", "--port", str(port)]
    return [str(BIN / "flower-superlink"), *flags]


def supernode(client: str, superlink_port: int, port: int) -> list[str]:
    name = f'hansa-client="{client}"'
    flags = ["--insecure", "--superlink", f"127.0.0.1:{superlink_port}", "--port", str(port), "--node-config", name]
    return [str(BIN / "flower-supernode"), *flags]


def environment(home: Path, port: int, out: Path) -> dict[str, str]:
    """Return the environment of all processes: no telemetry, a home of its own, results in ``out``."""
    address = f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (home / "config.toml").write_text(address)
    own = {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "HANSA_SITE": f"run_dir={out}",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    return {**os.environ, **own}


@contextmanager
def process(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    """Start a process, and end it, and what it started, on leaving."""
    with log.open("wb") as file:
        started = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)
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
    with tempfile.TemporaryDirectory() as results:
        print(json.dumps(deploy(sys.argv[1:], Path(results) / "run")))
