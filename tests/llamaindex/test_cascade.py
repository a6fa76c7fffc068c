"""A cascade in a `RouterLLM`: the same rows as through LangChain's router."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

from llmthrift_core import Thrift
from llmthrift_core.routing import Cascade, CascadePolicy
from llmthrift_core.testing import LoopbackProvider
from llmthrift_llamaindex import RouterLLM
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


def test_the_kept_answer_is_cached(thrift: Thrift, models):
    llm = RouterLLM(thrift, models=models, policy=Cascade(["weak", "strong"]))
    assert llm.complete(HARD).text == llm.complete(HARD).text == GOOD
    assert attempts(thrift) == [*ESCALATED, ("strong", None, "exact")]
