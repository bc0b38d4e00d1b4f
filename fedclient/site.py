"""A place where clients live: it answers calls with their data, and keeps their states."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from hansa.fedclient.errors import NoExamples, StageFailed, stage
from hansa.fedclient.greeting import failure_of, greeting
from hansa.fedclient.state import KEPT, STAGED, States, Version, settle
from hansa.fedclient.torch_work import TorchWork
from hansa.fedlink.messages import SETTLE, Call, Reply, Settings
from hansa.strategies import WEIGHT, Context, Endpoint
from hansa.strategies.pipeline import Names
from hansa.strategies.strategy import keeper, trains
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What one client would answer to a call: its row (1, D) before any transform, and its states before and after."""

    call: Call
    client: str
    ctx: Context
    committed: Mapping[str, Array]
    before: Mapping[str, Array]
    rows_BD: Array
    after: Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Site:
    """Answers calls to clients. Whatever goes wrong in a client's work becomes a reply that says so.

    ``public`` is the key of the randomness that all share, ``own`` the secret one of this place.
    """

    endpoints: Mapping[str, Endpoint]
    work: TorchWork
    states: States
    settings: Settings
    digest: str
    public: bytes
    own: bytes

    def answer(self, call: Call, client: str) -> Reply:
        """Answer one call to one simulated client: its errors are told as they are."""
        try:
            return self.work_on(call, client)
        except StageFailed as error:
            return Reply.to(call, client, self.digest, failure=failure_of(error, share=True))

    def work_on(self, call: Call, client: str) -> Reply:
        """Answer one call to one client; raises StageFailed."""
        if (greeted := greeting(call, client, self.settings, self.digest)) is not None:
            return greeted
        if call.endpoint == SETTLE:
            self._committed(call, client)
            return Reply.to(call, client, self.digest)
        return self.send(self.draft(call, client))

    def draft(self, call: Call, client: str) -> Draft:
        """Do a call's work for one client; nothing is sent or staged yet. Raises StageFailed."""
        committed = self._committed(call, client)
        ctx = Context(round=call.round, request=call.request, public=self.public, own=self.own)
        with stage(call.endpoint):
            end = self.endpoints[call.endpoint]
            if call.fitted is not None:
                self.work.fit(call.fitted)
            start = end.work.start(self.work, self.work.layout.size("shared"), (client,))
            before = {name: committed[name][None] if name in committed else value for name, value in start.items()}
            rows_BD, after = self._run(end, call, client, before, ctx)
        return Draft(
            call=call, client=client, ctx=ctx, committed=committed, before=before, rows_BD=rows_BD, after=after
        )

    def send(self, draft: Draft) -> Reply:
        """Answer with a draft's row, and stage the state that follows from it. Raises StageFailed."""
        call, client, before = draft.call, draft.client, draft.before
        with stage(call.endpoint):
            wire_BD, after = self.endpoints[call.endpoint].encode(draft.rows_BD, draft.after, (client,), draft.ctx)
            moved = {name: value[0] for name, value in after.items() if not np.array_equal(value, before[name])}
            if moved:
                self.states.write(call.run, client, STAGED, Version(call.tag, {**draft.committed, **moved}))
        return Reply.to(call, client, self.digest, row=wire_BD[0], staged=bool(moved))

    def answer_block(self, calls: Mapping[str, Call], names: Names) -> list[Reply]:
        """Answer one request to several clients side by side; one after the other where that fails, or cannot be."""
        call = calls[names[0]]
        end = self.endpoints.get(call.endpoint)
        if end is not None and not end.keep and len(names) > 1 and call.digest == self.digest:
            with contextlib.suppress(StageFailed):
                return self.block(calls, names)
        return [self.answer(calls[name], name) for name in names]

    def block(self, calls: Mapping[str, Call], names: Names) -> list[Reply]:
        """Answer one request to several clients side by side; raises StageFailed, of nobody in particular."""
        call = calls[names[0]]
        end = self.endpoints[call.endpoint]
        ctx = Context(round=call.round, request=call.request, public=self.public, own=self.own)
        with stage("client state"):
            committed = [settle(self.states, call.run, name, calls[name].counted) for name in names]
        with stage(call.endpoint):
            if call.fitted is not None:
                self.work.fit(call.fitted)
            start = end.work.start(self.work, self.work.layout.size("shared"), names)
            before = {
                state: np.stack([mine.get(state, value_B[i]) for i, mine in enumerate(committed)])
                for state, value_B in start.items()
            }
            rows_BD, after = self._work(end, call, names, before, ctx)
            wire_BD, after = end.encode(rows_BD, after, names, ctx)
        replies = []
        for i, name in enumerate(names):
            moved = any(not np.array_equal(value_B[i], before[state][i]) for state, value_B in after.items())
            if moved:
                states = committed[i] | {state: value_B[i] for state, value_B in after.items()}
                self.states.write(call.run, name, STAGED, Version(call.tag, states))
            replies.append(Reply.to(call, name, self.digest, row=wire_BD[i], staged=moved))
        return replies

    def _committed(self, call: Call, client: str) -> dict[str, Array]:
        with stage("client state"):
            return settle(self.states, call.run, client, call.counted)

    def _run(
        self, end: Endpoint, call: Call, client: str, before: dict[str, Array], ctx: Context
    ) -> tuple[Array, dict[str, Array]]:
        """Do the work, or reuse what this round's earlier request kept of it."""
        if not end.keep:
            return self._work(end, call, (client,), before, ctx)
        slot = kept_slot(self.endpoints, call.endpoint)
        kept = self.states.read(call.run, client, slot)
        if kept is None or kept.tag[0] != call.round:
            rows_BD, after = self._work(end, call, (client,), before, ctx)
            kept = Version(call.tag, {"row": rows_BD, **after})
            self.states.write(call.run, client, slot, kept)
        return kept.states["row"], {name: value for name, value in kept.states.items() if name != "row"}

    def _work(
        self, end: Endpoint, call: Call, names: Names, before: Mapping[str, Array], ctx: Context
    ) -> tuple[Array, dict[str, Array]]:
        """Do the work; training on nothing is refused where clients weigh the same, for 0 would count as an answer."""
        if trains(call.endpoint) and WEIGHT.name not in end.pipeline.row.slices:
            with stage("training"):
                if not all(len(self.work.data(name).train) for name in names):
                    raise NoExamples
        return end.run(self.work, call.payload, before, names, ctx)


def kept_slot(endpoints: Mapping[str, Endpoint], name: str) -> str:
    """Return where a client keeps its row of an endpoint's work for a round."""
    return f"{KEPT}.{quote(keeper(endpoints, name), safe='')}"
