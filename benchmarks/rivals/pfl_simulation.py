"""pfl-research 0.6 with the work of ../simulation.py, in one process. It wants an environment of its own:

python -m venv pfl && pfl/bin/pip install -c ../../constraints.txt torch && pfl/bin/pip install pfl==0.6.0
pfl/bin/python pfl_simulation.py lr 60 12
"""

from __future__ import annotations

import time

import mnist_work as work
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn
from torch.nn import functional


class Network(nn.Module):
    """A model with the two methods that pfl asks for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.layers = work.torch_model(name)

    def loss(self, x, y, is_eval=False):
        return functional.cross_entropy(self.layers(x), y)

    def metrics(self, x, y):
        with torch.no_grad():
            return {"loss": Weighted(float(self.loss(x, y)) * len(y), len(y))}


class Stamps(TrainingProcessCallback):
    """Notes when each round is over."""

    def __init__(self) -> None:
        self.stamps = [time.perf_counter()]

    def after_central_iteration(self, *args, **kwargs):
        self.stamps.append(time.perf_counter())
        return False, Metrics()


def main() -> None:
    name, samples, rounds = work.words()
    torch.set_num_threads(1)
    data = [[torch.from_numpy(x), torch.from_numpy(y)] for x, y in work.images_and_digits(samples)]
    users = FederatedDataset(
        lambda user: Dataset(raw_data=data[int(user)], user_id=str(user)),
        get_user_sampler("random", list(range(work.CLIENTS))),
    )
    network, stamps = Network(name), Stamps()
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=rounds, evaluation_frequency=10**6, train_cohort_size=work.COHORT, val_cohort_size=0
        ),
        SimulatedBackend(training_data=users, val_data=users, postprocessors=[]),
        PyTorchModel(network, torch.optim.SGD, central_optimizer=torch.optim.SGD(network.parameters(), lr=1.0)),
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=work.LR, local_batch_size=work.BATCH),
        NNEvalHyperParams(local_batch_size=600),
        callbacks=[stamps],
    )
    work.tell("pfl 0.6, 1 process", stamps.stamps)


if __name__ == "__main__":
    main()
