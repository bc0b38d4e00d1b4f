"""A ServerApp and a ClientApp of Flower 1.41 with the work of ../../simulation.py; nothing of it knows of Hansa.

``run_config`` says which model, how many samples and rounds; under ``run_simulation``, which has none, WORK does.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mnist_work as work
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from torch_loop import ordinary, tensors

clients, server = ClientApp(), ServerApp()


def words(context) -> tuple[str, int, int]:
    """Return model, samples and rounds."""
    config = context.run_config
    model, samples, rounds = (
        [config[name] for name in ("model", "samples", "rounds")] if config else os.environ["WORK"].split()
    )
    return model, int(samples), int(rounds)


@clients.train()
def train(message, context):
    name, samples, _ = words(context)
    model, data = work.torch_model(name), tensors(samples)[context.node_config["partition-id"]]
    ordinary(model, message.content["arrays"].to_torch_state_dict(), *data)
    told = MetricRecord({"num-examples": samples})
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
    name, _, rounds = words(context)
    rule = Clocked(
        fraction_train=work.COHORT / work.CLIENTS,
        min_train_nodes=work.COHORT,
        min_available_nodes=work.CLIENTS,
        fraction_evaluate=0.0,
    )
    rule.stamps = [time.perf_counter()]
    rule.start(grid, ArrayRecord(work.torch_model(name).state_dict()), num_rounds=rounds)
    work.tell(f"Flower app by {Path(sys.argv[0]).name}", rule.stamps, words(context))
