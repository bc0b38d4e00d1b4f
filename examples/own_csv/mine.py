"""A task of one's own on CSV files: how worn is a pump? One file for each plant, which stays at the plant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from hansa.fedtasks import Data, DataError, Metric, Moments, Query, Standardise, Task, UnknownClient, read_table
from hansa.strategies.spec import Channel

COLUMNS = {"temperature": None, "vibration": None, "load": None, "wear": None}  # None: a column of numbers


@dataclass(frozen=True, kw_only=True)
class AbsoluteError:
    """A metric of one's own, the mean absolute error: what a client sums, and what the sums over clients say."""

    def channels(self) -> tuple[Channel, ...]:
        return (Channel(name="absolute_error.sum", cap=2.0**31, nonnegative=True),)

    def local(self, outputs: Tensor, targets: Tensor) -> dict[str, NDArray[Any]]:
        error = (outputs.reshape(-1) - targets).abs().sum().item()
        return {"absolute_error.sum": np.array(error, np.float32)}

    def values(self, sums: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
        examples = float(sums["examples"])
        return {"absolute_error": float(sums["absolute_error.sum"]) / examples if examples else None}


@dataclass(frozen=True, kw_only=True)
class Pumps(Task):
    """Each field is an option on the command line: ``task.data_dir=/srv/pumps task.hidden=32``."""

    data_dir: str = str(Path(__file__).parent / "data")
    hidden: int = 8

    metrics: ClassVar[tuple[Metric, ...]] = (AbsoluteError(),)
    # Rough numbers that need no data: about where each feature lies, and about how far it spreads.
    queries: ClassVar[tuple[Query, ...]] = (Moments(features=3, centre=(60.0, 3.0, 0.5), unit=(10.0, 1.0, 0.2)),)

    def clients(self) -> tuple[str, ...]:
        found = tuple(sorted(path.stem for path in Path(self.data_dir).glob("*.csv")))
        if not found:
            raise DataError(self.data_dir, "has no files <plant>.csv: check task.data_dir.")
        return found

    def model(self) -> nn.Module:
        layers: dict[str, nn.Module] = {
            "standardise": Standardise(3),  # the query Moments fills this layer before round 1
            "hidden": nn.Linear(3, self.hidden),
            "tanh": nn.Tanh(),
            "wear": nn.Linear(self.hidden, 1),
        }
        return nn.Sequential(OrderedDict(layers))

    def data(self, client: str) -> Data:
        if client not in self.clients():
            raise UnknownClient(client, self.clients())
        table = torch.from_numpy(read_table(Path(self.data_dir) / f"{client}.csv", COLUMNS)).float()
        pumps = TensorDataset(table[:, :3], table[:, 3])
        kept = max(1, len(pumps) * 3 // 4)
        return Data(train=TensorDataset(*pumps[:kept]), test=TensorDataset(*pumps[kept:]))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs.reshape(-1), targets)
