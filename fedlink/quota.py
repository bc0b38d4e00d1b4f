"""How many lines of a log one peer may cause: some at once, then one now and again; those left out are counted."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST = 10_000
"""Peers that are remembered; the one that wrote longest ago is forgotten first, and begins anew."""


@dataclass(kw_only=True)
class Account:
    """What a peer may still write: ``lines`` at ``at``, and how many were left out since its last one."""

    lines: float
    at: float
    left_out: int = 0


@dataclass(kw_only=True)
class Quota:
    """Lets each peer write ``at_once`` lines, and one more every ``seconds``; time is passed in, in seconds."""

    at_once: int = 10
    seconds: float = 10.0
    _accounts: dict[str, Account] = field(default_factory=dict)

    def line(self, peer: str, text: str, now: float) -> str | None:
        """Return the line to write, or None where the peer has written too many.

        >>> quota = Quota(at_once=1)
        >>> [quota.line("riga", "is gone", now) for now in (0, 1, 2, 10)]
        ['is gone', None, None, 'is gone (2 more lines of it were left out)']
        """
        account = self._accounts.pop(peer, None) or Account(lines=self.at_once, at=now)
        self._accounts[peer] = account
        if len(self._accounts) > MOST:
            del self._accounts[next(iter(self._accounts))]
        account.lines = min(self.at_once, account.lines + (now - account.at) / self.seconds)
        account.at = now
        if account.lines < 1:
            account.left_out += 1
            return None
        account.lines -= 1
        left_out, account.left_out = account.left_out, 0
        return f"{text} ({left_out} more lines of it were left out)" if left_out else text
