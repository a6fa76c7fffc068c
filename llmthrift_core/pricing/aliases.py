"""The snapshot that a provider's undated name stood for at a date: price lists keep what it stands for today.

genai-prices lists `gpt-4o` without dates, at the price of its newest snapshot, and the first snapshot beside it under its own name. A
call of May 2024 through the undated name was answered and billed by that first snapshot. So no price is kept here, only when a name
moved on; the price is the list's own, of the snapshot. A name that is not here has had one price, or the list dates its prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from llmthrift_core.moments import to_us
from llmthrift_core.pricing.source import ALWAYS_FROM_US, ALWAYS_UNTIL_US


@dataclass(frozen=True, slots=True)
class Alias:
    """One period of an undated name.

    Attributes:
        provider: whose name it is; it also holds where the provider is read off the name.
        name: the undated name.
        snapshot: what it stood for.
        until: the first day (UTC) of what followed.
        source: where the provider's announcement of that day can be read. Its own page has moved on, so these are copies of it; a day
            is the one that was announced, since no provider publishes the hour at which the name moved.
    """

    provider: str
    name: str
    snapshot: str
    until: date
    source: str


# Ascending by `until` for each name.
ALIASES: tuple[Alias, ...] = (
    Alias(
        "openai", "gpt-3.5-turbo", "gpt-3.5-turbo-0613", date(2024, 2, 16),
        # OpenAI's announcement, quoted: gpt-3.5-turbo "will start pointing to gpt-3.5-turbo-0125 on Feb 16".
        "https://github.com/yello-xyz/playfetch/pull/152",
    ),
    Alias(
        "openai", "gpt-4o", "gpt-4o-2024-05-13", date(2024, 10, 2),
        # OpenAI's letter to its customers: "it will automatically update on October 2nd".
        "https://github.com/ogkalu2/comic-translate/issues/138",
    ),
)  # fmt: skip

_PERIODS: dict[str, tuple[tuple[Alias, int], ...]] = {
    name: tuple((alias, to_us(alias.until)) for alias in ALIASES if alias.name == name) for name in {alias.name for alias in ALIASES}
}


def snapshot_of(provider: str | None, name: str, at_us: int) -> tuple[str, int, int]:
    """What the name stood for at a time, in microseconds since the epoch, and the interval in which the answer is the same.

    >>> snapshot_of("openai", "gpt-4o", to_us("2024-05-20"))[0], snapshot_of("openai", "gpt-4o", to_us("2025-01-01"))[0]
    ('gpt-4o-2024-05-13', 'gpt-4o')
    """
    from_us = ALWAYS_FROM_US
    for alias, until_us in _PERIODS.get(name.lower(), ()):
        if provider in (None, alias.provider):
            if at_us < until_us:
                return alias.snapshot, from_us, until_us
            from_us = until_us
    return name, from_us, ALWAYS_UNTIL_US
