"""A chat router that follows the feedback in the ledger: to a cheap model that is good enough, away from it, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from llmthrift_core import Budget, Thrift, Usage, attribute
from llmthrift_core.errors import UnknownCallError
from llmthrift_core.routing import Adaptive, RatedComplexity, RouteDecision, RouteRequest, Tiers
from llmthrift_core.testing import Answer, LoopbackProvider, Question
from llmthrift_langchain import ChatRouter, thrifty
from tests.core.clock import Clock

pytestmark = pytest.mark.loopback
MODELS = {"small": "gpt-4.1-nano", "large": "gpt-4.1"}


@pytest.fixture
def clock() -> Clock:
    return Clock(1_700_006_400.0)  # midnight UTC: one day holds the test


@pytest.fixture
def thrift(tmp_path: Path, clock: Clock) -> Iterator[Thrift]:
    with Thrift(tmp_path / "ledger.db", clock=clock) as opened:
        yield opened


class Shop:
    """Users who say whether an answer was right, of models of which the small one may get worse."""

    def __init__(self, router: ChatRouter, thrift: Thrift, provider: LoopbackProvider, clock: Clock) -> None:
        self.router, self.thrift, self.provider, self.clock = router, thrift, provider, clock
        self.small_is_well = True
        provider.answerer = lambda question: Answer("right" if self.small_is_well or question.model == "gpt-4.1" else "wrong")

    def serve(self, count: int, policy: Adaptive) -> Counter[str]:
        """Which models answered so many questions, each of which is judged."""
        before = len(self.provider.requests)
        for number in range(count):
            run_id = uuid4()
            with attribute(call_site="support"):
                answer = self.router.invoke(f"Question {before + number}?", config={"run_id": run_id})
            self.thrift.feedback(str(run_id), quality=float(answer.content == "right"))
            with pytest.raises(UnknownCallError):
                self.thrift.feedback("a call that nobody made", quality=0.0)
            self.clock.now += 60
            if number % 10 == 9:
                policy.scores.refresh()
        return Counter(request.body["model"] for request in self.provider.requests[before:])


def test_a_model_that_is_good_enough_is_found_left_when_it_gets_worse_and_taken_back(thrift, client, provider, clock):
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=0.5, half_life_days=0.1, seed=3, refresh_seconds=1e6)
    router = ChatRouter(thrift, models={tier: client(name) for tier, name in MODELS.items()}, policy=policy, cache=False)
    shop = Shop(router, thrift, provider, clock)
    shop.serve(80, policy)
    assert shop.serve(20, policy)["gpt-4.1-nano"] >= 15
    shop.small_is_well = False
    shop.serve(60, policy)
    assert shop.serve(20, policy)["gpt-4.1"] >= 15
    shop.small_is_well = True
    shop.serve(260, policy)
    assert shop.serve(20, policy)["gpt-4.1-nano"] >= 15
    (explored,) = [row for row in thrift.report(by="llmthrift.routing").to_dicts() if row["llmthrift.routing"] == "explored"]
    assert explored["requests"] == thrift.health()["routing"][0]["explored"]
    (budget,) = thrift.budgets.status()
    assert float(budget["spent"]) == pytest.approx(float(explored["cost_usd"]), rel=0.2)
    reasons = [row.route_reason for row in thrift.ledger.calls() if row.tags and "explored" in row.tags]
    assert all(reason.startswith("explored: could be worth") for reason in reasons)


async def test_an_async_call_explores_too(thrift, client, provider, clock):
    for _ in range(30):
        thrift.feedback(thrift.ledger.record("gpt-4.1", Usage(input_tokens=9, output_tokens=9)), quality=1.0)
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=1.0)
    router = ChatRouter(thrift, models={tier: client(name) for tier, name in MODELS.items()}, policy=policy, cache=False)
    await router.ainvoke("Hello?")
    assert [request.body["model"] for request in provider.requests] == ["gpt-4.1-nano"]


def test_the_ledger_is_gone_and_calls_go_on(thrift, client, provider, clock):
    for model in MODELS.values():
        for _ in range(60):
            thrift.feedback(thrift.ledger.record(model, Usage(input_tokens=9, output_tokens=9)), quality=1.0)
    policy = Adaptive(thrift, MODELS, refresh_seconds=1)
    router = ChatRouter(thrift, models={tier: client(name) for tier, name in MODELS.items()}, policy=policy, cache=False)
    with thrift.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE llmthrift_feedback")
    for _ in range(5):
        clock.now += 10
        assert router.invoke("Hello?").response_metadata["model_name"].startswith("gpt-4.1-nano")


def test_a_budget_that_takes_another_tier_leaves_no_mark(thrift, client):
    class Explorer:
        version = "1"

        def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
            return RouteDecision("large", "explored", explored=True)

    models = {tier: client(name, max_tokens=1_000) for tier, name in MODELS.items()}
    router = ChatRouter(thrift, models=models, policy=Explorer(), cache=False)
    router.invoke("Hello?")
    thrift.budgets.add(Budget(limit_usd="0.004", on_exceed="downgrade"))
    router.invoke("Hello?")
    thrift.flush()
    rows = {row.model.removesuffix("-2025-04-14"): row.tags for row in thrift.ledger.calls()}
    assert "llmthrift.routing" in rows["gpt-4.1"]
    assert not rows["gpt-4.1-nano"]


def test_ratings_are_asked_once_for_all_processes_and_metered(thrift, client, provider):
    def answer(question: Question) -> Answer | None:
        return Answer("9") if question.model == "gpt-4o-mini" else None

    provider.answerer = answer
    for _ in range(2):  # as two processes
        rating = RatedComplexity(thrifty(client("gpt-4o-mini"), thrift), thrift=thrift)
        router = ChatRouter(thrift, models={tier: client(name) for tier, name in MODELS.items()}, policy=rating, cache=False)
        assert router.invoke("Hello?").response_metadata["model_name"].startswith("gpt-4.1-2025")
    assert [request.body["model"] for request in provider.requests] == ["gpt-4o-mini", "gpt-4.1", "gpt-4.1"]
    by_type = {row["request_type"]: row for row in thrift.report(by="request_type").to_dicts()}
    assert by_type["routing"]["requests"] == 1
    assert by_type["routing"]["cost_usd"] > 0
