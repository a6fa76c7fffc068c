"""What is wrong with a cache, in words that say what to do."""

from __future__ import annotations

from typing import Final

_LEAST_HIT_RATE: Final = 0.2
_ENOUGH_LOOKUPS: Final = 100
_FULL: Final = 0.8
_ENOUGH_REMOVED: Final = 20
_MOST_UNUSED: Final = 0.5


def alerts_of(
    *,
    name: str,
    hits: float,
    lookups: float,
    entries: int,
    max_entries: int | None,
    size_bytes: int,
    max_bytes: int | None,
    removed: float,
    removed_unused: float,
) -> list[str]:
    """One line for each: fewer than 20% hits, more than 80% of a limit used, most entries gone before their first hit.

    Args:
        name: which cache. removed: entries that were evicted or expired; removed_unused: those of them that had never answered.
    """
    found: list[str] = []
    if lookups >= _ENOUGH_LOOKUPS and hits / lookups < _LEAST_HIT_RATE:
        found.append(
            f"{name}: {hits / lookups:.0%} of {lookups:,.0f} lookups were hits, fewer than {_LEAST_HIT_RATE:.0%}; "
            "look for parts of the prompt that change with every call, such as times and ids"
        )
    for used, limit, what in ((entries, max_entries, "max_entries"), (size_bytes, max_bytes, "max_bytes")):
        if limit is not None and used > _FULL * limit:
            found.append(f"{name}: {used / limit:.0%} of {what}={limit:,} is used; live entries are evicted when it is full")
    if removed >= _ENOUGH_REMOVED and removed_unused / removed > _MOST_UNUSED:
        found.append(
            f"{name}: {removed_unused:,.0f} of {removed:,.0f} entries that expired or were evicted had never answered; "
            "give them more time or room, or do not cache what is asked once"
        )
    return found
