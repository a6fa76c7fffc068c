"""`PrefixMisses`: what was lost of the provider's prompt cache, by reason and call site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select

from llmthrift_core.display import PrintedRows, html_table, percent, plain_table
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.money import to_usd
from llmthrift_core.prompt_caching.misses import REMEDIES
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import calls

NEVER_READ: Final = "written, never read"
_HEADER: Final = ("reason", "call site", "requests", "lost", "share")
_WHAT_TO_DO: Final[Mapping[str, str]] = {
    **dict[str, str](REMEDIES.items()),
    NEVER_READ: "mark less, or take the shorter life: the plan does as it learns",
}


@dataclass(frozen=True, repr=False)
class PrefixMisses(PrintedRows):
    """What was lost, most first. A request that could have been read from the cache, and was not, has one reason.

    Each row has: reason (of `explain_miss`, or "written, never read" for writes that expired first), call_site (None: not given), requests,
    lost_usd (of those with a price), share (of all that was lost) and what_to_do. "never seen" and "too short" lose nothing: there was
    nothing to read.

    Attributes:
        rows: the rows, as mappings.
        lost_usd: of all rows.
        notes: what a reader should know about the numbers.
    """

    rows: tuple[Mapping[str, Any], ...]
    lost_usd: Decimal
    notes: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The rows as a table."""
        if not self.rows:
            return "\n".join(["No misses of a provider's prompt cache are recorded in this period.", *self.notes])
        return "\n".join([plain_table(_HEADER, self._cells()), *self._remedies(), *self.notes])

    def _repr_html_(self) -> str:
        return html_table(_HEADER, self._cells()) + "".join(f"<p>{escape(note)}</p>" for note in (*self._remedies(), *self.notes))

    def _cells(self) -> list[list[Any]]:
        return [[row["reason"], row["call_site"] or "", row["requests"], row["lost_usd"], percent(row["share"])] for row in self.rows]

    def _remedies(self) -> list[str]:
        return list(dict.fromkeys(f"{row['reason']}: {row['what_to_do']}" for row in self.rows if row["lost_usd"]))


def prefix_misses(database: Database, *, since: Moment | None, until: Moment | None) -> PrefixMisses:
    """The losses of [since, until).

    Raises:
        ConfigurationError: a time that is none.
        StorageError: the database cannot be read.
    """
    within: list[ColumnElement[bool]] = []
    if since is not None:
        within.append(calls.c.at_us >= to_us(since))
    if until is not None:
        within.append(calls.c.at_us < to_us(until))
    pruned_us = pruned_until_us(database)
    notes = () if pruned_us is None or (since is not None and to_us(since) >= pruned_us) else ("Calls that were pruned are missing here.",)
    found: list[tuple[str, str | None, int, int]] = []
    with database.read() as connection:
        for reason, lost in ((calls.c.prefix_miss, calls.c.prefix_lost_nano_usd), (None, calls.c.prefix_unread_nano_usd)):
            has = lost.is_not(None) if reason is None else reason.is_not(None)
            groups = [calls.c.call_site] if reason is None else [calls.c.call_site, reason]
            query = select(calls.c.call_site, func.count(), func.coalesce(func.sum(lost), 0), *groups[1:]).where(has, *within)
            for site, requests, amount, *why in connection.execute(query.group_by(*groups)):
                found.append((str(why[0]) if why else NEVER_READ, site, int(requests), int(amount)))
    whole = sum(amount for _, _, _, amount in found)
    found.sort(key=lambda each: (-each[3], -each[2], each[0], each[1] or ""))
    rows = tuple(
        {
            "reason": reason,
            "call_site": site,
            "requests": requests,
            "lost_usd": to_usd(amount),
            "share": amount / whole if whole else 0.0,
            "what_to_do": _WHAT_TO_DO.get(reason, ""),
        }
        for reason, site, requests, amount in found
    )
    return PrefixMisses(rows, to_usd(whole), notes)
