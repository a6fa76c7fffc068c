"""A model gets worse midway and better again: what `Adaptive` makes of it through a real ledger, beside what others would.

    python -m benchmarks.adaptive [--seeds 5] [--feedback 0.2]

Simulated traffic of three weeks, 2,000 calls a day of four call sites whose best models differ; "medium" answers half as well in the
second week. A part of the answers is judged, right or wrong. Every call of `Adaptive` is recorded and judged in a ledger, which the policy
reads once an hour. Quality is that of all answers. Worth is quality less 0.1 for a call of the strongest model, in proportion to cost, and
regret what the oracle's worth has more, which knows every model's quality on every day. "Left after" counts the calls of a call site from
the change until it left "medium", where it used that; "back after" those from the next change until it used it again; in brackets, at how
many of the two call sites in all runs. "±" is Student's 95% over the seeds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.measure import table
from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import Attribution
from llmthrift_core.routing import Adaptive, RouteRequest, Tiers
from llmthrift_core.statistics import t_quantile

MODELS = {"small": "gpt-4.1-nano", "medium": "gpt-4.1-mini", "large": "gpt-4.1"}
TIERS = Tiers(tuple(MODELS))
QUALITY = {
    "triage": {"small": 0.95, "medium": 0.96, "large": 0.97},
    "extract": {"small": 0.70, "medium": 0.94, "large": 0.96},
    "chat": {"small": 0.80, "medium": 0.90, "large": 0.92},
    "plan": {"small": 0.30, "medium": 0.60, "large": 0.93},
}
SHARES = {"triage": 0.3, "extract": 0.3, "chat": 0.3, "plan": 0.1}
TOKENS = {"triage": (400, 20), "extract": (900, 120), "chat": (1_200, 250), "plan": (1_500, 600)}
CALLS_A_DAY, DAYS, WORSE_FROM, WORSE_UNTIL = 2_000, 21, 7, 14
COST_WEIGHT, EXPLORE_SHARE, EXPLORE_USD_A_DAY = 0.1, 0.2, 0.25
START = 1_767_225_600.0  # 2026-01-01


def quality(tier: str, site: str, day: float) -> float:
    """Of the model behind a tier, on a day."""
    worse = 0.5 if tier == "medium" and WORSE_FROM <= day < WORSE_UNTIL else 1.0
    return QUALITY[site][tier] * worse


class Policy(Protocol):
    """One way to choose."""

    def choose(self, site: str, day: float) -> str: ...

    def learn(self, site: str, tier: str, right: bool | None) -> None: ...


class Always:
    """The same tier for everything."""

    def __init__(self, tier: str) -> None:
        self.tier = tier

    def choose(self, site: str, day: float) -> str:
        return self.tier

    def learn(self, site: str, tier: str, right: bool | None) -> None:
        pass


class Oracle(Always):
    """Knows every quality."""

    def __init__(self, usd: Mapping[str, Mapping[str, float]]) -> None:
        self.usd = usd

    def choose(self, site: str, day: float) -> str:
        return max(MODELS, key=lambda tier: worth(tier, site, day, self.usd))


class EpsilonGreedy:
    """The best mean of all time by call site; a share of the calls goes to any tier."""

    def __init__(self, usd: Mapping[str, Mapping[str, float]], seed: int) -> None:
        self.usd = usd
        self.chance = random.Random(seed)
        self.means: dict[tuple[str, str], tuple[float, int]] = defaultdict(lambda: (1.0, 0))

    def choose(self, site: str, day: float) -> str:
        if self.chance.random() < EXPLORE_SHARE:
            return self.chance.choice(list(MODELS))
        return max(MODELS, key=lambda tier: self.means[site, tier][0] - COST_WEIGHT * self.usd[site][tier] / self.usd[site]["large"])

    def learn(self, site: str, tier: str, right: bool | None) -> None:
        if right is not None:
            mean, count = self.means[site, tier]
            self.means[site, tier] = (mean * count + right) / (count + 1), count + 1


class ThroughLedger:
    """`Adaptive`, with every call and every judgement in a ledger."""

    def __init__(self, seed: int, explore_share: float = EXPLORE_SHARE) -> None:
        self.now = START
        self.thrift = Thrift(":memory:", clock=lambda: self.now)
        self.policy = Adaptive(
            self.thrift, MODELS, cost_weight=COST_WEIGHT, explore_share=explore_share, explore_usd_per_day=EXPLORE_USD_A_DAY,
            refresh_seconds=1e6, seed=seed,
        )  # fmt: skip
        self.explored_usd = self.decided_seconds = 0.0
        self._read_at = START
        self._explored = False

    def choose(self, site: str, day: float) -> str:
        self.now = START + day * 86_400
        if self.now - self._read_at >= 3_600:
            self._read_at = self.now
            self.policy.scores.refresh()
        started = time.perf_counter()
        decision = self.policy.decide(RouteRequest("", attribution=Attribution(call_site=site)), TIERS)
        self.decided_seconds += time.perf_counter() - started
        self._explored = decision.explored
        return decision.tier

    def learn(self, site: str, tier: str, right: bool | None) -> None:
        sent, made = TOKENS[site]
        usage = Usage(input_tokens=sent, output_tokens=made)
        request_id = self.thrift.ledger.record(MODELS[tier], usage, call_site=site)
        if self._explored:
            self.explored_usd += float(self.thrift.prices.cost(usage, MODELS[tier]).usd)
        if right is not None:
            self.thrift.feedback(request_id, quality=float(right))


@dataclass
class Outcome:
    """What became of one run."""

    quality: float = 0.0
    usd: float = 0.0
    regret: float = 0.0
    in_use: set[str] = field(default_factory=set)
    left_after: list[int] = field(default_factory=list)
    back_after: list[int] = field(default_factory=list)
    explored_usd: float = 0.0
    decision_us: float = 0.0


def worth(tier: str, site: str, day: float, usd: Mapping[str, Mapping[str, float]]) -> float:
    """Quality less the weighted share of the strongest model's cost."""
    return quality(tier, site, day) - COST_WEIGHT * usd[site][tier] / usd[site]["large"]


