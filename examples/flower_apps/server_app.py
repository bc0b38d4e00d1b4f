"""A Flower ServerApp with Flower's own FedAvg; see docs/deploy.md for how Hansa's devices become its nodes."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Learn one number, and say it."""
    nodes = int(context.run_config["nodes"])
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    start = ArrayRecord({"w": Array(np.zeros(1, np.float32))})
    result = strategy.start(grid, start, num_rounds=int(context.run_config["rounds"]))
    (model,) = result.arrays.to_numpy_ndarrays()
    rounds = result.train_metrics_clientapp[int(context.run_config["rounds"])]["rounds"]
    print(f"the mean is {model[0]:.3f} after {rounds:.0f} rounds", flush=True)
