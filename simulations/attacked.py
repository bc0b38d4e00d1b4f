"""A federation some of whose clients attack: the engine answers for the honest, and attackers collude here.

In a request to train, the attackers that are asked first do the work that honest clients would, on data that the attack
may have poisoned. All their updates, the channel ``delta`` of their rows, then go to the attack, which says what each
sends in place of its own. Other channels stay honest, and so do evaluation and queries, which the engine answers.

An attacker keeps the state that follows from its honest row: it lies to the coordinator, and not to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hansa.fedclient.errors import StageFailed, stage
from hansa.fedclient.site import Draft, Site
from hansa.fedlink.messages import Call, Calls, Failure, Reply
from hansa.fedserver.federation import Federation
from hansa.fedserver.policy import Wait
from hansa.fedserver.tally import Part, Tally
from hansa.simulations.attacks import Attack, Forging, Moment
from hansa.simulations.errors import AttackError
from hansa.simulations.inline import in_full
from hansa.simulations.refusals import DELTA, unattacked
from hansa.strategies import Context, Endpoint, Totals
from hansa.strategies.pipeline import Names
from hansa.strategies.strategy import trains
from hansa.strategies.types import Array


def attackers(share: float, names: Names, public: bytes) -> frozenset[str]:
    """Choose who attacks, by the public key: fewer than half. Raises AttackError where a share is nobody."""
    count = min(round(share * len(names)), (len(names) - 1) // 2)
    if share > 0 and not count:
        raise AttackError(
            f"attack.share={share}: of {len(names)} clients that is nobody: raise it, or let there be more clients."
        )
    rng = Context(round=0, public=public, own=b"").learning("", "attackers")
    return frozenset(names[i] for i in rng.choice(len(names), count, replace=False).tolist())


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """A ``Federation``; ``site`` is where ``attackers`` train, and ``own`` the coordinator's key.

    With ``debug`` an attacker's error ends the run and says all. Raises AttackError for endpoints that cannot be
    attacked so.
    """

    inner: Federation
    site: Site
    attack: Attack
    attackers: frozenset[str]
    own: bytes
    debug: bool = False

    def __post_init__(self) -> None:
        for name, end in self.site.endpoints.items():
            if why := unattacked(name, end, isinstance(self.attack, Forging)):
                raise AttackError(why)

    def population(self) -> Names:
        return self.inner.population()

    def ask(self, calls: Calls, wait: Wait) -> Iterator[Reply | Part]:
        bad = tuple(name for name in calls.names if name in self.attackers) if self.attackers else ()
        if bad and trains(calls.call.endpoint):
            return self._train(calls, bad, wait)
        return self.inner.ask(calls, wait)

    def _train(self, calls: Calls, bad: Names, wait: Wait) -> Iterator[Part]:
        """Let the engine and the attackers answer, and yield one total of them all."""
        call, end = calls.call, self.site.endpoints[calls.call.endpoint]
        ctx = Context(round=call.round, request=call.request, public=self.site.public, own=self.own)
        tally = Tally.of(end, ctx, calls, calls.names, self.site.settings)
        for came in self._honest(calls, wait):
            if isinstance(came, Part):
                tally.merge(replace(came, totals=self._placed(came.totals, end, calls)))
                yield Part(done=came.done)
            else:
                yield _taken(tally, came)
        for reply in self._answers(end, calls, bad):
            yield _taken(tally, reply)
        yield tally.part()

    def _honest(self, calls: Calls, wait: Wait) -> Iterator[Reply | Part]:
        names = tuple(name for name in calls.names if name not in self.attackers)
        if names:
            yield from self.inner.ask(calls.to(names), wait)

    def _placed(self, totals: Totals | None, end: Endpoint, calls: Calls) -> Totals | None:
        """Give rows of the honest their places among those of all who were asked; sums need none."""
        if totals is None or end.aggregator.groups != 0:
            return totals
        places = [i for i, name in enumerate(calls.names) if name not in self.attackers]
        whole = end.aggregator.empty(totals.spec, calls.names)
        whole.sum_GD[places], whole.count_G[places], whole.names = totals.sum_GD, totals.count_G, totals.names
        return whole

    def _answers(self, end: Endpoint, calls: Calls, bad: Names) -> Iterator[Reply]:
        """Yield the attackers' replies; one whose honest work fails says so, and takes no part."""
        drafts: dict[str, Draft] = {}
        for name in bad:
            try:
                drafts[name] = self.site.draft(calls[name], name)
            except StageFailed as failed:
                yield self._failed(calls[name], name, failed)
        rows_AD = self._forged(end, drafts, len(calls)) if drafts else {}
        for name, draft in drafts.items():
            try:
                yield self._sent(end, draft, rows_AD[name])
            except StageFailed as failed:
                yield self._failed(draft.call, name, failed)

    def _failed(self, call: Call, name: str, failed: StageFailed) -> Reply:
        if self.debug:
            raise in_full(self.site, call, name, failed) from failed.__cause__
        failure = Failure(stage=failed.stage, kind=failed.kind, text=str(failed))
        return Reply.to(call, name, self.site.digest, failure=failure)

    def _forged(self, end: Endpoint, drafts: dict[str, Draft], clients: int) -> dict[str, Array]:
        """Return each attacker's row (1, D), with what the attack puts in place of its update."""
        names = tuple(drafts)
        rows = {name: draft.rows_BD for name, draft in drafts.items()}
        if not isinstance(self.attack, Forging):
            return rows
        where = end.pipeline.row.slices[DELTA]
        honest_AP = np.concatenate([rows[name][:, where] for name in names]).astype(np.float64)
        moment = Moment(ctx=drafts[names[0]].ctx, names=names, clients=clients)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite gets its row refused
            for name, sent_P in zip(names, self.attack.forge(honest_AP, moment), strict=True):
                rows[name] = rows[name].copy()
                rows[name][:, where] = sent_P
        return rows

    def _sent(self, end: Endpoint, draft: Draft, row_BD: Array) -> Reply:
        """Answer with a row; the state that is staged is that of the honest one."""
        reply = self.site.send(draft)
        with stage(draft.call.endpoint):
            wire_BD, _ = end.encode(row_BD, draft.after, (draft.client,), draft.ctx)
        return replace(reply, row=wire_BD[0])


def _taken(tally: Tally, reply: Reply) -> Part:
    """Add a reply; a refusal is told with the total."""
    return Part() if tally.take(reply) else Part(done=[reply.client])
