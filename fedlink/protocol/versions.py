"""Which versions of the protocol are spoken: the present one and the one before it."""

from __future__ import annotations

from collections.abc import Collection

VERSIONS = frozenset({1})


def common(ours: Collection[int], theirs: Collection[int]) -> int | None:
    """Return the highest version that both speak, or None.

    >>> common({1, 2}, {2, 3}), common({1}, {2})
    (2, None)
    """
    return max(set(ours) & set(theirs), default=None)


def no_common(ours: Collection[int], theirs: Collection[int]) -> str:
    """Say what the coordinator speaks and what the client speaks, and who must be renewed.

    >>> no_common({1, 2}, {3})
    'the coordinator speaks link version 1, 2 and the client 3: install a newer hansa on the coordinator.'
    """
    older = "client" if max(theirs, default=0) < max(ours) else "coordinator"
    spoken = f"the coordinator speaks link version {_listed(ours)} and the client {_listed(theirs)}"
    return f"{spoken}: install a newer hansa on the {older}."


def _listed(versions: Collection[int]) -> str:
    return ", ".join(map(str, sorted(set(versions)))) or "none"
