"""A keyed permutation of any number of places, of which each is found at once and none is kept.

A Feistel network (Luby and Rackoff 1988) permutes the numbers of ``2 * half`` bits. With L the left and R the right
half, each round is

    L, R = R, L ^ hash(key, round, R)

A number that is no place is permuted again until it is one (cycle walking; Black and Rogaway 2002), which takes fewer
than 4 turns in the mean; for few places it takes more, up to 2^BITS, because a small network permutes badly.
"""

from __future__ import annotations

from dataclasses import dataclass

from hansa.strategies.keys import derive

BITS, ROUNDS = 8, 6
"""The least width of the network, and its rounds."""


@dataclass(frozen=True)
class Shuffle:
    """The places 0 to ``count`` - 1 in an order that a key fixes."""

    key: bytes
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        """Return which place comes at an index.

        >>> sorted(Shuffle(b"key", 10)[i] for i in range(10))
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        """
        if not 0 <= index < self.count:
            raise IndexError(f"place {index} of {self.count}")
        place = self._permuted(index)
        while place >= self.count:
            place = self._permuted(place)
        return place

    def _permuted(self, number: int) -> int:
        half = (max(BITS, (self.count - 1).bit_length()) + 1) // 2
        mask = (1 << half) - 1
        left, right = number >> half, number & mask
        for round in range(ROUNDS):
            mixed = int.from_bytes(derive(self.key, round, right)[:8], "little") & mask
            left, right = right, left ^ mixed
        return left << half | right
