"""A task of one's own on pictures: a CNN with BatchNorm, trained by one's own loop with Adam and a DataLoader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hansa.fedtasks import Data, DataError, Task, UnknownClient

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures (3, size, size) in [0, 1] and their classes, each read from its file when it is asked for."""

    files: tuple[tuple[Path, int], ...]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        return read_picture(path, self.size), label


@dataclass(frozen=True, kw_only=True)
class Parts(Task):
    """Pictures lie in ``data_dir/<client>/<class>/``; ``classes`` names the classes, separated by ``/``."""

    data_dir: str = "data"
    classes: str = "scratched/whole"
    size: int = 32

    # Each client keeps the statistics of its own camera: they are trained but never sent.
    private = ("*running_*", "*num_batches_tracked")

    def clients(self) -> tuple[str, ...]:
        found = tuple(sorted(path.name for path in Path(self.data_dir).glob("*") if path.is_dir()))
        if not found:
            raise DataError(self.data_dir, "has no folders <client>/<class>: check task.data_dir.")
        return found

    def model(self) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(2)),
            *(nn.Flatten(), nn.Linear(64, len(self._classes))),
        )

    def data(self, client: str) -> Data:
        if client not in self.clients():
            raise UnknownClient(client, self.clients())
        files = find_pictures(Path(self.data_dir) / client, self._classes)
        train = tuple(file for i, file in enumerate(files) if i % 4 != 3)
        return Data(train=Pictures(train, self.size), test=Pictures(files[3::4], self.size))

    def train(self, model: nn.Module, data: Pictures, settings: Any, rng: np.random.Generator) -> float:
        # The order comes from rng, and no workers: the same seed gives the same model.
        order = torch.Generator().manual_seed(int(rng.integers(2**63)))
        batches = DataLoader(data, settings.batch_size or len(data), shuffle=True, generator=order, num_workers=0)
        optimiser = torch.optim.Adam(model.parameters(), lr=settings.lr)
        model.train()
        losses = []
        for _ in range(settings.epochs):
            for images, labels in batches:
                optimiser.zero_grad()
                loss = self.loss(model(images.to(settings.device)), labels.to(settings.device))
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
        return float(np.mean(losses))

    @property
    def _classes(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.classes.split("/"))


def find_pictures(folder: Path, classes: tuple[str, ...]) -> tuple[tuple[Path, int], ...]:
    """List a client's pictures with their classes; a client may lack a class, but have none that is unknown."""
    unknown = sorted(path.name for path in folder.glob("*/") if path.is_dir() and path.name not in classes)
    if unknown:
        raise DataError(folder, f"{unknown[0]!r} is none of the classes {', '.join(classes)}: set task.classes.")
    files = [(path, i) for i, name in enumerate(classes) for path in sorted((folder / name).glob("*"))]
    pictures = tuple((path, i) for path, i in files if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise DataError(folder, f"has no pictures ({', '.join(SUFFIXES)}) in its class folders: put some there.")
    return pictures


def read_picture(path: Path, size: int) -> Tensor:
    """Read a picture as (3, size, size) in [0, 1]."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(path, "needs pillow to be read: pip install 'hansa[images]'.") from error
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB").resize((size, size)), np.float32)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(path, "is no readable picture: remove it or save it again.") from error
    return torch.from_numpy(pixels / 255).permute(2, 0, 1)
