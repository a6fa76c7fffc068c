"""What changes would have saved on recorded calls, with amounts that are derived by hand."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from llmthrift_core import Thrift
from llmthrift_core.autopilot import Autopilot, AutopilotRules
from llmthrift_core.autopilot.estimates import capped, cheaper_tier, longer_life, marked_prompts, shorter_prompts
from llmthrift_core.autopilot.proposals import proposals_for
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.routing import LearnedRouter

DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
PRICES = PriceCatalog(
    overrides={
        "dear": {"input_usd_per_million": 2, "output_usd_per_million": 10},
        "cheap": {"input_usd_per_million": 1, "output_usd_per_million": 2},
    }
)


def _row(day: int, hour: float = 0, **fields: Any) -> Any:
    usual = {
        "request_id": f"{day} {hour}", "at_us": 20_000 * DAY_US + day * DAY_US + round(hour * HOUR_US), "model": "dear", "provider": None,
        "tier": "large", "cache": None, "cache_saved_nano_usd": None, "prompt_hash": None, "error": None, "escalated": 0,
        "input_tokens": 1_000, "output_tokens": 100, "reasoning_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0,
        "observed_shortening_nano_usd": None, "observed_prefix_nano_usd": None, "prefix_plan": None,
        "cost": 3_000_000, "input_cost": 2_000_000, "output_cost": 1_000_000,
    }  # fmt: skip
    return SimpleNamespace(**{**usual, **fields})


def test_a_longer_life_spares_the_calls_between_the_two() -> None:
    # Each day one question three times: at once, after half an hour (found by both) and after three hours (found by the longer one).
    rows = [_row(day, hour, prompt_hash=f"q{day}") for day in range(5) for hour in (1, 1.5, 4)]
    found = longer_life(rows, 3_600, 4 * 3_600)
    assert found is not None
    assert found.middle == 30 * 3_000_000  # one call of three a day, on each of 30 days
    assert found.low == found.high == found.middle  # all days are alike
    assert found.evidence == tuple(f"{day} 4" for day in range(5))
    assert longer_life(rows, 4 * 3_600, 5 * 3_600) is None


def test_days_that_differ_make_the_interval_wide() -> None:
    rows = [_row(day, hour, prompt_hash=f"q{day}") for day in range(6) for hour in ((1, 4) if day % 2 else (1,))]
    found = longer_life(rows, 3_600, 4 * 3_600)
    assert found is not None
    assert found.low < found.middle < found.high


def test_a_cap_spares_what_is_longer() -> None:
    # 99 answers of 100 tokens and 21 of 1,000: the median is 100, the cap 200, and 80% of what the long ones cost is spared.
    rows = [_row(day, hour / 10, output_tokens=1_000 if hour >= 33 else 100) for day in range(3) for hour in range(40)]
    found, cap = capped(rows, None, AutopilotRules(max_change=10))
    assert cap == 200
    assert found is not None
    assert found.middle == 30 * 7 * 800_000
    assert capped(rows, None, AutopilotRules(max_change=2))[1] == 500  # half of the longest, in one step
    assert capped(rows, 200, AutopilotRules(max_change=10)) == (None, None)
    assert capped(rows[:10], None, AutopilotRules()) == (None, None)


def test_the_next_tier_is_priced_with_the_same_tokens() -> None:
    rows = [_row(day, hour) for day in range(3) for hour in range(2)]
    rows += [_row(day, 5, tier="small", model="cheap", cost=1_200_000) for day in range(3)]
    rows.sort(key=lambda row: row.at_us)
    lower, found = cheaper_tier(rows, PRICES, None)
    assert lower == "small"
    assert found is not None
    # 1,000 * $1 + 100 * $2 a million instead of $0.003: 1.8 thousandths of a dollar spared, twice a day.
    assert found.middle == 30 * 2 * 1_800_000
    assert cheaper_tier(rows, PRICES, "small") == (None, None)


def test_shorter_prompts_are_estimated_as_observed() -> None:
    guessed = shorter_prompts([_row(0)])
    assert guessed is not None
    assert guessed.basis == "rule of thumb"
    rows = [_row(day, hour, observed_shortening_nano_usd=100_000) for day in range(4) for hour in range(10)]
    found = shorter_prompts(rows)
    assert found is not None
    assert (found.basis, found.middle) == ("ledger", 30 * 10 * 100_000)


def test_plans_of_the_prompt_cache_are_estimated_as_observed_and_only_where_there_are_none() -> None:
    assert marked_prompts([_row(0, input_tokens=1_000)]) is None  # too short for any provider
    guessed = marked_prompts([_row(0, input_tokens=2_000)])
    assert guessed is not None
    assert guessed.basis == "rule of thumb"
    assert guessed.middle == pytest.approx(30 * 0.3 * 2_000_000)
    seen = [_row(day, hour, input_tokens=2_000, observed_prefix_nano_usd=100_000) for day in range(4) for hour in range(10)]
    found = marked_prompts(seen)
    assert found is not None
    assert (found.basis, found.middle) == ("ledger", 30 * 10 * 100_000)
    dear = [_row(day, hour, input_tokens=2_000, observed_prefix_nano_usd=-100_000) for day in range(4) for hour in range(10)]
    assert marked_prompts(dear) is None  # observed to cost more, which no rule of thumb overrules
    assert marked_prompts([*seen, _row(5, input_tokens=2_000, prefix_plan="1,800 tokens")]) is None


def test_proposals_are_in_dollars_and_within_what_the_rules_allow() -> None:
    rows = [_row(day, hour, prompt_hash=f"q{day} {number}") for day in range(5) for hour in (1, 1.5, 4) for number in range(100)]
    rules = AutopilotRules(allow={"cache_ttl_seconds"}, max_change=4)
    (found,) = [each for each in proposals_for("support", {}, rows, prices=PRICES, rules=rules) if each.kind == "cache_ttl_seconds"]
    assert (found.before, found.after, found.saving_usd, found.standing) == (None, 14_400.0, Decimal("9.00"), "to be tried")
    assert found.how == "thrift.configurations.save('support', {**settings, 'cache_ttl_seconds': 14400.0})"
    again = proposals_for("support", {}, rows, prices=PRICES, rules=rules, given_up=[found.id])
    assert [each.standing for each in again if each.id == found.id] == ["given up before"]
    few = rows[: len(rows) // 5 * 2]  # 200 questions: a tenth of them are 20
    (shown,) = [each for each in proposals_for("support", {}, few, prices=PRICES, rules=rules) if each.kind == "cache_ttl_seconds"]
    assert (shown.id, shown.standing) == (found.id, "a canary cannot show it")
    approved = proposals_for("support", {}, few, prices=PRICES, rules=rules, approved=[found.id])
    assert [each.standing for each in approved if each.id == found.id] == ["to be tried"]
    at_the_bound = AutopilotRules(bounds={"cache_ttl_seconds": (60, 3_600)})
    assert not [each for each in proposals_for("support", {}, rows, prices=PRICES, rules=at_the_bound) if each.kind == "cache_ttl_seconds"]


def test_a_refit_that_was_saved_and_not_activated_is_proposed() -> None:
    with Thrift(":memory:") as thrift:
        router = LearnedRouter({"weak": 0.6, "strong": 12.0})
        thrift.routers.save(router, name="support")
        assert not [each for each in Autopilot(thrift).status().proposals if each.kind == "router_refit"]
        thrift.routers.store.add("support", router.to_bytes(), note="loses nothing", activate=False)
        (found,) = [each for each in Autopilot(thrift).status().proposals if each.kind == "router_refit"]
        assert (found.before, found.after, found.risk_is) == (1, 2, "loses nothing")
        assert found.standing == "not applicable by itself"


@pytest.mark.parametrize("rows", [[], [_row(0, error="RateLimitError", cost=None)]])
def test_nothing_is_proposed_from_nothing(rows: list[Any]) -> None:
    kinds = {each.kind for each in proposals_for("support", {}, rows, prices=PRICES, rules=AutopilotRules())} if rows else set()
    assert kinds <= {"shorten"}
