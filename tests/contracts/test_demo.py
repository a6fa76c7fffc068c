"""The demonstration of each framework runs, adds up, and answers mostly rightly."""

from __future__ import annotations

import io
from decimal import Decimal
from types import ModuleType

import pytest
from rich.console import Console

from llmthrift_core import Thrift
from llmthrift_core.demo import Workload, learning, load_workload, show
from llmthrift_core.demo.learning import learned
from llmthrift_langchain import demo as langchain
from llmthrift_llamaindex import demo as llamaindex

pytestmark = pytest.mark.loopback


@pytest.fixture(params=[langchain, llamaindex], ids=["langchain", "llamaindex"])
def demo(request: pytest.FixtureRequest) -> ModuleType:
    found: ModuleType = request.param
    return found


def test_both_runs_over_part_of_the_workload(tmp_path, demo):
    workload = load_workload().first(80)
    with demo._provider(live=False) as (client, provider):
        assert provider is not None
        provider.latency_seconds = None
        with Thrift(tmp_path / "bare.db") as plain, Thrift(tmp_path / "with.db") as thrift:
            bare = demo.run_bare(plain, client, workload)
            thrifty = demo.run_with_llmthrift(thrift, client, workload)
        asked = len(provider.requests)
    assert bare.wrong == []
    assert len(thrifty.wrong) <= 0.1 * len(workload)
    assert bare.calls == thrifty.calls >= len(workload)
    assert asked == bare.calls + thrifty.calls - thrifty.cache_hits
    assert thrifty.cost_usd < bare.cost_usd / 2
    # What was spent and what was saved make up the bare bill, but for shorter answers of the cheap model to hard questions.
    total = thrifty.cost_usd + thrifty.saved_by_cache_usd + thrifty.saved_by_routing_usd
    assert Decimal("0.9") < total / bare.cost_usd < Decimal("1.1")
    assert {item.feature for item in workload.items} == {"support", "analytics"}


def test_the_whole_workload_with_answers_by_meaning_and_shorter_prompts(tmp_path, demo):
    workload = load_workload()
    with demo._provider(live=False) as (client, provider), Thrift(tmp_path / "shorter.db") as thrift:
        assert provider is not None
        provider.latency_seconds = None
        outcome = demo.run_with_shorter_prompts(thrift, client, workload)
        rows = thrift.ledger.calls()
    assert outcome.semantic_hits > 0
    assert {row.cache for row in rows} == {"exact", "semantic", None}
    assert len(outcome.wrong) <= 0.05 * len(workload)
    assert outcome.belief.startswith("learning: ")
    assert "would have served" in outcome.belief
    # Every support prompt is shorter, and together they are less than half as long.
    sent = [row for row in rows if row.cache is None and row.feature == "support"]
    assert all(row.shortened_tokens > 0 for row in sent)
    assert sum(row.shortened_tokens for row in sent) > sum(row.input_tokens for row in sent) > 0
    assert outcome.saved_by_shortening_usd > 0


def test_learned_routing_makes_no_more_errors_than_the_heuristic(tmp_path, demo):
    items = load_workload(repeated_share=0.0).items
    sample, rest = Workload(items[::2]), Workload(items[1::2])
    with demo._provider(live=False) as (client, provider):
        assert provider is not None
        provider.latency_seconds = None

        def routed(thrift, workload, advance=lambda: None, policy=None):
            return demo.run_routed(thrift, client, workload, advance, policy)

        with Thrift(tmp_path / "sample.db") as thrift:
            router = learned(thrift, routed, sample)
        with Thrift(tmp_path / "learned.db") as thrift:
            by_learning = routed(thrift, rest, policy=router)
            reasons = [row.route_reason for row in thrift.ledger.calls()]
        with Thrift(tmp_path / "complexity.db") as thrift:
            by_complexity = routed(thrift, rest)
    assert len(by_learning.wrong) <= len(by_complexity.wrong)
    assert by_learning.models["gpt-4o-mini-2024-07-18"] > len(rest) / 3
    assert not any("has no examples" in reason for reason in reasons)  # the routed requests come from the call sites of the sample


def test_its_tables(monkeypatch, demo):
    monkeypatch.setattr(demo, "LATENCY_SECONDS", dict.fromkeys(demo.MODELS.values(), 0.0))
    for tables in (show, learning):  # a part of each workload: the tests above run the whole ones
        monkeypatch.setattr(tables, "load_workload", lambda **options: load_workload(**options).first(60))
    written = io.StringIO()
    demo.run(Console(file=written, width=120), requests=20, repeated_shares=(0.0,))
    tables = (
        "The same workload, four times",
        "cheaper by",
        "saved by routing",
        "saved by shorter prompts",
        "How the saving depends on repetition",
        "0%",
        "by three policies",
    )
    for expected in (*tables, "by meaning", "learning: "):
        assert expected in written.getvalue()
