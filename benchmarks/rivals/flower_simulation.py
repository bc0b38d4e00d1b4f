"""Flower 1.41's own simulation, on Ray, with the work of ../simulation.py.

python -m venv flower && flower/bin/pip install -c ../../constraints.txt torch 'flwr[simulation]==1.41.0'
flower/bin/python flower_simulation.py lr 60 12
"""

from __future__ import annotations

import os
import time

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}

import mnist_work as work
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch_loop import ordinary, tensors

NAME, SAMPLES, ROUNDS = work.words()
clients, server = ClientApp(), ServerApp()


@clients.train()
def train(message, context):
    model = work.torch_model(NAME)
    ordinary(
        model, message.content["arrays"].to_torch_state_dict(), *tensors(SAMPLES)[context.node_config["partition-id"]]
    )
    told = MetricRecord({"num-examples": SAMPLES})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": told}), reply_to=message)


class Clocked(FedAvg):
    """FedAvg that notes when each round is over."""

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        if failed := [reply.error for reply in replies if reply.has_error()]:
            raise RuntimeError(f"{len(failed)} clients failed: {failed[0]}")
        aggregated = super().aggregate_train(server_round, replies)
        self.stamps.append(time.perf_counter())
        return aggregated


@server.main()
def main(grid, context):
    rule = Clocked(
        fraction_train=work.COHORT / work.CLIENTS,
        min_train_nodes=work.COHORT,
        min_available_nodes=work.CLIENTS,
        fraction_evaluate=0.0,
    )
    rule.stamps = [time.perf_counter()]
    rule.start(grid, ArrayRecord(work.torch_model(NAME).state_dict()), num_rounds=ROUNDS)
    work.tell("Flower 1.41 simulation", rule.stamps)


if __name__ == "__main__":
    one_each = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, clients, work.CLIENTS, backend_config=one_each)
