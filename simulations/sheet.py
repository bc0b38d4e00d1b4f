"""Memory that processes share and that has no name: it is gone when the last of them is, however that ends."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from hansa.strategies.types import Array

ALIGNED = 64
"""Bytes; arrays begin at multiples of it."""


class Place(NamedTuple):
    """Where an array lies in a sheet."""

    shape: tuple[int, ...]
    dtype: str
    start: int

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape) * np.dtype(self.dtype).itemsize


Plan: TypeAlias = dict[str, Place]


def plan(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]]) -> Plan:
    """Lay out arrays of these shapes and types one after the other."""
    places, at = Plan(), 0
    for name, (shape, dtype) in arrays.items():
        places[name] = Place(shape, dtype.str, at)
        at = -(-places[name].stop // ALIGNED) * ALIGNED
    return places


@dataclass(frozen=True)
class Sheet:
    """Arrays in shared memory, zero at first. ``file`` is a descriptor for other processes; ``close`` gives it back."""

    file: int
    plan: Plan
    memory: mmap.mmap

    @classmethod
    def new(cls, places: Plan) -> Sheet:
        """Make a sheet."""
        file = os.memfd_create("hansa", os.MFD_CLOEXEC)
        os.ftruncate(file, max([1, *(place.stop for place in places.values())]))
        return cls.of(file, places)

    @classmethod
    def of(cls, file: int, places: Plan) -> Sheet:
        """Open a sheet that another process made."""
        return cls(file, places, mmap.mmap(file, 0))

    def array(self, name: str) -> Array:
        """Return an array, which is seen by all that share the sheet."""
        place = self.plan[name]
        count = math.prod(place.shape)
        return np.frombuffer(self.memory, place.dtype, count, place.start).reshape(place.shape)

    def arrays(self) -> dict[str, Array]:
        """Return all arrays, not to be written to."""
        found = {name: self.array(name) for name in self.plan}
        for array in found.values():
            array.flags.writeable = False
        return found

    def close(self) -> None:
        """Close the descriptor; the arrays stay as long as somebody holds them."""
        os.close(self.file)


def copied(arrays: Mapping[str, Array]) -> Sheet:
    """Make a sheet that holds these arrays."""
    sheet = Sheet.new(plan({name: (array.shape, array.dtype) for name, array in arrays.items()}))
    for name, array in arrays.items():
        sheet.array(name)[...] = array
    return sheet
