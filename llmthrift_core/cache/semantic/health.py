"""The health of a semantic cache: its numbers, and its alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmthrift_core.cache.counters import Troubles, alerts_of
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.semantic.policy import Belief
from llmthrift_core.cache.store import Totals


def stats_of(
    own: Mapping[str, int],
    everywhere: Mapping[str, float],
    stored: Totals,
    limits: CachePolicy,
    belief: Belief,
    troubles: Troubles,
    now_us: int,
) -> dict[str, Any]:
    """The numbers of `SemanticCache.stats`.

    Args:
        own, everywhere: the counts of this process, and of all.
    """
    all_lookups = _lookups(everywhere)
    return {
        **own,
        "hit_rate": _share(own["exact_hits"] + own["semantic_hits"], _lookups(own)),
        "all": {
            **everywhere,
            "exact_hit_rate": _share(everywhere["exact_hits"], all_lookups),
            "semantic_hit_rate": _share(everywhere["semantic_hits"], all_lookups),
            "shadow_usd": everywhere["shadow_nano_usd"] / 1e9,
        },
        "entries": stored.entries,
        "bytes": stored.size_bytes,
        "max_entries": limits.max_entries,
        "max_bytes": limits.max_bytes,
        "stored_hits": stored.hits,
        "average_remaining_ttl_seconds": None if stored.expires_us is None else (stored.expires_us - now_us) / 1e6,
        "errors": troubles.errors,
        "last_error": troubles.last_error,
        "error_rate": belief.error_rate,
        "error_rate_high": belief.error_rate_high,
        "belief": belief.text,
    }


def alerts(everywhere: Mapping[str, float], stored: Totals, limits: CachePolicy) -> list[str]:
    """What is wrong, by the counts of all processes."""
    return alerts_of(
        name=f"answers by meaning, namespace {limits.namespace!r}",
        hits=everywhere["exact_hits"] + everywhere["semantic_hits"],
        lookups=_lookups(everywhere),
        entries=stored.entries,
        max_entries=limits.max_entries,
        size_bytes=stored.size_bytes,
        max_bytes=limits.max_bytes,
        removed=everywhere["evictions"] + everywhere["expired_unused"],
        removed_unused=everywhere["evicted_unused"] + everywhere["expired_unused"],
    )


def _lookups(counts: Mapping[str, float]) -> float:
    return counts["exact_hits"] + counts["semantic_hits"] + counts["misses"]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
