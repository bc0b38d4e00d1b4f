"""What a run leaves behind: its configuration, a line of metrics a round, the model, a summary and a picture."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from hansa.fedserver.errors import RecordError
from hansa.fedserver.picture import curves, over_time
from hansa.fedserver.records import RoundRecord, written
from hansa.fedserver.timeline import timeline
from hansa.strategies.types import Array


@dataclass
class RunDirectory:
    """Writes ``config.yaml``, ``metrics.jsonl``, ``model.safetensors``, ``summary.json`` and ``curves.svg``.

    With virtual time it also has ``virtual.svg`` and ``timeline.svg``.

    Each file but the lines is replaced as a whole, so that a full disk leaves the last good one. The model is written,
    and waited for until it is on the disk and not only in the system's memory, in rounds at least ``patience`` seconds
    apart and at the end: either takes longer than a round of a small simulation. Raises RecordError.
    """

    path: Path
    patience: float = 0.0
    clock: Callable[[], float] = time.monotonic
    records: list[RoundRecord] = field(default_factory=list)
    _kept: int | None = None
    """The round whose model is on the disk."""
    _waited: float = -math.inf
    _timed: RoundRecord | None = None
    """The last round that took virtual time."""

    def __post_init__(self) -> None:
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            raise RecordError(f"run directory {self.path} exists already: choose another run_dir.") from None
        except OSError as error:
            raise self._failed(self.path, error) from None

    def config(self, yaml: str) -> None:
        """Write the resolved configuration."""
        self._replace("config.yaml", yaml.encode())

    def round(self, record: RoundRecord, tensors: Callable[[], Mapping[str, Array]]) -> bool:
        """Add a round's line, and replace the model where it is time to; say whether it was."""
        self.records.append(record)
        self._keep_timeline(record)
        line = json.dumps(written(record)) + "\n"
        self._append(self.path / "metrics.jsonl", line)
        if due := self.clock() - self._waited >= self.patience:
            self.model(tensors())
        return due

    def model(self, tensors: Mapping[str, Array]) -> None:
        """Replace the model by that of the last round."""
        self._replace("model.safetensors", save({name: np.ascontiguousarray(t) for name, t in tensors.items()}))
        self._waited = self.clock()
        self._kept = self.records[-1].round if self.records else None

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary and the pictures."""
        self._replace("summary.json", (json.dumps(summary, indent=2) + "\n").encode())
        self._replace("curves.svg", curves(self.records, self.path.name).encode())
        if self._timed is not None:
            self._replace("virtual.svg", over_time(self.records, self.path.name).encode())
            self._replace("timeline.svg", timeline(self._timed, self.path.name).encode())

    def _keep_timeline(self, record: RoundRecord) -> None:
        """Keep the last timeline only, once it is written: of all rounds they would fill the memory."""
        if record.virtual is not None:
            if self._timed is not None and self._timed.virtual is not None:
                self._timed.virtual.timeline.clear()
            self._timed = record

    def _append(self, path: Path, line: str) -> None:
        before = path.stat().st_size if path.exists() else 0
        try:
            with path.open("a", encoding="utf-8") as lines:
                lines.write(line)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(path, before)  # no half line stays
            raise self._failed(path, error) from None

    def _replace(self, name: str, content: bytes) -> None:
        path, fresh = self.path / name, self.path / f".{name}.new"
        try:
            with fresh.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            raise self._failed(path, error) from None
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)

    def _failed(self, path: Path, error: OSError) -> RecordError:
        kept = "" if self._kept is None else f"; the model of round {self._kept} is kept"
        return RecordError(f"cannot write {path}: {error.strerror}{kept}: free some space or choose another run_dir.")
