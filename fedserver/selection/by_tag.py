"""By tag: so many clients of each kind, drawn uniformly without replacement within it.

A tag is a word for what a client is, such as its kind of device or its country; a client has one. Which one stands in
the settings or in a file. Clients of a tag without a quota, and clients without a tag, are never drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.check import demand_size
from hansa.fedserver.selection.selection import Draw, DrawFlow, Memory, at_once
from hansa.fedserver.selection.table import demand_known, read
from hansa.fedtasks.errors import listed


@dataclass(frozen=True, kw_only=True)
class ByTag:
    """Draw ``quotas`` of clients by tag, such as ``{phone: 8, tablet: 2}``; together they are ``cohort.size``.

    ``tags`` are the clients' tags by name; ``table`` is a CSV file of more of them, with the header ``client,tag``.
    """

    learns: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    quotas: Mapping[str, int] | None = None
    tags: Mapping[str, str] | None = None
    table: str | None = None

    def check(self, cohort: CohortPolicy) -> None:
        demand_size("by_tag", cohort, over=False)
        for tag, quota in self._quotas.items():
            if type(quota) is not int or quota < 1:
                raise SelectionError(f"selection.quotas: {tag}: {quota}: it is a number of clients, from 1 on.")
        if (total := sum(self._quotas.values())) != cohort.size:
            raise SelectionError(
                f"selection.quotas are {total} clients and cohort.size={cohort.size}: make them agree, as in "
                "selection.quotas={phone: 8, tablet: 2} cohort.size=10."
            )

    def start(self, names: Sequence[str] | None) -> Memory:
        """Return the clients' tags by name."""
        tags = {str(name): str(tag) for name, tag in (self.tags or {}).items()}
        for name in tags:
            demand_known(name, names, "selection.tags")
        if self.table is not None:
            tags |= {name: tag for name, (_, tag) in read(Path(self.table), "tag", names).items()}
        many = Counter(tags.values())
        for tag, quota in self._quotas.items():
            if quota > many[tag]:
                raise SelectionError(
                    f"selection.quotas: {tag}: {quota}: {many[tag]} clients have this tag, of the tags "
                    f"{listed(sorted(many))}: lower the quota, or give it to more clients."
                )
        return tags

    def draw(self, memory: Memory, draw: Draw) -> DrawFlow:
        here: dict[str, list[str]] = {tag: [] for tag in self._quotas}
        for name in sorted(memory):
            if memory[name] in here and draw.there.here(name):
                here[memory[name]].append(name)
        drawn = (name for tag, those in here.items() for name in self._of(tag, those, draw))
        return at_once(tuple(sorted(drawn)), memory)

    def sampling(self, draw: Draw) -> None:
        """Nothing: a client's chance is that of its tag, which may follow from its data."""

    @property
    def _quotas(self) -> Mapping[str, int]:
        return {str(tag): quota for tag, quota in (self.quotas or {}).items()}

    def _of(self, tag: str, those: Sequence[str], draw: Draw) -> list[str]:
        """Draw a tag's quota by its own key, so that other tags move nobody; all where they are fewer."""
        quota = min(self._quotas[tag], len(those))
        places = draw.ctx.secret(tag, "cohort of a tag").choice(len(those), quota, replace=False)
        return [those[place] for place in places.tolist()]
