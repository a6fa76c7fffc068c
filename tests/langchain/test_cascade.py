"""A cascade in the chat router: the cheap model answers first, and a stronger one where its answer is not good enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from llmthrift_core import Budget, Thrift
from llmthrift_core.routing import Bounded, Bounds, Cascade, CascadePolicy, Example, Review, Rules, Sticky
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_langchain import ChatRouter, thrifty

pytestmark = pytest.mark.loopback

REFUSED, GOOD = "I'm sorry, but I cannot help with that.", "12 * 12 = 144"
HARD, EASY = "What is 12 * 12, hard?", "What is 12 * 12?"


def answer(question: Question) -> Answer:
    """The cheap model refuses what is hard; both use the tool where it is offered."""
    if question.tools and not question.follows_tool:
        return Answer(tool_calls=(ToolCall("look", {"number": 1}),))
    return Answer(REFUSED if question.model == "gpt-4o-mini" and "hard" in question.last_user_text else GOOD)


@pytest.fixture
def models() -> Iterator[dict[str, ChatOpenAI]]:
    with LoopbackProvider(answer) as provider:
        given = {"base_url": provider.openai_url, "api_key": "no key", "stream_usage": True, "max_retries": 0}
        yield {tier: ChatOpenAI(model=name, **given) for tier, name in (("weak", "gpt-4o-mini"), ("strong", "gpt-4o"))}


def attempts(thrift: Thrift) -> list[tuple[str, str | None, str | None]]:
    thrift.flush()
    found = sorted(thrift.ledger.calls(), key=lambda row: (row.at_us, row.attempt))
    return [("weak" if "mini" in row.model else "strong", row.attempt_reason, row.cache) for row in found]


async def test_only_answers_that_are_not_good_enough_are_escalated(thrift, models):
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.invoke(EASY).content == GOOD
    assert router.invoke(HARD).content == GOOD
    assert (await router.ainvoke(HARD)).content == GOOD
    assert attempts(thrift) == [("weak", None, None), *[("weak", None, None), ("strong", "escalation", None)] * 2]
    row = thrift.report(by="model").total
    assert (row["requests"], row["attempts"]) == (3, 5)
    kept, rejected, asked = sorted(thrift.ledger.calls(), key=lambda each: (each.at_us, each.attempt))[:3]
    # Nothing objects to a good answer, and a refusal scores 0.1 or less of that.
    assert (kept.tier, kept.confidence, kept.escalated, kept.rejected) == ("weak", pytest.approx(0.85), False, ())
    assert (rejected.tier, rejected.escalated) == ("weak", True)
    assert rejected.confidence < 0.7
    assert (asked.tier, asked.confidence, asked.escalated) == ("strong", None, False)  # nobody is left to ask
    assert "confidence" in asked.route_reason
    assert asked.rejected == (("weak", asked.route_reason),)
    assert router.routing.escalation_rate == pytest.approx(2 / 3)


async def test_a_held_stream_shows_only_the_answer_that_is_kept(thrift, models):
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert "".join(str(chunk.content) for chunk in router.stream(HARD)) == GOOD
    assert "".join([str(chunk.content) async for chunk in router.astream(HARD)]) == GOOD
    assert attempts(thrift) == [("weak", None, None), ("strong", "escalation", None)] * 2


def test_a_passed_stream_is_only_noted(thrift, models):
    policy = CascadePolicy(Cascade(["weak", "strong"]), stream="pass")
    router = ChatRouter(thrift, models=models, policy=policy, cache=False)
    assert "".join(str(chunk.content) for chunk in router.stream(HARD)) == REFUSED
    assert attempts(thrift) == [("weak", None, None)]
    (row,) = thrift.ledger.calls()
    assert "was streamed" in row.route_reason
    assert row.confidence < 0.7
    assert not row.escalated
    assert thrift.report().total["escalation_rate"] == 0


def test_the_kept_answer_is_cached(thrift, models):
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=True)
    assert router.invoke(HARD).content == router.invoke(HARD).content == GOOD
    assert attempts(thrift) == [("weak", None, None), ("strong", "escalation", None), ("strong", None, "exact")]
    hit = next(row for row in thrift.ledger.calls() if row.cache)
    assert (hit.tier, hit.confidence, hit.escalated, hit.route_reason) == (None, None, False, None)
    assert thrift.report().total["escalation_rate"] == 1  # of the one request that was routed


def test_calls_of_tools_are_kept(thrift, models):
    @tool
    def look(number: int) -> str:
        """Look something up."""
        return str(number)

    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.bind_tools([look]).invoke(HARD).tool_calls[0]["name"] == "look"
    assert attempts(thrift) == [("weak", None, None)]
    assert [(row.tier, row.confidence) for row in thrift.ledger.calls()] == [("weak", None)]  # nobody reviewed it


def test_the_answer_is_kept_where_no_budget_has_room_for_another(thrift, models):
    thrift.budgets.add(Budget(limit_tokens=5_000, window="day"))
    models["strong"].max_tokens = 6_000
    models["weak"].max_tokens = 1_000
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.invoke(HARD).content == REFUSED
    assert attempts(thrift) == [("weak", None, None)]
    (row,) = thrift.ledger.calls()
    assert "no room" in row.route_reason
    assert (row.tier, row.escalated) == ("weak", False)
    assert row.confidence < 0.7
    assert thrift.budgets.holds() == []


def test_observe_mode_escalates_nothing(thrift, models, monkeypatch):
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.invoke(HARD).content == GOOD  # from the model that would answer without routing
    assert attempts(thrift) == [("strong", None, None)]


def test_what_rejected_answers_cost_is_said(thrift, models):
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    for question in (EASY, EASY, EASY, HARD):
        router.invoke(question)
    weak, strong = sorted(thrift.report(by="model"), key=lambda row: row["model"], reverse=True)
    assert [(row["routed"], row["escalated"], row["escalations"]) for row in (weak, strong)] == [(4, 1, 0), (0, 0, 1)]
    assert (weak["escalation_rate"], strong["escalation_rate"]) == (0.25, None)
    assert re.search(r"escalated +escalation rate", str(thrift.report()))
    (rejected,) = [row for row in thrift.ledger.calls() if row.escalated]
    savings = thrift.savings()
    assert (savings.escalated, savings.escalated_cost_usd) == (1, rejected.cost_usd)
    assert rejected.cost_usd > 0
    assert "spent on 1 answer that cascades rejected" in str(savings)
    # What the rejected answer cost is no saving: the kept ones are compared with the strong model, and it is taken off.
    kept = [row for row in thrift.ledger.calls() if not row.escalated]
    assert savings.routing_saved_usd == sum(row.routing_saved_usd for row in kept) - rejected.cost_usd


def test_a_router_without_a_cascade_escalates_nothing(thrift, models):
    ChatRouter(thrift, models=models, policy=lambda request: "strong", cache=False).invoke(HARD)
    thrifty(models["weak"], thrift, cache=False).invoke(EASY)
    plain, routed = sorted(thrift.ledger.calls(), key=lambda row: row.model, reverse=True)
    assert (plain.tier, plain.confidence, plain.rejected, plain.route_reason) == (None, None, (), None)
    assert (routed.tier, routed.confidence, routed.escalated) == ("strong", None, False)
    assert "escalat" not in str(thrift.report())
    assert "rejected" not in str(thrift.savings())


async def test_feedback_is_about_the_answer_that_the_caller_got(tmp_path, models):
    with Thrift(tmp_path / "texts.db", capture="text") as thrift:
        router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
        easy, hard = uuid4(), uuid4()
        router.invoke(EASY, {"run_id": easy})
        await router.ainvoke(HARD, {"run_id": hard})
        assert thrift.examples() == []
        thrift.feedback(str(hard), quality=1, source="user")
        assert thrift.examples() == [Example(HARD, "strong", 1.0, call_site=None, answer=GOOD, answer_tokens=5)]
        found = {(each.prompt, each.model): each for each in thrift.examples(escalations=True)}
        assert found.keys() == {(EASY, "weak"), (HARD, "weak"), (HARD, "strong")}
        assert found[EASY, "weak"].quality == pytest.approx(0.85)
        assert found[HARD, "weak"].quality < 0.7
        assert found[HARD, "weak"].answer == REFUSED
        thrift.feedback(str(easy), quality=0, source="user")  # wins over the cascade
        found = {(each.prompt, each.model): each for each in thrift.examples(escalations=True)}
        assert (len(found), found[EASY, "weak"].quality) == (3, 0.0)
        assert {row.value: row.quality.estimate for row in thrift.quality(by="model").rows} == {
            "gpt-4o-mini-2024-07-18": 0,
            "gpt-4o-2024-08-06": 1,
        }


def test_two_tiers_of_one_model_are_told_apart(tmp_path, models):
    same = {"brief": models["weak"], "thorough": models["weak"].model_copy(update={"temperature": 0.2})}
    with Thrift(tmp_path / "texts.db", capture="text") as thrift:
        for tier in same:
            run_id = uuid4()
            ChatRouter(thrift, models=same, policy=lambda request, tier=tier: tier, cache=False).invoke(EASY, {"run_id": run_id})
            thrift.feedback(str(run_id), quality=float(tier == "thorough"))
        for names in (None, {"brief": "gpt-4o-mini", "thorough": "gpt-4o-mini"}, {"brief": 0.6, "thorough": 1.2}):
            found = thrift.examples(models=names)
            assert {(each.model, each.quality) for each in found} == {("brief", 0.0), ("thorough", 1.0)}
            assert found.skipped == {}


def test_more_than_three_in_ten_escalations_are_reported(caplog):
    from llmthrift_core.routing import RouteRequest, Tiers

    policy, tiers = CascadePolicy(Cascade(["weak", "strong"])), Tiers(("weak", "strong"))
    for number in range(120):
        policy.review(RouteRequest(EASY), "weak", REFUSED if number % 3 == 0 else GOOD, tiers)
    assert caplog.text.count("were escalated") == 1
    assert policy.review(RouteRequest(EASY), "strong", REFUSED, tiers) is None
    assert policy.review(RouteRequest(EASY), "weak", GOOD, tiers) == Review(pytest.approx(0.85), None)
    assert policy.decide(RouteRequest(EASY), Tiers(("other",))).tier == "other"


def test_policies_around_a_cascade_let_it_review(thrift, models):
    names = {"weak": "gpt-4o-mini", "strong": "gpt-4o"}
    policy = Rules([], default=Bounded(Sticky(Cascade(["weak", "strong"]), names, catalog=thrift.prices), Bounds({})))
    router = ChatRouter(thrift, models=models, policy=policy, cache=False)
    assert "".join(str(chunk.content) for chunk in router.stream(HARD)) == GOOD
    assert attempts(thrift) == [("weak", None, None), ("strong", "escalation", None)]
