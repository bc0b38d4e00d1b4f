"""Heart disease in four hospitals: the small real federation that ships with Hansa.

Data: Janosi, Steinbrunn, Pfisterer, Detrano 1988, UCI Machine Learning Repository, CC BY 4.0 (see data/heart_disease).
Cleaning and encoding follow FLamby's Fed-Heart-Disease (du Terrail et al. 2022, arXiv:2210.04620): without the columns
slope, ca and thal, which most hospitals lack, and without rows that lack another value, 740 patients remain, 303, 261,
46 and 130; ``cp`` and ``restecg`` become indicators of all but their first word. A ``chol`` of 0 hides a missing value
(all Swiss rows) and is left in, as FLamby does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from hansa.fedtasks.errors import DataError, OptionError
from hansa.fedtasks.metrics import Accuracy, Auc, Metric
from hansa.fedtasks.partition import position, stratify, stream
from hansa.fedtasks.queries import Moments, Query
from hansa.fedtasks.standardise import Standardise
from hansa.fedtasks.tables import read_table
from hansa.fedtasks.task import Data, Task
from hansa.strategies.types import Array

SHIPPED = Path(__file__).parent / "data" / "heart_disease"
HOSPITALS = ("cleveland", "hungary", "switzerland", "va_long_beach")

PAIN = ("typical angina", "atypical angina", "non-anginal", "asymptomatic")
ECG = ("normal", "st-t abnormality", "lv hypertrophy")
TRUTH = {"FALSE": 0.0, "TRUE": 1.0}
COLUMNS: Mapping[str, Mapping[str, float] | None] = {
    "age": None,
    "sex": {"Female": 0.0, "Male": 1.0},
    "trestbps": None,
    "chol": None,
    "fbs": TRUTH,
    "thalch": None,
    "exang": TRUTH,
    "oldpeak": None,
    "cp": {word: float(i) for i, word in enumerate(PAIN)},
    "restecg": {word: float(i) for i, word in enumerate(ECG)},
    "num": {str(grade): float(grade > 0) for grade in range(5)},
}
"""What is read of a file, in order; ``num``, the grade of the disease, is the target where it is above 0."""

# Rough numbers that anybody could write down without the data, for the 8 columns and the 5 indicators.
CENTRE = (50.0, 0.0, 130.0, 200.0, 0.0, 140.0, 0.0, 1.0) + (0.0,) * 5
UNIT = (10.0, 1.0, 20.0, 100.0, 1.0, 25.0, 1.0, 1.0) + (1.0,) * 5
FEATURES = len(CENTRE)


@dataclass(frozen=True, kw_only=True)
class HeartDisease(Task):
    """Does a patient have heart disease? 13 features of a visit; the answer is one logit.

    ``net`` is logistic (regression) or mlp (one hidden layer of 16). The number ``split`` chooses among random splits
    of each hospital, of which the share ``test`` of each class is kept for testing. ``data_dir`` is a folder of files
    ``<hospital>.csv`` in the format of those that ship with Hansa; empty, these are used.
    """

    net: str = "logistic"
    split: int = 0
    test: float = 1 / 3
    data_dir: str | None = None

    metrics: ClassVar[tuple[Metric, ...]] = (Accuracy(), Auc())
    queries: ClassVar[tuple[Query, ...]] = (Moments(features=FEATURES, centre=CENTRE, unit=UNIT),)

    def __post_init__(self) -> None:
        if self.net not in ("logistic", "mlp"):
            raise OptionError(f"task.net={self.net!r}: for heart_disease it is logistic or mlp.")
        if not 0 <= self.test < 1:
            raise OptionError(f"task.test={self.test}: the share that is kept for testing is at least 0 and below 1.")

    def clients(self) -> tuple[str, ...]:
        if self.data_dir is None:
            return HOSPITALS
        found = tuple(sorted(path.stem for path in Path(self.data_dir).glob("*.csv")))
        if not found:
            raise DataError(self.data_dir, "has no files <hospital>.csv: check task.data_dir, or leave it empty.")
        return found

    def model(self) -> nn.Module:
        layers: dict[str, nn.Module] = {"standardise": Standardise(FEATURES)}
        if self.net == "mlp":
            layers |= {"hidden": nn.Linear(FEATURES, 16), "relu": nn.ReLU()}
        layers["logit"] = nn.Linear(16 if self.net == "mlp" else FEATURES, 1)
        return nn.Sequential(OrderedDict(layers))

    def data(self, client: str) -> Data:
        position(client, self.clients())
        x_NF, y_N = encode(read_table(self._folder / f"{client}.csv", COLUMNS, drop_missing=True))
        train, test = stratify(y_N, self.test, stream("heart_disease", self.split, client))
        return Data(_examples(x_NF, y_N, train), _examples(x_NF, y_N, test) if len(test) else None)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(outputs.reshape(-1), targets.to(outputs.dtype))

    @property
    def _folder(self) -> Path:
        return SHIPPED if self.data_dir is None else Path(self.data_dir)


def encode(table: Array) -> tuple[Array, Array]:
    """Turn a table of `COLUMNS` into features (N, 13) and targets (N,), float32."""
    plain, pain, ecg, target = np.split(table, [8, 9, 10], axis=1)
    indicators = [pain == np.arange(1, len(PAIN)), ecg == np.arange(1, len(ECG))]
    return np.hstack([plain, *indicators]).astype(np.float32), target[:, 0].astype(np.float32)


def _examples(x_NF: Array, y_N: Array, rows: Array) -> TensorDataset:
    return TensorDataset(torch.from_numpy(x_NF[rows]), torch.from_numpy(y_N[rows]))
