"""How a model's tensors lie in flat vectors: what is shared, what stays private, what is fitted, what is frozen."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np

from hansa.strategies.errors import LayoutError
from hansa.strategies.types import Array, Slices

Kind = Literal["shared", "private", "fitted", "frozen"]
EXACT = 2**24
"""Integers up to here survive a float32."""


class Entry(NamedTuple):
    """One tensor of the model."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    kind: Kind
    buffer: bool = False
    """Whether it moves by other ways than gradients, as BatchNorm's statistics do."""


@dataclass(frozen=True)
class Layout:
    """The model's tensors in the order of its state dict, each of one kind.

    *shared*: trained by clients, sent and aggregated; buffers such as BatchNorm's statistics too. *private*: trained
    and kept by each client. *fitted*: set once from a federated query, then sent with the shared ones. *frozen*:
    neither trained nor sent; both sides build the same. Vectors are float32; integers are rounded back.
    """

    entries: tuple[Entry, ...]

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, Array],
        *,
        private: Iterable[str] = (),
        frozen: Iterable[str] = (),
        fitted: Iterable[str] = (),
        buffers: Collection[str] = (),
    ) -> Layout:
        """Lay out tensors by patterns of their names (as in ``fnmatch``); ``buffers`` are names.

        Raises LayoutError for a pattern that matches nothing, a tensor that is asked to be two things, a model that
        shares nothing, and types that cannot be averaged.
        """
        kinds: dict[str, Kind] = {}
        asked: tuple[tuple[Kind, Iterable[str]], ...] = (("private", private), ("frozen", frozen), ("fitted", fitted))
        for kind, patterns in asked:
            for pattern in patterns:
                for name in _matches(tensors, pattern, kind):
                    if kinds.setdefault(name, kind) != kind:
                        raise LayoutError(f"tensor {name!r} is asked to be {kinds[name]} and {kind}: choose one.")
        return cls(
            tuple(
                Entry(name, tuple(tensor.shape), np.dtype(tensor.dtype), kinds.get(name, "shared"), name in buffers)
                for name, tensor in tensors.items()
            )
        )._checked()

    @property
    def buffers(self) -> Slices:
        """Return where the shared vector has buffers."""
        return tuple(where for entry, where in self._places["shared"] if entry.buffer)

    def size(self, kind: Kind) -> int:
        """Return the length of a kind's vector."""
        return self._places[kind][-1][1].stop if self._places[kind] else 0

    def pack(self, tensors: Mapping[str, Array], kind: Kind) -> Array:
        """Flatten a kind's tensors into one float32 vector; raises LayoutError for an integer that it cannot hold."""
        parts = [np.zeros(0, np.float32)]
        for entry, _ in self._places[kind]:
            tensor = np.asarray(tensors[entry.name])
            if entry.dtype.kind in "iu" and tensor.size and np.abs(tensor.astype(np.float64)).max() > EXACT:
                raise LayoutError(f"tensor {entry.name!r} holds integers above {EXACT}: make it frozen in the task.")
            parts.append(tensor.astype(np.float32, copy=False).reshape(-1))
        return np.concatenate(parts)

    def unpack(self, vector: Array, kind: Kind) -> dict[str, Array]:
        """Cut a kind's vector into tensors of the model's own shapes and types; what is float32 stays a view of it."""
        if vector.shape != (self.size(kind),):
            raise LayoutError(f"a {kind} vector of {vector.shape} for {self.size(kind)} entries: is it the same model?")
        out = {}
        for entry, where in self._places[kind]:
            part = vector[where].reshape(entry.shape)
            whole = part if entry.dtype.kind == "f" else np.asarray(np.rint(part))
            out[entry.name] = whole.astype(entry.dtype, copy=False)
        return out

    @cached_property
    def _places(self) -> Mapping[Kind, list[tuple[Entry, slice]]]:
        """Each kind's tensors, and where they lie in its vector."""
        found: dict[Kind, list[tuple[Entry, slice]]] = {kind: [] for kind in get_args(Kind)}
        for entry in self.entries:
            start = found[entry.kind][-1][1].stop if found[entry.kind] else 0
            found[entry.kind].append((entry, slice(start, start + math.prod(entry.shape))))
        return found

    def _checked(self) -> Layout:
        for entry in self.entries:
            if entry.dtype.kind not in "fiub" or (entry.dtype.kind == "b" and entry.kind == "shared"):
                raise LayoutError(
                    f"tensor {entry.name!r} is {entry.dtype}, which has no average: make it frozen in the task."
                )
        if not self.size("shared"):
            raise LayoutError("the model shares no tensor: take patterns out of the task's private and frozen.")
        return self


def _matches(tensors: Mapping[str, Array], pattern: str, kind: Kind) -> list[str]:
    found = [name for name in tensors if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        near = difflib.get_close_matches(pattern, tensors, 3, 0.0)
        raise LayoutError(f"{kind} pattern {pattern!r} matches no tensor of the model: nearest are {', '.join(near)}.")
    return found
