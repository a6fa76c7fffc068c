"""A cascade in a `RouterLLM`: the same rows as through LangChain's router."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI

from llmthrift_core import Thrift
from llmthrift_core.routing import Cascade, CascadePolicy, Example
from llmthrift_core.testing import LoopbackProvider
from llmthrift_llamaindex import RouterLLM, thrifty
from tests.langchain.test_cascade import EASY, GOOD, HARD, REFUSED, answer, attempts
from tests.llamaindex.conftest import _ASYNC_CLIENT, run

pytestmark = pytest.mark.loopback
ESCALATED = [("weak", None, None), ("strong", "escalation", None)]


@pytest.fixture
def models() -> Iterator[dict[str, OpenAI]]:
    with LoopbackProvider(answer) as provider:
        given = {"api_base": provider.openai_url, "api_key": "no key", "max_retries": 0, "async_http_client": _ASYNC_CLIENT}
        extra = {"stream_options": {"include_usage": True}}
        yield {
            "weak": OpenAI(model="gpt-4o-mini", additional_kwargs=extra, **given),
            "strong": OpenAI(model="gpt-4o", additional_kwargs=extra, **given),
        }


def test_only_answers_that_are_not_good_enough_are_escalated(thrift: Thrift, models):
    llm = RouterLLM(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert llm.complete(EASY).text == GOOD
    assert llm.chat([ChatMessage(HARD)]).message.content == GOOD
    assert run(llm.achat([ChatMessage(HARD)])).message.content == GOOD
    assert attempts(thrift) == [("weak", None, None), *ESCALATED, *ESCALATED]
    kept, rejected, asked = sorted(thrift.ledger.calls(), key=lambda row: (row.at_us, row.attempt))[:3]
    assert (kept.tier, kept.confidence, kept.escalated, kept.rejected) == ("weak", pytest.approx(0.85), False, ())
    assert (rejected.tier, rejected.escalated) == ("weak", True)
    assert rejected.confidence < 0.7
    assert (asked.tier, asked.confidence, asked.escalated) == ("strong", None, False)
    assert asked.rejected == (("weak", asked.route_reason),)
    total = thrift.report().total
    assert (total["routed"], total["escalated"], total["escalation_rate"]) == (3, 2, pytest.approx(2 / 3))


def test_held_streams_show_only_the_answer_that_is_kept(thrift: Thrift, models):
    llm = RouterLLM(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    assert "".join(piece.delta or "" for piece in llm.stream_chat([ChatMessage(HARD)])) == GOOD

    async def read() -> str:
        return "".join([piece.delta or "" async for piece in await llm.astream_complete(HARD)])

    assert run(read()) == GOOD
    assert attempts(thrift) == [*ESCALATED, *ESCALATED]


def test_passed_streams_are_only_noted(thrift: Thrift, models):
    policy = CascadePolicy(Cascade(["weak", "strong"]), stream="pass")
    llm = RouterLLM(thrift, models=models, policy=policy, cache=False)
    assert "".join(piece.delta or "" for piece in llm.stream_chat([ChatMessage(HARD)])) == REFUSED
    assert attempts(thrift) == [("weak", None, None)]
    (row,) = thrift.ledger.calls()
    assert "was streamed" in row.route_reason
    assert (row.tier, row.escalated) == ("weak", False)
    assert row.confidence < 0.7


def test_the_kept_answer_is_cached(thrift: Thrift, models):
    llm = RouterLLM(thrift, models=models, policy=Cascade(["weak", "strong"]))
    assert llm.complete(HARD).text == llm.complete(HARD).text == GOOD
    assert attempts(thrift) == [*ESCALATED, ("strong", None, "exact")]
    hit = next(row for row in thrift.ledger.calls() if row.cache)
    assert (hit.tier, hit.confidence, hit.escalated, hit.route_reason) == (None, None, False, None)


def test_plain_calls_have_no_tier_and_tools_are_not_reviewed(thrift: Thrift, models):
    def look(number: int) -> str:
        """Look something up."""
        return str(number)

    thrifty(models["weak"], thrift, cache=False).complete(EASY)
    llm = RouterLLM(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
    llm.chat_with_tools([FunctionTool.from_defaults(look)], user_msg=HARD)
    rows = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)
    assert [(row.tier, row.confidence, row.escalated) for row in rows] == [(None, None, False), ("weak", None, False)]


def test_a_cascades_opinion_becomes_an_example_and_feedback_is_about_the_kept_answer(tmp_path, models):
    with Thrift(tmp_path / "texts.db", capture="text") as thrift:
        llm = RouterLLM(thrift, models=models, policy=Cascade(["weak", "strong"]), cache=False)
        run(llm.achat([ChatMessage(HARD)]))
        first = min(thrift.ledger.calls(), key=lambda row: row.attempt)
        thrift.feedback(first.request_id, quality=1, source="user")
        assert thrift.examples() == [Example(HARD, "strong", 1.0, answer=GOOD, answer_tokens=5)]
        found = thrift.examples(escalations=True)
        assert [(each.model, each.answer) for each in found] == [("strong", GOOD), ("weak", REFUSED)]
        assert found[1].quality == pytest.approx(first.confidence)
        assert found.models == {"weak": "gpt-4o-mini-2024-07-18", "strong": "gpt-4o-2024-08-06"}
