"""Tables of the Hugging Face hub, or of a folder that its library has saved, as arrays."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hansa.fedtasks.errors import DataError, OptionError, listed
from hansa.strategies.types import Array

SAVED = ("dataset_dict.json", "state.json")
"""A folder that ``save_to_disk`` has written has one of these."""


@dataclass(frozen=True)
class Table:
    """One split of a data set: its examples are rows, its columns have names."""

    dataset: str
    rows: Any

    def column(self, name: str) -> Array:
        """Return all values of a column, (N, ...); raises DataError."""
        self.check(name)
        return np.asarray(self.rows[name][:])

    def labels(self, name: str) -> Array:
        """Return a column of labels, (N,); raises DataError where it is one of amounts or lists."""
        label_N = self.column(name)
        if label_N.ndim != 1 or label_N.dtype.kind not in "iubU":
            raise DataError(self.dataset, f"column {name!r} is not one of labels: set task.label to one that is.")
        return label_N

    def check(self, name: str) -> None:
        """Raise DataError where there is no such column."""
        if name not in self.rows.features:
            raise DataError(self.dataset, f"has no column {name!r}: it has {listed(list(self.rows.features))}.")

    def guess(self, but: Sequence[str | None]) -> list[str]:
        """Return the column of pictures, or else all columns of numbers, but some; raises DataError."""
        features = {name: feature for name, feature in self.rows.features.items() if name not in but}
        pictures = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
        numbers = [name for name, feature in features.items() if _is_number(feature)]
        if len(pictures) > 1 or not (pictures or numbers):
            raise DataError(
                self.dataset, f"which column is the input? It has {listed(list(features))}: set task.input."
            )
        return pictures or numbers

    def inputs(self, columns: Sequence[str], places: Array) -> Array:
        """Return some rows' columns as float32: (n, K) numbers, or one picture each (n, C, H, W) in [0, 1].

        Arrays of any other shape stay as they are, behind an axis for the columns. Raises DataError.
        """
        some = self.rows.select(places)
        values = [[np.asarray(value) for value in some[name]] for name in columns]
        kinds = {value.dtype.kind for column in values for value in column}
        if len({value.shape for column in values for value in column}) > 1 or not kinds <= set("iubf"):
            raise DataError(
                self.dataset,
                f"the inputs in {listed(columns)} are not numbers, or pictures of one size: bring them to one size, "
                "or set task.input.",
            )
        return _scaled(np.stack([np.stack(column) for column in values], axis=1))


def demand_library() -> None:
    """Raise OptionError where flwr-datasets is not installed."""
    if importlib.util.find_spec("flwr_datasets") is None:
        raise OptionError("task=huggingface needs flwr-datasets: pip install 'hansa[datasets]'.")


def read_splits(dataset: str, subset: str | None, wanted: Sequence[str]) -> dict[str, Table]:
    """Read splits of a saved folder, or of a name on the hub; raises DataError."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # what a place reads is its own matter
    import datasets

    try:
        saved = any((Path(dataset) / name).is_file() for name in SAVED)
        found = _saved(dataset, wanted) if saved else _of_hub(dataset, subset, wanted)
    except (OSError, ValueError, LookupError, datasets.exceptions.DatasetsError) as error:
        text = " ".join(str(error).split()).rstrip(".")[:300]
        remedy = "check task.dataset, task.subset, task.train_split, and task.test_split, which may be null."
        raise DataError(dataset, f"cannot be read ({text}): {remedy}") from error
    for split, rows in found.items():
        if not len(rows):
            raise DataError(dataset, f"has no examples in the split {split}: choose another one.")
    return {split: Table(dataset, rows) for split, rows in found.items()}


def _saved(folder: str, wanted: Sequence[str]) -> dict[str, Any]:
    from datasets import DatasetDict, load_from_disk

    found = load_from_disk(folder)
    splits = dict(found) if isinstance(found, DatasetDict) else {"train": found}
    for split in wanted:
        if split not in splits:
            raise ValueError(f"there is no split {split!r}; there are {listed(list(splits))}")
    return {split: splits[split] for split in wanted}


def _of_hub(dataset: str, subset: str | None, wanted: Sequence[str]) -> dict[str, Any]:
    from flwr_datasets import FederatedDataset

    whole = FederatedDataset(dataset=dataset, subset=subset, partitioners={}, shuffle=False)
    return {split: whole.load_split(split) for split in wanted}


def _is_number(feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint", "float", "bool"))


def _scaled(values: Array) -> Array:
    """Put the channels of pictures (n, 1, H, W, C) first, and bring bytes (n, C, H, W) to [0, 1]."""
    if values.ndim == 5:
        values = values[:, 0].transpose(0, 3, 1, 2) if values.shape[-1] <= 4 else values[:, 0]
    scale = 255 if values.dtype == np.uint8 and values.ndim == 4 else 1
    return np.ascontiguousarray(values, np.float32) / np.float32(scale)
