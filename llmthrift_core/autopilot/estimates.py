"""Estimates of what a change of a door's settings would have saved in 30 days, with an interval from how the recorded days differ."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.display import counted
from llmthrift_core.moments import DAY_US, MICROSECONDS
from llmthrift_core.statistics import Interval, RatioSums, t_quantile
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.autopilot.rules import AutopilotRules
    from llmthrift_core.pricing import PriceCatalog

_MONTH_DAYS: Final = 30
_EIGHT_OF_TEN: Final = 0.9  # the quantile of a two-sided interval of 80%
_LEAST_SHARE: Final = 0.005  # of the cost: less is not worth a try
_MOST_EVIDENCE: Final = 10
_FEWEST_ANSWERS: Final = 30
_LONG: Final = 2  # times the median
_SHORTEST_PREFIX: Final = 1_024  # tokens that providers ask of a prefix, at least


@dataclass(frozen=True, slots=True)
class Saving:
    """Nano-USD in 30 days.

    Attributes:
        low, high: where it lies in 8 of 10 cases.
        why: in words.
        evidence: request ids.
    """

    low: float
    middle: float
    high: float
    basis: str
    why: str
    evidence: tuple[str, ...] = ()


def longer_life(rows: Sequence[Any], present_seconds: float, longer_seconds: float) -> Saving | None:
    """What answers of the exact cache would have saved by serving longer. Calls whose prompt was not hashed stay as they are."""
    spared: Counter[int] = Counter()
    evidence = []
    before, after = _Cached(present_seconds), _Cached(longer_seconds)
    for row in rows:
        paid = row.cost if row.cache is None else row.cache_saved_nano_usd
        if row.prompt_hash is None or row.cache == "semantic" or paid is None or row.error is not None:
            continue
        was, would_be = before.hits(row), after.hits(row)
        if would_be and not was:
            spared[_day(row)] += paid
            evidence.append(row.request_id)
        elif was and not would_be:  # the longer one began its life at another moment
            spared[_day(row)] -= paid
    why = (
        f"{len(evidence):,} of {counted(len(rows), 'call')} would have found an answer that is older than "
        f"{counted(present_seconds, 'second')}."
    )
    return _monthly(rows, spared, why, evidence)


def equal_questions(rows: Sequence[Any]) -> float:
    """How many questions, all asked equally often, weigh as those of the calls: a few popular ones are few, whatever comes beside them."""
    sums = RatioSums()
    for asked in Counter(row.prompt_hash for row in rows if row.prompt_hash is not None).values():
        sums.add(asked, 0)
    return sums.effective_units


def as_share(saving: Saving | None, rows: Sequence[Any]) -> Interval:
    """A saving as a share of what was paid."""
    paid = paid_monthly(rows)
    if saving is None or not paid:
        return Interval(0.0, 0.0, 0.0)
    return Interval(saving.middle / paid, saving.low / paid, saving.high / paid)


def paid_monthly(rows: Sequence[Any]) -> float:
    """Nano-USD in 30 days like those of the rows."""
    first, last = (rows[0].at_us, rows[-1].at_us) if rows else (0, 0)
    days = max(1.0, (last - first) / DAY_US)
    return sum(row.cost or 0 for row in rows if row.cache is None) / days * _MONTH_DAYS


def capped(rows: Sequence[Any], present: int | None, rules: AutopilotRules) -> tuple[Saving | None, int | None]:
    """What a lower cap of answers would have saved, and the cap: twice the median, as far as the rules let it go in one step."""
    answers = [row for row in rows if row.cache is None and row.error is None and row.output_tokens > 0 and row.cost]
    if len(answers) < _FEWEST_ANSWERS:
        return None, None
    lengths = sorted(row.output_tokens - row.reasoning_tokens for row in answers)
    reference = lengths[int(0.99 * (len(lengths) - 1))] if present is None else present
    wanted = max(_LONG * median(lengths), reference / rules.max_change)
    unit = 10 ** max(0, math.floor(math.log10(wanted)) - 1)
    cap = round(rules.within("output_cap_tokens", math.ceil(wanted / unit) * unit))  # two digits
    if cap >= reference:
        return None, None
    spared: Counter[int] = Counter()
    evidence = []
    for row in answers:
        tokens = row.output_tokens - row.reasoning_tokens
        if tokens > cap and row.output_cost:
            spared[_day(row)] += round(row.output_cost * (tokens - cap) / row.output_tokens)
            evidence.append(row.request_id)
    why = (
        f"{len(evidence):,} of {counted(len(answers), 'answer is', 'answers are')} longer than {counted(cap, 'token')}; the median "
        f"is {median(lengths):,.0f}."
    )
    return _monthly(rows, spared, why, evidence), cap


def cheaper_tier(rows: Sequence[Any], prices: PriceCatalog, present: str | None) -> tuple[str | None, Saving | None]:
    """The tier below the dearest in use, and what it would have saved by answering in its place with as many tokens."""
    by_tier: Mapping[str, list[Any]] = defaultdict(list)
    for row in rows:
        if row.tier is not None and row.cache is None and row.error is None and row.cost:
            by_tier[row.tier].append(row)
    if len(by_tier) < 2:
        return None, None
    models = {tier: Counter((row.model, row.provider) for row in found).most_common(1)[0][0] for tier, found in by_tier.items()}
    usage = Usage(input_tokens=1_000_000, output_tokens=250_000)
    now_us = rows[-1].at_us
    worth = {tier: prices.price(usage, model, provider, now_us) for tier, (model, provider) in models.items()}
    dear_first = sorted((tier for tier in worth if worth[tier] is not None), key=lambda tier: -(worth[tier] or _FREE).nano_usd)
    # Tiers that are not allowed any more were in use before the last change.
    allowed = dear_first[dear_first.index(present) :] if present in dear_first else dear_first
    if len(allowed) < 2:
        return None, None
    dear, lower = allowed[:2]
    model, provider = models[lower]
    spared: Counter[int] = Counter()
    evidence = []
    for row in by_tier[dear]:
        usage = Usage.clamped(
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cache_read_tokens=row.cache_read_tokens,
            cache_write_tokens=row.cache_write_tokens,
            reasoning_tokens=row.reasoning_tokens,
        )
        would = prices.price(usage, model, provider, row.at_us)
        if would is not None:
            spared[_day(row)] += row.cost - would.nano_usd
            evidence.append(row.request_id)
    why = f"{counted(len(by_tier[dear]), 'call')} of tier {dear} would have been answered by {model}, with as many tokens."
    return lower, _monthly(rows, spared, why, evidence)


def shorter_prompts(rows: Sequence[Any]) -> Saving | None:
    """What shorter prompts would have saved: as observed, else by rule of thumb."""
    if (found := _observed(rows, "observed_shortening_nano_usd")) is not None:
        return found.saving
    why = "Rule of thumb: white space and repeated documents are 2% of what is sent; analyze(messages) says more."
    return rule_of_thumb(rows, low=0.0, middle=0.02, high=0.1, why=why, of="input_cost")


def marked_prompts(rows: Sequence[Any]) -> Saving | None:
    """What a plan of the provider's prompt cache would have saved: as observed, else by rule of thumb; None where there is one."""
    if any(row.prefix_plan is not None for row in rows):
        return None
    if (found := _observed(rows, "observed_prefix_nano_usd")) is not None:
        return found.saving
    long = [row for row in rows if row.input_tokens >= _SHORTEST_PREFIX and not row.cache_read_tokens]
    why = f"Rule of thumb: of prompts of {_SHORTEST_PREFIX:,} tokens and more, a third is read again from the provider's cache."
    return rule_of_thumb(long, low=0.0, middle=0.3, high=0.8, why=why, of="input_cost")


