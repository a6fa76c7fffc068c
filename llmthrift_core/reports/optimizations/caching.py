"""Findings about caches: ours, whose hits are few or whose entries are not used, and the provider's, which is written in vain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import case, func, select

from llmthrift_core.display import counted, percent
from llmthrift_core.prompt_caching.misses import REMEDIES
from llmthrift_core.reports.optimizations import lines
from llmthrift_core.reports.optimizations.figures import Figures, Row
from llmthrift_core.reports.optimizations.opportunity import Estimate, Opportunity, opportunity, sum_of_sample
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import cache_entries
from llmthrift_core.usage import Usage

_LOW: Final = 0.2
_SAVED: Final = 0.2  # the usual rule of thumb, of the total cost
_ENOUGH_REQUESTS: Final = 10
_KNOWN: Final = 0.5  # of the newest calls must say what was asked
_ENOUGH_ENTRIES: Final = 50
_UNUSED: Final = 0.8
_ENOUGH_MISSES: Final = 3
_LOOKED_AT: Final = 5_000


def low_hit_rate(figures: Figures) -> Iterator[Opportunity]:
    """Fewer than a fifth of the requests answered from a cache, also where there is none."""
    requests, hits = figures.total["requests"], figures.total["cache_hits"]
    if requests < _ENOUGH_REQUESTS or hits >= _LOW * requests or not figures.cost:
        return
    rate = (
        f"{percent(hits / requests)} of {counted(requests, 'request was', 'requests were')} answered from a "
        f"cache{'' if hits else ', which nothing seems to use'}"
    )
    observed = [(row, row.observed_cache_nano_usd) for row in figures.newest if row.observed_cache_nano_usd]
    if observed:
        values = [float(saved or 0) for _, saved in observed]
        scale = figures.total["observed_cache_nano_usd"] / sum(values)
        size = len(figures.newest)
        yield _few_hits(
            f"{rate}; in observe mode {len(values):,} of the newest {size:,} would have been.",
            sum_of_sample(values, sampled=size, of=size).times(scale),
            [row for row, _ in observed],
            assumed="observe mode looked each request up in the caches that are set up; a hit by meaning counts at the risk that is set",
        )
        return
    asked = [row for row in figures.newest if row.prompt_hash is not None and row.cache is None and row.error is None]
    if len(asked) >= _KNOWN * len(figures.newest):
        repeated = _repeated(asked)
        values = [float(row.cost_nano_usd) for row in repeated if row.cost_nano_usd]
        found = sum_of_sample(values, sampled=len(figures.newest), of=figures.attempts)
        unknown = Estimate(found.nano_usd, found.low, max(found.high, _SAVED * figures.cost))
        yield _few_hits(
            f"{rate}; {len(repeated):,} of the newest {len(asked):,} asked what the same model had been asked before, word for word.",
            unknown if not values else found,
            repeated,
            assumed="word for word, within the calls that were looked at; what repeats by meaning is not known without observe mode",
        )
        return
    yield opportunity(
        "low_hit_rate",
        f"{rate}.",
        Estimate(_SAVED * figures.cost, 0.0, 2 * _SAVED * figures.cost),
        evidence=[row.request_id for row in figures.paid],
        how=lines.CACHE,
        basis="rule of thumb",
        assumed="20% of the total; the calls do not say what was asked, and observe mode would tell",
    )


def _few_hits(description: str, estimate: Estimate, rows: list[Row], *, assumed: str) -> Opportunity:
    evidence = [row.request_id for row in rows]
    return opportunity("low_hit_rate", description, estimate, evidence=evidence, how=lines.CACHE, basis="ledger", assumed=assumed)


def _repeated(rows: list[Row]) -> list[Row]:
    """The calls whose question the same model had answered before; the newest first."""
    seen: set[tuple[str, str | None]] = set()
    found = []
    for row in reversed(rows):
        key = row.model, row.prompt_hash
        if key in seen:
            found.append(row)
        seen.add(key)
    return found[::-1]


def broken_prefix_caches(figures: Figures) -> Iterator[Opportunity]:
    """Prompts that are written to the provider's cache, at more than the price of input, and hardly read from it."""
    for site, rows in figures.sites.items():
        written = [row for row in rows if row.cache_write_tokens]
        writes, reads = sum(row.cache_write_tokens for row in rows), sum(row.cache_read_tokens for row in rows)
        if len(written) < _ENOUGH_REQUESTS or reads >= writes:
            continue
        values = []
        for row in written:
            plain = figures.prices.price(_without_writes(row), row.model, row.provider, row.at_us)
            if plain is not None and row.cost_nano_usd is not None:
                values.append(float(max(0, row.cost_nano_usd - plain.nano_usd)))
        yield opportunity(
            "broken_prefix_cache",
            f"{site} wrote {counted(writes, 'token')} to the provider's prompt cache and read {reads:,}: something early in its prompts "
            "differs each time, or the calls lie further apart than the cache lives.",
            sum_of_sample(values, sampled=len(figures.newest), of=figures.attempts),
            evidence=[row.request_id for row in sorted(written, key=lambda row: -row.cache_write_tokens)],
            how=lines.PREFIXES,
            basis="ledger",
            assumed="no writes: only what they cost above the price of input; reads would save more",
        )


