"""Gains and losses of shorter prompts by policy: money, and quality beside calls whose prompts were sent whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, select

from llmthrift_core.display import counted
from llmthrift_core.ledger.judged import BY_APPLICATION, read_judged, within
from llmthrift_core.statistics import Interval, RatioSums
from llmthrift_core.statistics.ratios import quality_difference
from llmthrift_core.storage.tables import calls

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS: Final = (
    "request_id",
    "call_site",
    "shorten_version",
    "shorten_steps",
    "shortened_tokens",
    "shortening_saved_nano_usd",
)
_MOST: Final = 50_000  # calls


@dataclass(slots=True)
class ShorteningFigures:
    """A policy at one call site.

    Attributes:
        call_site, version: which.
        calls: so many, whose prompts were made shorter.
        saved_nano_usd: what they had cost more without the policy; negative where prefixes that it broke in the provider's cache cost more.
        tokens: taken off, by step.
        quality: of their answers. plain: of answers of the same call site to prompts that were sent whole.
        request_ids: of calls that lost money, then of others.
    """

    call_site: str | None
    version: str
    calls: int = 0
    saved_nano_usd: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    quality: RatioSums = field(default_factory=RatioSums)
    plain: RatioSums = field(default_factory=RatioSums)
    request_ids: list[str] = field(default_factory=list)

    def quality_difference(self, confidence: float) -> Interval:
        """Quality of shorter prompts minus that of whole ones, within its limits."""
        return quality_difference(self.quality, self.plain, confidence)

    def plus(self, other: ShorteningFigures) -> ShorteningFigures:
        """Both together."""
        return ShorteningFigures(
            None,
            self.version,
            self.calls + other.calls,
            self.saved_nano_usd + other.saved_nano_usd,
            self.tokens + other.tokens,
            self.quality.plus(other.quality),
            self.plain.plus(other.plain),
            [*self.request_ids, *other.request_ids],
        )


def read_shortening(
    connection: Connection, *, since_us: int | None, until_us: int | None = None, versions: Iterable[str] | None = None
) -> list[ShorteningFigures]:
    """The figures by call site and version, of the newest calls.

    Args:
        versions: only these.
    """
    query = (
        select(*(calls.c[name] for name in _COLUMNS))
        .where(*within(since_us, until_us), BY_APPLICATION, calls.c.error.is_(None), calls.c.cache.is_(None))
        .order_by(calls.c.id.desc())
        .limit(_MOST)
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    if not any(row["shorten_version"] for row in rows):
        return []
    only = None if versions is None else set(versions)
    found: dict[tuple[str | None, str], ShorteningFigures] = {}
    of_call: dict[str, tuple[str | None, str | None]] = {}
    for row in rows:
        version = row["shorten_version"]
        of_call[row["request_id"]] = row["call_site"], version if version and row["shortened_tokens"] > 0 else None
        if version is None or (only is not None and version not in only):
            continue
        key = row["call_site"], version
        _add(found.setdefault(key, ShorteningFigures(*key)), row)
    for judged in read_judged(connection, since_us=since_us, until_us=until_us):
        site, version = of_call.get(judged.call["request_id"], (None, ""))
        for key, figures in found.items():
            if key[0] == site and version in (None, key[1]):
                (figures.plain if version is None else figures.quality).add(1, judged.quality)
    return list(found.values())


def steps_of(tokens: Mapping[str, int]) -> str:
    """The steps by what they took off, such as "History (9,000 tokens), Whitespace (20)"."""
    largest = sorted(tokens.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} ({counted(taken, 'token')})" for name, taken in largest) or "no step"


def _add(figures: ShorteningFigures, row: Mapping[str, Any]) -> None:
    figures.calls += 1
    saved = row["shortening_saved_nano_usd"] or 0
    figures.saved_nano_usd += saved
    for name, taken in _steps(row["shorten_steps"]):
        figures.tokens[name] += taken
    if saved < 0:
        figures.request_ids.insert(0, row["request_id"])
    elif len(figures.request_ids) < 10:
        figures.request_ids.append(row["request_id"])


def _steps(text: str | None) -> Sequence[tuple[str, int]]:
    try:
        return [(str(name), int(taken)) for name, taken in json.loads(text or "[]")]
    except (ValueError, TypeError):  # of another version
        return []
