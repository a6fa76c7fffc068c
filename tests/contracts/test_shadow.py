"""Live traffic of both frameworks, whole and streamed, sync and async, reaches a shadow evaluation, and nothing of it a caller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

import llmthrift_langchain
import llmthrift_llamaindex
from llmthrift_core import Thrift
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.quality import PairwiseJudge, ShadowEvaluation
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Question

JUDGE = "gpt-4.1"
SYSTEM = "You   are    a    guide,   and   in order to   help   you   answer   in   short."


def answered(question: Question) -> str:
    if question.model == JUDGE:
        return f"{question.last_user_text.split()[-1]} tie"
    return "Here is the small model's." if question.model == "gpt-4o-mini" else "It was built in 1911."


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:") as opened:
        yield opened


def langchain(thrift: Thrift, url: str, how: str) -> ShadowEvaluation:
    def model(name: str) -> ChatOpenAI:
        return ChatOpenAI(model=name, base_url=url, api_key="none", max_retries=0, stream_usage=True)

    thrifty = llmthrift_langchain.thrifty
    configurations = {
        "smaller": thrifty(model("gpt-4o-mini"), thrift, cache=False),
        "shorter": thrifty(model("gpt-4o"), thrift, cache=False, shorten=Shorten([steps.Whitespace(), steps.Phrases()])),
    }
    shadow = ShadowEvaluation(thrift, configurations, PairwiseJudge(thrifty(model(JUDGE), thrift, cache=False)), sample=1)
    config: Any = {"callbacks": [llmthrift_langchain.ShadowHandler(shadow)]}
    messages = [SystemMessage(SYSTEM), HumanMessage("When was the bridge built?")]
    live = thrifty(model("gpt-4o"), thrift, cache=False)
    match how:
        case "invoke":
            assert live.invoke(messages, config).content == "It was built in 1911."
        case "stream":
            assert "".join(str(piece.content) for piece in live.stream(messages, config)) == "It was built in 1911."
        case "async":
            asyncio.run(live.ainvoke(messages, config))
        case _:
            model("gpt-4o").invoke(messages, config)
    return shadow


def llamaindex(thrift: Thrift, url: str, how: str) -> ShadowEvaluation:
    def model(name: str) -> OpenAI:
        options = {"stream_options": {"include_usage": True}} if how == "stream" and name == "gpt-4o" else {}
        return OpenAI(model=name, api_base=url, api_key="none", max_retries=0, additional_kwargs=options)

    thrifty = llmthrift_llamaindex.thrifty
    configurations = {
        "smaller": thrifty(model("gpt-4o-mini"), thrift, cache=False),
        "shorter": thrifty(
            OpenAI(model="gpt-4o", api_base=url, api_key="none", max_retries=0),
            thrift,
            cache=False,
            shorten=Shorten([steps.Whitespace(), steps.Phrases()]),
        ),
    }
    shadow = ShadowEvaluation(thrift, configurations, PairwiseJudge(thrifty(model(JUDGE), thrift, cache=False)), sample=1)
    messages = [ChatMessage(role="system", content=SYSTEM), ChatMessage(role="user", content="When was the bridge built?")]
    live = thrifty(model("gpt-4o"), thrift, cache=False)
    with llmthrift_llamaindex.ShadowEventHandler(shadow):
        match how:
            case "invoke":
                assert live.chat(messages).message.content == "It was built in 1911."
            case "stream":
                assert list(live.stream_chat(messages))[-1].message.content == "It was built in 1911."
            case "async":
                asyncio.run(live.achat(messages))
            case _:
                model("gpt-4o").chat(messages)
        assert shadow.flush()
    return shadow


@pytest.mark.loopback
@pytest.mark.parametrize("how", ["invoke", "stream", "async", "bare"])
@pytest.mark.parametrize("framework", [langchain, llamaindex])
def test_a_live_call_is_compared_once(framework: Any, how: str, thrift: Thrift, provider: LoopbackProvider) -> None:
    provider.answerer = answered
    shadow = framework(thrift, provider.openai_url, how)
    assert shadow.flush()
    report = shadow.report()
    assert (report.offered, report.sampled, dict(report.skipped)) == (1, 1, {})
    assert {each.name: (each.judged, each.failed) for each in report.rows} == {"smaller": (1, 0), "shorter": (1, 0)}
    smaller, shorter = report.rows
    assert smaller.saving.estimate > 0.8
    assert 0 < shorter.saving.estimate < 0.6
    asked = [(request.body["model"], len(request.body["messages"])) for request in provider.requests]
    # The live call, the small model's and two orders of the judge; the shorter prompt's answer is the same, so nobody judges it.
    assert sorted(asked) == [("gpt-4.1", 1), ("gpt-4.1", 1), ("gpt-4o", 2), ("gpt-4o", 2), ("gpt-4o-mini", 2)]
    own = [row for row in thrift.ledger.calls() if row.request_type == "evaluation"]
    assert len(own) == 4
    shadow.close()
