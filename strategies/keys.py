"""Randomness by key: it depends on who and what for, never on order, batching or place.

Three domains keep apart who may know what. *Public* is shared by all: supports, rotations, batch order. *Coordinator*
and *client* are secrets of one party each: cohorts, groups and central noise; pads, local noise and rounding.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def derive(key: bytes, *parts: str | int) -> bytes:
    """Return 32 bytes for these parts under a key; parts of any kind and length never collide."""
    text = b"".join(len(raw).to_bytes(8, "little") + raw for raw in map(_raw, parts))
    return hashlib.blake2b(text, key=key, digest_size=32).digest()


def _raw(part: str | int) -> bytes:
    """The same bytes in every version of Python and numpy, which repr does not promise."""
    return (f"s{part}" if isinstance(part, str) else f"i{operator.index(part)}").encode()


def from_seed(seed: int, domain: str) -> bytes:
    """Return the key of a domain in a simulation, where every domain derives from the seed.

    >>> from_seed(1, "public") == from_seed(1, "coordinator")
    False
    """
    return derive(b"hansa", domain, seed)


def stream(key: bytes, *parts: str | int) -> np.random.Generator:
    """Return the random numbers that belong to these parts under a key."""
    return np.random.Generator(np.random.Philox(key=np.frombuffer(derive(key, *parts)[:16], "<u8")))


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where in a run a computation stands, and the keys of the party that computes.

    ``public`` is the key that all share, ``own`` the secret one of this party (coordinator or client).
    """

    round: int
    request: int = 0
    public: bytes
    own: bytes

    def learning(self, client: str, purpose: str) -> np.random.Generator:
        """Randomness of one client's learning: the same in every request of a round."""
        return stream(self.public, "learning", self.round, client, purpose)

    def seed(self, client: str, purpose: str) -> int:
        """A number of 63 bits for a source of randomness of one client's learning: the same in every request."""
        return int.from_bytes(derive(self.public, "seed", self.round, client, purpose)[:8], "little") >> 1

    def secret(self, client: str, purpose: str) -> np.random.Generator:
        """Randomness that only this party knows, fresh in every request."""
        return stream(self.own, "secret", self.round, self.request, client, purpose)

    def group(self, client: str, groups: int) -> int:
        """A client's group in this round: independent of all other clients, so that removing one moves nobody."""
        return int.from_bytes(derive(self.own, "group", self.round, client), "little") % groups

    def sample(self, names: Sequence[str], size: int) -> tuple[str, ...]:
        """Draw a cohort of the round, uniformly without replacement, from sorted names; the result is sorted."""
        drawn = stream(self.own, "cohort", self.round).choice(len(names), size, replace=False)
        return tuple(names[i] for i in sorted(drawn.tolist()))