def run(policy: Policy, usd: Mapping[str, Mapping[str, float]], seed: int, feedback: float) -> Outcome:
    """Three weeks. A site uses a model that gets four fifths of its last 50 calls, and has left it at a fifth."""
    chance, outcome, total = random.Random(seed), Outcome(), CALLS_A_DAY * DAYS
    oracle = Oracle(usd)
    last: dict[str, deque[str]] = {site: deque(maxlen=50) for site in QUALITY}
    since: dict[str, int] = dict.fromkeys(QUALITY, 0)
    for number in range(total):
        day = number / CALLS_A_DAY
        if number in (WORSE_FROM * CALLS_A_DAY, WORSE_UNTIL * CALLS_A_DAY):
            since = dict.fromkeys(QUALITY, 0)
        site = chance.choices(list(SHARES), list(SHARES.values()))[0]
        tier = policy.choose(site, day)
        right = chance.random() < quality(tier, site, day)
        policy.learn(site, tier, right if chance.random() < feedback else None)
        outcome.quality += right / total
        outcome.usd += usd[site][tier]
        outcome.regret += worth(oracle.choose(site, day), site, day, usd) - worth(tier, site, day, usd)
        last[site].append(tier)
        since[site] += 1
        uses = last[site].count("medium")
        if site in ("extract", "chat"):  # where "medium" is the best while it is well
            if day < WORSE_FROM:
                (outcome.in_use.add if uses >= 40 else outcome.in_use.discard)(site)
            elif day < WORSE_UNTIL and uses <= 10 and site in outcome.in_use:
                outcome.in_use.discard(site)
                outcome.left_after.append(since[site])
            elif day >= WORSE_UNTIL and uses >= 40 and site not in outcome.in_use:
                outcome.in_use.add(site)
                outcome.back_after.append(since[site])
    if isinstance(policy, ThroughLedger):
        outcome.explored_usd = policy.explored_usd
        outcome.decision_us = policy.decided_seconds / total * 1e6
        policy.thrift.close()
    return outcome


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--feedback", type=float, nargs="*", default=[0.1, 0.2, 0.3])
    given = options.parse_args()
    with Thrift(":memory:") as thrift:
        usd = {
            site: {
                tier: float(thrift.prices.cost(Usage(input_tokens=sent, output_tokens=made), model).usd) for tier, model in MODELS.items()
            }
            for site, (sent, made) in TOKENS.items()
        }
    policies: dict[str, Callable[[int], Policy]] = {
        "always large": lambda seed: Always("large"),
        "always small": lambda seed: Always("small"),
        "epsilon-greedy, all time": lambda seed: EpsilonGreedy(usd, seed),
        "Adaptive": ThroughLedger,
        "Adaptive, half explores": lambda seed: ThroughLedger(seed, explore_share=0.5),
        "Adaptive, never explores": lambda seed: ThroughLedger(seed, explore_share=0.0),
        "oracle": lambda seed: Oracle(usd),
    }
    for feedback in given.feedback:
        rows = [_row(name, [run(make(seed), usd, seed, feedback) for seed in range(given.seeds)]) for name, make in policies.items()]
        title = f"{CALLS_A_DAY:,} calls a day, {feedback:.0%} judged, {given.seeds} seeds"
        print(
            table(
                title,
                ("policy", "quality", "USD a day", "regret a 1,000 calls", "left after calls", "back after calls", "explored USD a day"),
                rows,
            )
        )


_HEADER = ("policy", "quality", "USD a day", "regret a 1,000 calls", "left after calls", "back after calls", "explored USD a day")


def _row(name: str, outcomes: list[Outcome]) -> tuple[str, ...]:
    calls = CALLS_A_DAY * DAYS
    return (
        name,
        _interval([each.quality for each in outcomes], 3),
        _interval([each.usd / DAYS for each in outcomes], 3),
        _interval([each.regret / calls * 1_000 for each in outcomes], 1),
        _noticed([each.left_after for each in outcomes]),
        _noticed([each.back_after for each in outcomes]),
        _interval([each.explored_usd / DAYS for each in outcomes], 3) if name.startswith("Adaptive") else "",
    )


def _interval(values: list[float], digits: int) -> str:
    half = t_quantile(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 2 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {half:.{digits}f}"


def _noticed(found: list[list[int]]) -> str:
    """The median, and of how many of the two call sites in all runs."""
    calls = [number for each in found for number in each]
    return f"{statistics.median(calls):.0f} ({len(calls)} of {2 * len(found)})" if calls else ""


if __name__ == "__main__":
    main()
