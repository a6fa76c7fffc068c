"""Reasons for which a prompt was not read from the cache, each with the dollars that it cost."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from llmthrift_core import Usage
from llmthrift_core.prompt_caching import CacheTerms, SentPrompt, explain_miss

TERMS = CacheTerms(write=1.25, read=0.1, ttl_seconds=300, min_tokens=1024)
BEFORE = SentPrompt(
    tools=[("search", 2000), ("send", 1000)],
    system=[("rules", 4000)],
    history=[("question", 500), ("answer", 300), ("result", 6000)],
    model="claude-sonnet-4-5",
    at_seconds=0.0,
)
NEXT = replace(BEFORE, history=[*BEFORE.history, ("question 2", 200)], at_seconds=60.0)
PRICE = Decimal(3)


def explain(present, read=0, written=0, previous=BEFORE, terms=TERMS):
    usage = Usage(present.tokens, 10, cache_read_tokens=read, cache_write_tokens=written)
    return explain_miss(previous, present, usage, terms=terms, input_usd_per_million=PRICE)


def test_a_prompt_that_was_read_as_far_as_it_could_be_has_no_miss():
    assert explain(NEXT, read=13_800) is None
    assert explain(NEXT, read=13_700) is None, "a provider that reads in whole units"


@pytest.mark.parametrize(
    ("change", "reason", "lost"),
    [
        ({"tools": [("send", 1000), ("search", 2000)]}, "tools changed", 13_800),
        ({"tools": [("search", 2000)]}, "tools changed", 12_800),
        ({"system": [("date", 10), ("rules", 4000)]}, "system changed", 13_800),
        ({"history": [("question", 500), ("another answer", 300), ("result", 6000), ("more", 400)]}, "history edited", 13_500),
        ({"history": [("summary", 400), ("result", 6000)]}, "history compressed", 13_000),
        ({"model": "claude-opus-5"}, "model changed", 13_800),
        ({"tier": "priority"}, "tier changed", 13_800),
        ({"at_seconds": 301.0}, "expired", 13_800),
        ({"at_seconds": 299.0}, "not kept", 13_800),
        ({"at_seconds": None}, "not kept", 13_800),
    ],
)
def test_the_first_change_is_the_reason(change, reason, lost):
    miss = explain(replace(NEXT, **change))
    assert (miss.reason, miss.lost_tokens) == (reason, lost)
    assert miss.lost_usd == Decimal(lost) * Decimal("0.9") * PRICE / 1_000_000
    assert reason in miss.explanation
    assert f"{lost:,}" in miss.explanation


def test_what_was_written_again_cost_more_than_what_was_only_sent():
    miss = explain(replace(NEXT, system=[("new rules", 4000)]), written=14_000)
    # 9,800 tokens came again; written at 1.25 instead of read at 0.1
    assert miss.lost_tokens == 9_800
    assert miss.lost_usd == Decimal("9800") * Decimal("1.15") * 3 / 1_000_000


def test_what_stood_before_the_change_and_was_read_is_not_lost():
    miss = explain(replace(NEXT, system=[("new rules", 4000)]), read=3_000)
    assert miss.lost_tokens == 6_800


def test_a_first_prompt_was_never_seen_and_lost_nothing():
    miss = explain(NEXT, previous=None)
    assert (miss.reason, miss.lost_tokens, miss.lost_usd) == ("never seen", 0, 0)
    assert explain(NEXT, previous=None, read=7000) is None, "read from another conversation"


def test_a_short_prompt_lost_nothing():
    short = SentPrompt(system=[("rules", 500)], history=[("a", 100)], at_seconds=0.0)
    miss = explain(replace(short, history=[("b", 100)], at_seconds=1.0), previous=short)
    assert (miss.reason, miss.lost_tokens) == ("too short", 0)


def test_without_a_price_the_dollars_are_unknown():
    miss = explain_miss(BEFORE, replace(NEXT, at_seconds=900.0), Usage(14_000, 1), terms=TERMS)
    assert miss.lost_usd is None
    assert miss.lost_tokens == 13_800


def test_prompts_that_share_nothing_lose_nothing():
    other = SentPrompt(system=[("others", 5000)], history=[("z", 100)], model=BEFORE.model, at_seconds=10.0)
    miss = explain(replace(other, tools=BEFORE.tools), read=3000)
    assert miss is None
