"""MNIST with the models of McMahan et al. 2017 (arXiv:1602.05629), from the four IDX files in a folder of yours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import TensorDataset

from hansa.fedtasks.errors import DataError, OptionError
from hansa.fedtasks.folder import data_folder
from hansa.fedtasks.idx import read_idx
from hansa.fedtasks.names import Numbered, names
from hansa.fedtasks.partition import check_parts
from hansa.fedtasks.partitions import Iid, Partition, Shares, share_out
from hansa.fedtasks.task import Data, Task
from hansa.strategies.types import Array

REMEDY = (
    "put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte there, "
    "plain or .gz, and name the folder by task.data_dir, or the one above it by HANSA_DATA."
)
SIDE, CLASSES = 28, 10


@dataclass(frozen=True, kw_only=True)
class Mnist(Task):
    """Which digit is it? Images (1, 28, 28) in [0, 1], 60,000 for the clients and 10,000 for the coordinator.

    ``net`` is lr (7,850 parameters), 2nn (199,210) or cnn (1,663,370). The training images are dealt out to
    ``parts`` clients by the ``partition``, at random by the number ``split``. ``data_dir`` holds the four IDX files,
    plain or .gz; empty, they are looked for in the folder mnist of the folder that the environment variable HANSA_DATA
    names.
    """

    net: str = "2nn"
    parts: int = 10
    split: int = 0
    data_dir: str | None = None
    partition: Partition = Iid()

    def __post_init__(self) -> None:
        if self.net not in ("lr", "2nn", "cnn"):
            raise OptionError(f"task.net={self.net!r}: for mnist it is lr, 2nn or cnn.")
        check_parts(self.parts, 60_000)

    def clients(self) -> Numbered:
        return names(self.parts)

    def model(self) -> nn.Module:
        return {"lr": _lr, "2nn": _2nn, "cnn": _cnn}[self.net]()

    def data(self, client: str) -> Data:
        rows = self._shares.rows(client)
        images, digits = self._train
        return Data(_examples(self._shares.inputs(client, _pixels(images[rows])), digits[rows]))

    def server_data(self) -> TensorDataset:
        images, digits = read_pair(self.folder(), "t10k")
        return _examples(_pixels(images), digits)

    def folder(self) -> Path:
        """Return the folder of the four files; raises DataError where there is none."""
        return data_folder(self.data_dir, "mnist", REMEDY)

    @cached_property
    def _train(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images, digits = read_pair(self.folder(), "train")
        check_parts(self.parts, len(images))
        return images, digits

    @cached_property
    def _shares(self) -> Shares:
        return share_out(self.partition, self._train[1], self.clients(), "mnist", "clients", self.split)


def read_pair(folder: Path, which: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read images (N, 28, 28) and digits (N,) of ``train`` or ``t10k``; raises DataError."""
    images_path, digits_path = _find(folder, f"{which}-images-idx3-ubyte"), _find(folder, f"{which}-labels-idx1-ubyte")
    images, digits = read_idx(images_path, 3), read_idx(digits_path, 1)
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise DataError(images_path, f"has {len(images)} images of {images.shape[1:]}, not of (28, 28): {REMEDY}")
    if len(images) != len(digits):
        raise DataError(digits_path, f"has {len(digits)} digits for {len(images)} images: {REMEDY}")
    if digits.max() >= CLASSES:
        raise DataError(digits_path, f"has the digit {digits.max()}, at place {digits.argmax()}: {REMEDY}")
    return images, digits


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise DataError(folder, f"has no {name}: {REMEDY}")


def _pixels(images: NDArray[np.uint8]) -> Array:
    return images[:, None].astype(np.float32) / 255


def _examples(pixels: Array, digits: NDArray[np.uint8]) -> TensorDataset:
    return TensorDataset(torch.from_numpy(pixels), torch.from_numpy(digits.astype(np.int64)))


def _lr() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, CLASSES))


def _2nn() -> nn.Module:
    hidden = (nn.Linear(SIDE**2, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU())
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(200, CLASSES))


def _cnn() -> nn.Module:
    first = (nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(7 * 7 * 64, 512), nn.ReLU(), nn.Linear(512, CLASSES))