@dataclass(frozen=True, slots=True)
class _Observed:
    """What observe mode said, which may be too little to save anything."""

    saving: Saving | None


def _observed(rows: Sequence[Any], column: str) -> _Observed | None:
    """What observe mode saw that a change would have saved; None where it saw too few calls."""
    known = [row for row in rows if getattr(row, column) is not None]
    if len(known) < _FEWEST_ANSWERS:
        return None
    spared: Counter[int] = Counter()
    for row in known:
        spared[_day(row)] += getattr(row, column)
    return _Observed(_monthly(rows, spared, f"Observed on {counted(len(known), 'call')}.", [row.request_id for row in known]))


def rule_of_thumb(rows: Sequence[Any], *, low: float, middle: float, high: float, why: str, of: str = "cost") -> Saving | None:
    """Shares of what was paid."""
    days = len({_day(row) for row in rows})
    paid = sum(getattr(row, of) or 0 for row in rows if row.cache is None)
    if not days or not paid:
        return None
    month = paid / days * _MONTH_DAYS
    return Saving(low * month, middle * month, high * month, "rule of thumb", why)


class _Free:
    nano_usd = 0


_FREE: Final = _Free()


class _Cached:
    """An exact cache that is as large as it needs to be."""

    def __init__(self, seconds: float) -> None:
        self._us = int(seconds * MICROSECONDS)
        self._stored_us: dict[tuple[str, str], int] = {}

    def hits(self, row: Any) -> bool:
        key = (row.model, row.prompt_hash)
        stored = self._stored_us.get(key)
        if stored is not None and row.at_us - stored <= self._us:
            return True
        self._stored_us[key] = row.at_us
        return False


def _monthly(rows: Sequence[Any], spared: Mapping[int, int], why: str, evidence: Iterable[str]) -> Saving | None:
    """What days like these add up to in a month; None: too little."""
    days = sorted({_day(row) for row in rows})
    whole = days[1:-1] or days  # the first and the last are parts of a day
    amounts = [float(spared.get(day, 0)) for day in whole]
    paid = sum(row.cost or 0 for row in rows if row.cache is None)
    if not amounts or sum(spared.values()) < _LEAST_SHARE * paid or sum(spared.values()) <= 0:
        return None
    mean, count = fmean(amounts), len(amounts)
    half = mean  # one day says nothing of how days differ
    if count > 1:
        half = t_quantile(_EIGHT_OF_TEN, count - 1) * stdev(amounts) * math.sqrt(1 / count + 1 / _MONTH_DAYS)
    month = mean * _MONTH_DAYS
    return Saving(month - half * _MONTH_DAYS, month, month + half * _MONTH_DAYS, "ledger", why, tuple(evidence)[:_MOST_EVIDENCE])


def _day(row: Any) -> int:
    return int(row.at_us // DAY_US)
