"""The autopilot over 60 simulated days: 5,000 calls a day from four call sites, a real ledger, and the decisions of the real `Autopilot`.

python -m benchmarks.autopilot [--seeds 1] [--days 60] [--calls 5000]

Calls and scores are made up; the doors' settings are looked up through `thrift.configurations.follow` as doors look them up, rows and
judgements are written in bulk, and time is an injected clock. On the way harder questions come (site `knowledge`, days 20 to 40), the
strong model's price falls by 40% (day 30), the cheap model gets worse by 0.12 at `support` (day 38), and a launch doubles the calls of
`search` with new questions (day 45). Beside it: doing nothing, and for each site the best of 12 fixed configurations in hindsight, the
cheapest whose quality over all days is at least 98% of doing nothing's.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from llmthrift_core import Thrift
from llmthrift_core.attribution import Attribution
from llmthrift_core.autopilot import Autopilot
from llmthrift_core.storage.statements import RowsInsert
from llmthrift_core.storage.tables import calls, feedback
from llmthrift_core.versions.door_settings import DoorSettings

DAY: Final = 86_400.0
BEGIN: Final = 1_780_272_000.0  # a midnight, UTC
LOOKS: Final = 3  # a day
MIN_QUALITY: Final = 0.98
JUDGED: Final = {"canary": 1.0, "": 0.25}
SPREAD: Final = 0.12
WORSE_FROM, LAUNCH_FROM, CHEAPER_FROM = 38, 45, 30
PRICES: Final = {"small": (150, 600), "large": (2_500, 10_000)}  # nano-USD a token of input and of output
NAMES: Final = {"small": "gpt-4o-mini", "large": "gpt-4o"}


@dataclass(frozen=True)
class Site:
    """A call site.

    Attributes:
        share: of all calls. large, small: quality of the two models' answers.
        questions: how many there are; the n-th is asked in proportion to 1 / n.
        input_tokens, output_tokens: of a call, and the median of an answer. tail: sigma of its logarithm.
        stale_hours: answers older than this are worse by 0.2; None: they never are.
    """

    share: float
    large: float
    small: float
    questions: int
    input_tokens: int
    output_tokens: int
    tail: float
    stale_hours: float | None


SITES: Final[Mapping[str, Site]] = {
    "support": Site(0.40, 0.92, 0.915, 4_000, 900, 160, 0.5, None),
    "search": Site(0.25, 0.93, 0.926, 1_500, 600, 120, 0.4, 3.0),
    "summaries": Site(0.20, 0.94, 0.885, 100_000, 2_500, 250, 0.8, None),
    "knowledge": Site(0.15, 0.92, 0.84, 20_000, 1_200, 300, 0.6, None),
}
GRID: Final = [
    {"max_tier": tier, "cache_ttl_seconds": ttl, "output_cap_tokens": cap}
    for tier in (None, "small")
    for ttl in (3_600.0, 14_400.0, 86_400.0)
    for cap in (None, 600)
]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: when, by whom, how long its answer would be, and chance."""

    at: float
    user: str
    question: int
    tokens: int
    easy: bool
    noise: float
    draw: float


def asked_at(site: str, seed: int, days: int, per_day: int) -> Iterator[list[Asked]]:
    """The questions of a site, by slices between two looks."""
    spec, rng = SITES[site], random.Random(f"{seed} {site}")
    weights = [1 / (number + 1) for number in range(min(spec.questions, 5_000))]
    for number in range(days * LOOKS):
        day = number // LOOKS
        launched = site == "search" and day >= LAUNCH_FROM
        weekend = 0.6 if day % 7 in (5, 6) else 1.0
        count = round(per_day * spec.share / LOOKS * weekend * (2 if launched else 1))
        begin, seconds = BEGIN + number * DAY / LOOKS, DAY / LOOKS
        questions = rng.choices(range(len(weights)), weights, k=count)
        times = sorted(rng.random() for _ in range(count))
        found = []
        for at, question in zip(times, questions, strict=True):
            is_new = launched and rng.random() < 0.5
            found.append(
                Asked(
                    begin + at * seconds,
                    f"{site} {rng.randrange(600)}",
                    question + (100_000 if is_new else 0) if spec.questions <= 5_000 else rng.randrange(spec.questions),
                    max(5, round(spec.output_tokens * rng.lognormvariate(0, spec.tail))),
                    rng.random() < 0.2,
                    rng.gauss(0, SPREAD),
                    rng.random(),
                )
            )
        yield found


