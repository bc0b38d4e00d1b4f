"""What no gradient trains, such as BatchNorm's statistics, is averaged under every strategy."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.conf.components import allow
from hansa.conf.compose import compose
from hansa.conf.run import assemble
from hansa.fedclient.state import MemoryStates
from hansa.fedserver.coordinator import Coordinator
from hansa.simulations.inline import Inline
from hansa.strategies.keys import from_seed
from tests.places import Told

NORMED = """
from torch import nn
from hansa.fedtasks.digits import Digits

class Normed(Digits):
    def model(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3), nn.Linear(3, 10))
"""
TRAINED = ("1.weight", "1.bias", "2.weight", "2.bias", "3.weight", "3.bias")
START = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}


@pytest.fixture
def learned(tmp_path):
    (tmp_path / "normed.py").write_text(NORMED)
    target = f"{tmp_path}/normed.py:Normed"
    allow("task", target)

    def learn(*words):
        """The problem's buffers, and the model's tensors after one round."""
        config, _ = compose(["task=digits", "clients=4", "rounds=1", "evaluation.every=0", "client.lr=0.5", *words])
        config.task._target_ = target
        run = assemble(config, {"task": "normed", "strategy": words[0], "partition": "iid"})
        clients = Inline(run.site(MemoryStates(), from_seed(1, "client")), run.work.task.clients())
        there = Coordinator(
            job=run.job, federation=clients, run="run", own=from_seed(1, "coordinator"), clock=lambda: 0.0, watch=Told()
        )
        assert not next(there.rounds()).lost
        return run.job.layout, there.tensors()

    return learn


@pytest.mark.parametrize("strategy", ["fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_server_optimisers_average_buffers_and_nothing_else(learned, strategy):
    (lay, plain), (_, mine) = learned("strategy=fedavg"), learned(f"strategy={strategy}", "strategy.lr=0.3")
    assert sum(where.stop - where.start for where in lay.buffers) == 3 + 3 + 1
    for name in (f"2.{name}" for name in START):
        assert np.array_equal(mine[name], plain[name]) and np.any(mine[name] != START[name[2:]]), name
    assert all(not np.array_equal(mine[name], plain[name]) for name in TRAINED)


@pytest.mark.parametrize(
    ("strategy", "weighting"), [("fednova", "examples"), ("term", "examples"), ("qfedavg", "uniform")]
)
def test_buffers_are_averaged_whatever_weighs_the_clients(learned, strategy, weighting):
    _, plain = learned("strategy=fedavg", f"strategy.weighting={weighting}")
    _, mine = learned(f"strategy={strategy}")
    for name in (f"2.{name}" for name in START):
        assert np.allclose(mine[name], plain[name], rtol=1e-5, atol=1e-7), name
