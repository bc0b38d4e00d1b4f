"""What the link itself costs: rounds of clients that return the model at once, and the memory of a node that is idle.

    python benchmarks/fleet.py                  # Hansa
    python benchmarks/rivals/flower_fleet.py    # Flower 1.41's own deployment, the same work; see its docstring

Measured on 2 cores of an AMD EPYC, 2026-11-28, nothing else on the machine:

    2 clients x 200,000 parameters    0.026 s a round, the first 1.4 s (the workers start); Flower 9.2 s
    a node 60 s after a round         47 MB, PSS of its whole process tree
    4 clients x 25,000,000            2.08 s a round, the first 7.6 s; Flower 12.3 s

The goals were 0.1 s, 80 MB and 2.5 s. A round of the four moves 800 MB and takes 4 to 5 s of CPU, half of it at the
coordinator, where a fifth is writing answers to its disk. The machine is at times a third slower than this.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HANSA = str(Path(sys.executable).with_name("hansa"))
TASK = f"{Path(__file__).with_name('fleet_task.py')}:Flat"
IDLE = 60.0
"""Seconds after a round when the memory of a node is read."""


def tree_pss(pid: int) -> float:
    """Return the proportional set size of a process and all below it, in MB."""
    total = 0.0
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        total += sum(tree_pss(int(child)) for child in children.read_text().split())
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return total + int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1]) / 1000  # type: ignore[index]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def measure(home: Path, nodes: int, parameters: int, rounds: int, idle: float) -> str:
    """Provision, join, serve; return a line with the seconds of the first round and of the others."""
    port, names = free_port(), [f"node{i}" for i in range(nodes)]
    quiet = {"cwd": home, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    provision = ["provision", "fleet", f"address=localhost:{port}", f"task={TASK}", f"clients={','.join(names)}"]
    subprocess.run([HANSA, *provision], check=True, **quiet)  # type: ignore[call-overload]
    joining = [[HANSA, "join", f"fleet/invitations/{name}.invitation", "--yes"] for name in names]
    joined = [subprocess.Popen(command, **quiet) for command in joining]  # type: ignore[call-overload]
    try:
        settings = [f"rounds={rounds}", "evaluation.every=0", f"task.parameters={parameters}", f"task.number={nodes}"]
        serve = [HANSA, "serve", "fleet", f"listen=127.0.0.1:{port}", "run_dir=run", *settings]
        subprocess.run(serve, check=True, **quiet)  # type: ignore[call-overload]
        records = [json.loads(line) for line in (home / "run" / "metrics.jsonl").read_text().splitlines()]
        assert all(record["counted"] == nodes for record in records)
        cold, *warm = (record["seconds"] for record in records)
        took = f"{statistics.median(warm):.3f} s a round, the first {cold:.1f} s"
        line = f"{nodes} clients x {parameters:,} parameters: {took}"
        if idle:
            time.sleep(idle)
            line += f"; a node {idle:.0f} s after a round: {tree_pss(joined[0].pid):.0f} MB"
        return line
    finally:
        for process in joined:
            process.send_signal(signal.SIGTERM)
        for process in joined:
            process.wait(20)


if __name__ == "__main__":
    for nodes, parameters, rounds, idle in ((2, 200_000, 20, IDLE), (4, 25_000_000, 5, 0.0)):
        with tempfile.TemporaryDirectory() as folder:
            print(measure(Path(folder), nodes, parameters, rounds, idle), flush=True)
