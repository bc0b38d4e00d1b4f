"""Flower 1.41's own simulation, on Ray, with the app in flower_app/.

python -m venv flower && flower/bin/pip install -c ../../constraints.txt torch 'flwr[simulation]==1.41.0'
flower/bin/python flower_simulation.py lr 60 12
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
sys.path.insert(0, str(Path(__file__).parent / "flower_app"))

import mnist_work as work
from flwr.simulation import run_simulation
from mnist_app import clients, server

if __name__ == "__main__":
    os.environ |= {"WORK": " ".join(map(str, work.words())), "PYTHONPATH": sys.path[0]}  # Ray's workers inherit them
    one_each = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, clients, work.CLIENTS, backend_config=one_each)