def _without_writes(row: Row) -> Usage:
    return Usage(input_tokens=row.input_tokens, output_tokens=row.output_tokens, cache_read_tokens=row.cache_read_tokens)


def missed_prefixes(figures: Figures) -> Iterator[Opportunity]:
    """Prompts that had been sent before and were not read from the provider's cache, for a reason that can be mended."""
    for site, rows in figures.sites.items():
        missed: dict[str, list[Row]] = {}
        for row in rows:
            if row.prefix_miss and row.prefix_lost_nano_usd:
                missed.setdefault(row.prefix_miss, []).append(row)
        for reason, found in sorted(missed.items()):
            if len(found) < _ENOUGH_MISSES:
                continue
            yield opportunity(
                "missed_prefixes",
                f"{counted(len(found), 'prompt')} of {site} could have been read from the provider's prompt cache and "
                f"{'was' if len(found) == 1 else 'were'} not: {reason}.",
                sum_of_sample([float(row.prefix_lost_nano_usd or 0) for row in found], sampled=len(figures.newest), of=figures.attempts),
                evidence=[row.request_id for row in sorted(found, key=lambda row: -(row.prefix_lost_nano_usd or 0))],
                how=lines.remedied(REMEDIES.get(reason, reason)),  # type: ignore[call-overload]
                basis="ledger",
                assumed="what was sent again is read instead",
            )


def unused_entries(database: Database, figures: Figures) -> Iterator[Opportunity]:
    """Cached answers that were kept for an hour and never given."""
    hour_us = 3_600_000_000
    oldest = (
        select(cache_entries.c.namespace, cache_entries.c.hits)
        .where(cache_entries.c.created_us < figures.now_us - hour_us)
        .limit(_LOOKED_AT)
    )
    found = oldest.subquery()
    used = func.sum(case((found.c.hits > 0, 1), else_=0))
    query = select(found.c.namespace, func.count(), used).group_by(found.c.namespace).order_by(found.c.namespace)
    with database.read() as connection:
        counts = [(str(namespace), int(kept), int(given)) for namespace, kept, given in connection.execute(query)]
    for namespace, kept, given in counts:
        unused = kept - given
        if kept < _ENOUGH_ENTRIES or unused < _UNUSED * kept:
            continue
        yield opportunity(
            "unused_cache_entries",
            f"{unused:,} of {kept:,} answers in the cache {namespace!r} are older than an hour and were never given again.",
            Estimate(0.0, 0.0, 0.0),
            evidence=[],
            how=lines.entries(namespace),
            basis="ledger",
            assumed="room only: an entry that is not used costs nothing else; what its question hides may be a hit",
        )