def quality_of(site: str, tier: str, day: float, asked: Asked) -> float:
    """What the answer of a model is worth, before it is cut or old."""
    spec = SITES[site]
    quality = spec.large if tier == "large" or asked.easy else spec.small
    if site == "knowledge":  # drift
        quality -= (0.04 if tier == "large" else 0.08) * min(1.0, max(0.0, (day - 20) / 20))
    if site == "support" and tier == "small" and day >= WORSE_FROM:
        quality -= 0.12
    return quality


def cost_of(site: str, tier: str, day: float, tokens: int) -> tuple[int, int]:
    """Nano-USD of input and of output."""
    sent, made = PRICES[tier]
    if tier == "large" and day >= CHEAPER_FROM:
        sent, made = round(sent * 0.6), round(made * 0.6)
    return SITES[site].input_tokens * sent, tokens * made


@dataclass
class Door:
    """A door of a site: what is asked, under settings, becomes a cost and a quality."""

    site: str
    stored: dict[tuple[Any, ...], tuple[float, str, int, float]] = field(default_factory=dict)

    def answer(self, asked: Asked, settings: DoorSettings) -> tuple[str, bool, int, int, int, float]:
        """Tier, whether it was a hit, nano-USD of input and output (of a hit: what it saved, and 0), tokens, and quality."""
        day = (asked.at - BEGIN) / DAY
        ttl, cap = settings.cache_ttl_seconds or 3_600.0, settings.output_cap_tokens
        key = asked.question, settings.max_tier, cap
        found = self.stored.get(key)
        if found is not None and asked.at - found[0] <= ttl:
            stale = SITES[self.site].stale_hours
            old = 0.2 if stale is not None and asked.at - found[0] > stale * 3_600 else 0.0
            return found[1], True, found[2], 0, 0, found[3] - old
        tier = settings.max_tier or ("small" if asked.easy else "large")
        tokens = asked.tokens if cap is None else min(asked.tokens, cap)
        quality = quality_of(self.site, tier, day, asked) - (0.25 if asked.tokens > 1.5 * tokens else 0.0)
        sent, made = cost_of(self.site, tier, day, tokens)
        self.stored[key] = asked.at, tier, sent + made, quality
        return tier, False, sent, made, tokens, quality


@dataclass
class Outcome:
    """Dollars and quality of one way to run a site: sums by slice."""

    nano_usd: list[int] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    count: list[int] = field(default_factory=list)

    def add(self, nano_usd: int, quality: float, count: int) -> None:
        """One more slice."""
        self.nano_usd.append(nano_usd)
        self.quality.append(quality)
        self.count.append(count)

    @property
    def usd(self) -> float:
        return sum(self.nano_usd) / 1e9

    @property
    def mean(self) -> float:
        return sum(self.quality) / max(1, sum(self.count))


def fixed(site: str, slices: Sequence[Sequence[Asked]], settings: Mapping[str, Any]) -> Outcome:
    """A site that does the same on all days."""
    door, outcome, made = Door(site), Outcome(), DoorSettings(**settings)
    for asked in slices:
        answers = [door.answer(each, made) for each in asked]
        outcome.add(sum(0 if hit else sent + out for _, hit, sent, out, _, _ in answers), sum(each[5] for each in answers), len(answers))
    return outcome


def _as_new(insert: Any) -> Any:
    return insert.on_conflict_do_nothing(index_elements=["id"])


_WRITTEN: Final = {
    "request_id", "call_id", "at_us", "model", "provider", "tier", "user", "feature", "tags", "input_tokens", "output_tokens",
    "cost_nano_usd", "input_cost_nano_usd", "output_cost_nano_usd", "cache", "cache_saved_nano_usd", "prompt_hash",
}  # fmt: skip
_CALLS: Final = RowsInsert(calls, [column.name for column in calls.c if column.name in _WRITTEN], _as_new)
_FEEDBACK: Final = RowsInsert(feedback, ("request_id", "at_us", "quality", "source"), _as_new)


