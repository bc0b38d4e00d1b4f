"""One request on a Ray cluster: blocks of clients go out, one partial total comes back from each worker.

The model goes once a request into Ray's store. Clients' states travel with the calls and come back with the answers, so
that any worker can serve any client, and a worker that dies takes nothing along but what it had added up: that is done
again by others, to the same bits.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from hansa.fedclient.site import Site, kept_slot
from hansa.fedclient.state import COMMITTED, STAGED, Version
from hansa.fedlink.messages import SETTLE, Calls
from hansa.fedserver.tally import Part
from hansa.fedtasks.errors import listed
from hansa.simulations.bench import Folded, parted
from hansa.simulations.errors import EngineError, WorkerDied
from hansa.simulations.ray_cluster import line
from hansa.simulations.ray_crew import Crew, Member, Ref
from hansa.simulations.ray_desk import Key, Share
from hansa.strategies import Totals
from hansa.strategies.pipeline import Names

AHEAD = 2
"""Blocks that a worker has at once, so that it need not wait for the next one."""
PARTS = 4
"""A block is this part of what would be a worker's fair share of what is left, and so blocks get smaller."""
LARGEST = 64
"""The most clients of a block."""
DEATHS = 2
"""Workers that may die over one client before the run ends."""


@dataclass
class _Share:
    """What a worker is at: its blocks in the order in which it does them, and the clients that are done."""

    member: Member
    number: int
    blocks: deque[Names] = field(default_factory=deque)
    done: list[str] = field(default_factory=list)
    ending: bool = False


class RayRequest:
    """One request on its way through the workers."""

    def __init__(self, crew: Crew, site: Site, calls: Calls, largest: int = LARGEST) -> None:
        self.crew, self.site, self.call, self.largest = crew, site, calls.call, largest
        asked, arrays = parted(calls)
        self.order = ray.put((asked, arrays))
        self.waiting, self.suspects = deque(asked.names), deque[str]()
        self.shares: dict[int, _Share] = {}
        self.refs: dict[Ref, tuple[_Share, Names]] = {}
        self.deaths, self.told = Counter[str](), set[str]()
        self.folded: list[Folded] = []
        self.end = None if self.call.endpoint == SETTLE else site.endpoints[self.call.endpoint]
        self.totals: Totals | None = None
        if self.end is not None:
            self.totals = self.end.aggregator.empty(self.end.pipeline.wire, asked.names)
        self.slots = [COMMITTED, STAGED]
        if self.end is not None and self.end.keep:
            self.slots.append(kept_slot(site.endpoints, self.call.endpoint))

    @property
    def open(self) -> bool:
        return bool(self.waiting or self.suspects or self.shares)

    def stop(self) -> None:
        """Hand out nothing more; what is out comes back."""
        self.waiting.clear()
        self.suspects.clear()

    def look(self) -> Iterator[Part]:
        """Keep the workers busy, and hear what has come."""
        self._hand_out()
        for ref in self.crew.look(self.refs):
            if ref in self.refs and (fresh := self._hear(ref)):
                yield Part(done=fresh)

    def part(self) -> Part:
        return Part(
            totals=self.totals,
            refused=[refusal for share in self.folded for refusal in share.refused],
            staged=[name for share in self.folded for name in share.staged],
            bytes_up=sum(share.bytes_up for share in self.folded),
        )

    def close(self) -> None:
        """End the workers that are still at it: the request was given up."""
        for share in self.shares.values():
            if share.member in self.crew.ready:
                self.crew.drop(share.member)

    def _hand_out(self) -> None:
        for ahead in range(AHEAD):
            for member in self.crew.ready:
                share = self.shares.get(member.number)
                if (share is None and ahead == 0) or (share and not share.ending and len(share.blocks) == ahead):
                    self._give(member, self._block(ahead))
        if not (self.waiting or self.suspects):
            for share in self.shares.values():
                if not share.blocks and not share.ending:
                    share.ending = True
                    self.refs[share.member.desk.finish.remote()] = share, ()

    def _block(self, ahead: int) -> Names:
        """Take the next clients; those over which a worker died go alone, so that a second death names its client."""
        if self.suspects:
            return (self.suspects.popleft(),) if ahead == 0 else ()
        left, workers = len(self.waiting), self.crew.size
        if ahead and left <= workers:  # the last ones are for whoever is idle first
            return ()
        size = min(self.largest, left, max(1, left // (PARTS * workers)))
        return tuple(self.waiting.popleft() for _ in range(size))

    def _give(self, member: Member, names: Names) -> None:
        if not names:
            return
        if member.number not in self.shares:
            self.shares[member.number] = _Share(member, next(self.crew.shares))
        share = self.shares[member.number]
        share.blocks.append(names)
        ref = member.desk.take.remote(share.number, self.order, names, self._versions(names))
        self.refs[ref] = share, names

    def _versions(self, names: Names) -> dict[Key, Version]:
        run, states = self.call.run, self.site.states
        keys = [(run, name, slot) for name in names for slot in self.slots]
        return {key: version for key in keys if (version := states.read(*key)) is not None}

    def _hear(self, ref: Ref) -> list[str]:
        """Take an answer in; return the clients that were not told of yet."""
        share, names = self.refs.pop(ref)
        try:
            value = ray.get(ref)
        except RayError as error:
            if isinstance(error, RayTaskError) and not isinstance(error.cause, MemoryError):
                raise EngineError(
                    f"a worker on node {share.member.node} failed outside of any client's work: {line(error.cause)}: "
                    "add --debug to see where."
                ) from error
            self._lose(share, error)
            return []
        if not names:
            del self.shares[share.member.number]
            self._add(value)
            return []
        for (run, client, slot), version in value.items():
            self.site.states.write(run, client, slot, version)
        share.blocks.remove(names)
        share.done += names
        fresh = [name for name in names if name not in self.told]
        self.told.update(fresh)
        return fresh

    def _add(self, share: Share) -> None:
        self.folded.append(share.folded)
        if self.totals is not None and share.sum_GD is not None:
            self.totals.sum_GD[np.flatnonzero(share.folded.count_G)] += share.sum_GD
            self.totals.count_G += share.folded.count_G
            self.totals.names |= share.folded.names

    def _lose(self, share: _Share, error: RayError) -> None:
        """Let others do again what a dead worker had; what it was at when it died is under suspicion."""
        del self.shares[share.member.number]
        self.refs = {ref: at for ref, at in self.refs.items() if at[0] is not share}
        self.crew.drop(share.member)
        self.crew.fill()
        suspects = list(share.blocks.popleft() if share.blocks else share.done)
        self.deaths.update(suspects)
        if worst := [name for name in suspects if self.deaths[name] >= DEATHS]:
            raise WorkerDied(
                f"{DEATHS} workers ended (the last on node {share.member.node}: {line(error)}) over client "
                f"{listed(worst)}: if memory is short, lower workers; debug=true shows what happens."
            )
        again = dict.fromkeys([*share.done, *(name for block in share.blocks for name in block)])
        self.suspects.extend(suspects)
        self.waiting.extend(name for name in again if name not in set(suspects))
