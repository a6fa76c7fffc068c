"""A cascade in the chat router: the cheap model answers first, and a stronger one where its answer is not good enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from llmthrift_core import Budget, Thrift
from llmthrift_core.routing import Bounded, Bounds, Cascade, CascadePolicy, Sticky
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_langchain import ChatRouter

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
        yield {"weak": ChatOpenAI(model="gpt-4o-mini", **given), "strong": ChatOpenAI(model="gpt-4o", **given)}


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
    reason = thrift.ledger.calls()[-1].route_reason or thrift.ledger.calls()[0].route_reason
    assert reason is not None
    escalated = next(each for each in thrift.ledger.calls() if each.attempt_reason == "escalation")
    assert "confidence" in escalated.route_reason
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


def test_the_kept_answer_is_cached(thrift, models):
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=True)
    assert router.invoke(HARD).content == router.invoke(HARD).content == GOOD
    assert attempts(thrift) == [("weak", None, None), ("strong", "escalation", None), ("strong", None, "exact")]


def test_calls_of_tools_are_kept(thrift, models):
    @tool
    def look(number: int) -> str:
        """Look something up."""
        return str(number)

    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.bind_tools([look]).invoke(HARD).tool_calls[0]["name"] == "look"
    assert attempts(thrift) == [("weak", None, None)]


def test_the_answer_is_kept_where_no_budget_has_room_for_another(thrift, models):
    thrift.budgets.add(Budget(limit_tokens=5_000, window="day"))
    models["strong"].max_tokens = 6_000
    models["weak"].max_tokens = 1_000
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.invoke(HARD).content == REFUSED
    assert attempts(thrift) == [("weak", None, None)]
    (row,) = thrift.ledger.calls()
    assert "no room" in row.route_reason
    assert thrift.budgets.holds() == []


def test_observe_mode_escalates_nothing(thrift, models, monkeypatch):
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    router = ChatRouter(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.invoke(HARD).content == GOOD  # from the model that would answer without routing
    assert attempts(thrift) == [("strong", None, None)]


def test_more_than_three_in_ten_escalations_are_reported(caplog):
    from llmthrift_core.routing import RouteRequest, Tiers

    policy, tiers = CascadePolicy(Cascade(["weak", "strong"])), Tiers(("weak", "strong"))
    for number in range(120):
        policy.review(RouteRequest(EASY), "weak", REFUSED if number % 3 == 0 else GOOD, tiers)
    assert caplog.text.count("were escalated") == 1
    assert policy.review(RouteRequest(EASY), "strong", REFUSED, tiers) is None
    assert policy.decide(RouteRequest(EASY), Tiers(("other",))).tier == "other"


def test_policies_around_a_cascade_let_it_review(thrift, models):
    names = {"weak": "gpt-4o-mini", "strong": "gpt-4o"}
    policy = Bounded(Sticky(Cascade(["weak", "strong"]), names, catalog=thrift.prices), Bounds({}))
    router = ChatRouter(thrift, models=models, policy=policy, cache=False)
    assert "".join(str(chunk.content) for chunk in router.stream(HARD)) == GOOD
    assert attempts(thrift) == [("weak", None, None), ("strong", "escalation", None)]
