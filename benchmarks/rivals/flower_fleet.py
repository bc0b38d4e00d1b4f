"""Flower's own deployment with the work of ../fleet.py: clients that return the model at once.

    python -m venv flower && flower/bin/pip install -c ../../constraints.txt torch 'flwr==1.41.0'
    flower/bin/python flower_fleet.py 2 200000 3       # nodes, parameters, rounds
    flower/bin/python flower_fleet.py 4 25000000 2

It starts a SuperLink and the nodes on loopback, runs FedAvg, and prints the seconds of a round.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

BIN = Path(sys.executable).parent
PROJECT = """
[project]
name = "idle"
version = "1.0.0"
description = "clients that return the model"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "anybody"
[tool.flwr.app.components]
serverapp = "idle.app:server"
clientapp = "idle.app:client"
[tool.flwr.app.config]
nodes = 2
parameters = 200000
rounds = 3
"""
APP = """
import time
import numpy as np
import torch  # as a client that trains would
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


@client.train()
def train(message, context):
    answer = {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(answer), reply_to=message)


@server.main()
def main(grid, context):
    told = context.run_config
    rule = FedAvg(fraction_evaluate=0.0, min_train_nodes=told["nodes"], min_available_nodes=told["nodes"])
    model = ArrayRecord({"weight": Array(np.zeros(told["parameters"], np.float32))})
    start = time.perf_counter()
    rule.start(grid, model, num_rounds=told["rounds"])
    print(f"SECONDS {(time.perf_counter() - start) / told['rounds']:.3f}", flush=True)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def measure(home: Path, nodes: int, parameters: int, rounds: int) -> str:
    """Run FedAvg on a fleet of so many nodes; return the seconds of a round."""
    port = free_port()
    (home / "idle").mkdir()
    (home / "idle" / "__init__.py").touch()
    (home / "idle" / "app.py").write_text(APP)
    (home / "pyproject.toml").write_text(PROJECT)
    (home / "flwr").mkdir()
    address = f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    (home / "flwr" / "config.toml").write_text(address)
    own = {"FLWR_HOME": str(home / "flwr"), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    env = {**os.environ, **own, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    link = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation", "--port", str(port)]
    node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--port"]
    with ExitStack() as started:
        for command in (link, *([*node, str(free_port())] for _ in range(nodes))):
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            started.callback(process.wait, 20)
            started.callback(process.terminate)
            time.sleep(6 if command is link else 1)
        config = f"nodes={nodes} parameters={parameters} rounds={rounds}"
        run = ["flwr", "run", str(home), "here", "--stream", "--run-config", config]
        told = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    found = re.search(r"SECONDS ([\d.]+)", told.stdout)
    return f"{found[1]} s a round" if found else f"failed:\n{told.stdout}{told.stderr}"


if __name__ == "__main__":
    nodes, parameters, rounds = (int(word) for word in (*sys.argv[1:], *("2", "200000", "3")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"Flower, {nodes} clients x {parameters:,} parameters: {measure(Path(folder), nodes, parameters, rounds)}"
        )