class Clock:
    """Seconds since the epoch, as the simulation has them."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Flight:
    """What the autopilot did with all sites, and what came of it."""

    outcomes: dict[str, Outcome] = field(default_factory=lambda: {site: Outcome() for site in SITES})
    steps: list[tuple[float, str, str, str]] = field(default_factory=list)
    kept: list[tuple[str, float, Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)
    processor_seconds: float = 0.0


def fly(folder: Path, slices: Mapping[str, Sequence[Sequence[Asked]]], seed: int) -> Flight:
    """All days with the autopilot."""
    clock, flight = Clock(BEGIN), Flight()
    with Thrift(folder / f"{seed}.db", clock=clock) as thrift:
        for site in SITES:
            thrift.configurations.save(site, {}, note="as built")
        tunings = {site: thrift.configurations.follow(site, check_seconds=86_400) for site in SITES}
        doors = {site: Door(site) for site in SITES}
        allow = {"max_tier", "cache_ttl_seconds", "output_cap_tokens"}
        bounds = {"cache_ttl_seconds": (600.0, 86_400.0), "output_cap_tokens": (100.0, 4_000.0)}
        autopilot = Autopilot(thrift, allow=allow, max_change=4, canary=0.1, min_quality=MIN_QUALITY, bounds=bounds)
        for number in range(len(next(iter(slices.values())))):
            rows: list[list[Any]] = []
            said: list[list[Any]] = []
            for site, tuning in tunings.items():
                tuning.look()
                nano_usd, quality = 0, 0.0
                for place, asked in enumerate(slices[site][number]):
                    settings, who = tuning.for_call(Attribution(user=asked.user, feature=site), partial(str, asked.question))
                    tier, hit, sent, made, tokens, worth = doors[site].answer(asked, settings)
                    nano_usd += 0 if hit else sent + made
                    quality += worth
                    request_id, at_us, tags = f"{site} {number} {place}", round(asked.at * 1e6), dict(who.tags)
                    row = {
                        "request_id": request_id,
                        "call_id": request_id,
                        "at_us": at_us,
                        "model": NAMES[tier],
                        "provider": "openai",
                        "tier": "" if hit else tier,
                        "user": asked.user,
                        "feature": site,
                        "tags": json.dumps(tags, sort_keys=True, separators=(",", ":")),
                        "input_tokens": 0 if hit else SITES[site].input_tokens,
                        "output_tokens": tokens,
                        "cost_nano_usd": 0 if hit else sent + made,
                        "input_cost_nano_usd": 0 if hit else sent,
                        "output_cost_nano_usd": made,
                        "cache": "exact" if hit else "",
                        "cache_saved_nano_usd": sent if hit else None,
                        "prompt_hash": f"{asked.question:x}",
                    }
                    rows.append([row[name] for name in _CALLS.columns])
                    is_canary = "canary" in tags.values()
                    if asked.draw < JUDGED["canary" if is_canary else ""]:
                        score = min(1.0, max(0.0, worth + asked.noise))
                        said.append([request_id, at_us, round(score * 1e6), "judge:simulated"])
                flight.outcomes[site].add(nano_usd, quality, len(slices[site][number]))
            with thrift.database.transaction() as transaction:
                transaction.insert(_CALLS, rows)
                transaction.insert(_FEEDBACK, said)
            clock.now = BEGIN + (number + 1) * DAY / LOOKS
            settings_before = {site: _settings(thrift, site) for site in SITES}
            begun = time.process_time()
            report = autopilot.run()
            flight.processor_seconds += time.process_time() - begun
            for step in report.steps:
                if step.action not in ("waits", "watches"):
                    flight.steps.append(((clock.now - BEGIN) / DAY, step.tuning, step.action, step.why))
                if step.action == "keeps":
                    after = _settings(thrift, step.tuning)
                    flight.kept.append((step.tuning, (clock.now - BEGIN) / DAY, settings_before[step.tuning], after))
    return flight


def _settings(thrift: Thrift, site: str) -> dict[str, Any]:
    value = thrift.configurations.load(site).value
    return {name: each for name, each in value.items() if name in GRID[0]}


def is_wrong(site: str, at: float, before: Mapping[str, Any], after: Mapping[str, Any], slices: Sequence[Sequence[Asked]]) -> bool:
    """Whether a change that was kept loses more than the whole promise allows, or costs more, on the week before it was kept."""
    week = slices[max(0, round((at - 7) * LOOKS)) : round(at * LOOKS)]
    first, then = fixed(site, week, before), fixed(site, week, after)
    return then.mean < first.mean - (1 - MIN_QUALITY) * first.mean or then.usd > first.usd


@dataclass
class Below:
    """Slices in which a site was below its promise, 98% of what doing nothing gives at that time."""

    days: float = 0.0
    longest_days: float = 0.0
    days_by_two_points: float = 0.0
    deepest: float = 0.0


def below(outcome: Outcome, nothing: Outcome) -> Below:
    """Look at each slice."""
    found, spell = Below(), 0.0
    for quality, count, other, others in zip(outcome.quality, outcome.count, nothing.quality, nothing.count, strict=True):
        short = MIN_QUALITY * other / others - quality / count
        spell = spell + 1 / LOOKS if short > 0 else 0.0
        found.days += (short > 0) / LOOKS
        found.days_by_two_points += (short > 0.02) / LOOKS
        found.longest_days = max(found.longest_days, spell)
        found.deepest = max(found.deepest, short)
    return found


def one(folder: Path, seed: int, days: int, per_day: int, *, tell: bool) -> dict[str, Any]:
    """One seed."""
    slices = {site: list(asked_at(site, seed, days, per_day)) for site in SITES}
    flight = fly(folder, slices, seed)
    result: dict[str, Any] = {"nothing": 0.0, "best": 0.0, "autopilot": 0.0, "q_nothing": 0.0, "q_best": 0.0, "q_autopilot": 0.0}
    belows, total = [], sum(len(each) for site in SITES for each in slices[site])
    for site in SITES:
        nothing = fixed(site, slices[site], {})
        candidates = [(fixed(site, slices[site], settings), settings) for settings in GRID]
        good = [each for each in candidates if each[0].mean >= MIN_QUALITY * nothing.mean]
        best, chosen = min(good, key=lambda each: each[0].usd)
        share = sum(nothing.count) / total
        for name, outcome in (("nothing", nothing), ("best", best), ("autopilot", flight.outcomes[site])):
            result[name] += outcome.usd
            result[f"q_{name}"] += share * outcome.mean
        belows.append(below(flight.outcomes[site], nothing))
        if tell:
            kept = {name: value for name, value in chosen.items() if value is not None}
            print(
                f"  {site:<10} nothing ${nothing.usd:8.2f} {nothing.mean:.3f}   best fixed ${best.usd:8.2f} {best.mean:.3f} {kept}"
                f"   autopilot ${flight.outcomes[site].usd:8.2f} {flight.outcomes[site].mean:.3f}"
            )
    if tell:
        for at, site, action, why in flight.steps:
            print(f"  day {at:5.1f} {site} {action}: {why[:170]}")
    wrong = [each for each in flight.kept if is_wrong(each[0], each[1], each[2], each[3], slices[each[0]])]
    taken = [at for at, site, action, _ in flight.steps if site == "support" and action == "takes back" and at >= WORSE_FROM]
    had_small = any(site == "support" and after.get("max_tier") == "small" and at <= WORSE_FROM for site, at, _, after in flight.kept)
    result |= {
        "tried": sum(action == "tries" for *_, action, _ in flight.steps),
        "kept": len(flight.kept),
        "wrong": len(wrong),
        "taken back": sum(action == "takes back" for *_, action, _ in flight.steps),
        "delay": taken[0] - WORSE_FROM if taken and had_small and days > WORSE_FROM else None,
        "days below": max(each.days for each in belows),
        "longest below": max(each.longest_days for each in belows),
        "days below by 2 points": max(each.days_by_two_points for each in belows),
        "deepest": max(each.deepest for each in belows),
        "processor seconds": flight.processor_seconds,
    }
    return result


def main() -> None:
    """Print each seed, and all of them together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--calls", type=int, default=5_000, help="a day")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.first, options.first + options.seeds):
            print(f"seed {seed}")
            one_seed = one(Path(folder), seed, options.days, options.calls, tell=options.seeds <= 3)
            found.append(one_seed)
            print("  " + ", ".join(f"{name} {_shown(value)}" for name, value in one_seed.items()), flush=True)
    spent, least, paid = (fmean(each[name] for each in found) for name in ("nothing", "best", "autopilot"))
    print(f"\n{len(found)} seeds of {options.days} days, {options.calls:,} calls a day:")
    print(f"dollars: doing nothing {spent:.2f}, best fixed in hindsight {least:.2f}, autopilot {paid:.2f}")
    print(f"the autopilot saves {1 - paid / spent:.1%}, {(spent - paid) / (spent - least):.1%} of what the best fixed configuration saves")
    for name in ("q_nothing", "q_best", "q_autopilot"):
        print(f"quality {name[2:]}: {fmean(each[name] for each in found):.4f}")
    print(f"changes tried {sum(each['tried'] for each in found)}, kept {sum(each['kept'] for each in found)}, ", end="")
    print(f"wrongly {sum(each['wrong'] for each in found)} (in {sum(each['wrong'] > 0 for each in found)} of {len(found)} seeds)")
    delays = [each["delay"] for each in found if each["delay"] is not None]
    if delays:
        told = f"median {median(delays):.2f}, longest {max(delays):.2f}, {len(delays)} seeds"
        print(f"roll-back delay in days after the cheap model got worse: {told}")
    for name in ("days below", "longest below", "days below by 2 points", "deepest"):
        print(f"{name}, of the worst site: median {median(each[name] for each in found):.3f}, most {max(each[name] for each in found):.3f}")
    looks = len(found) * options.days * LOOKS
    print(f"processor seconds of the autopilot a look: {sum(each['processor seconds'] for each in found) / looks:.2f}")


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
