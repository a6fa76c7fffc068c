"""Structured answers and tools of each provider's format in a cascade of the chat router, through real clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from pydantic import BaseModel

from llmthrift_core import Thrift
from llmthrift_core.quality import PointwiseJudge
from llmthrift_core.routing import Cascade, CascadePolicy
from llmthrift_core.routing.checks import BUILT_IN, JudgeCheck
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer
from llmthrift_langchain import ChatRouter, thrifty
from tests.contracts.checked import (
    ASKED,
    ESCALATED,
    JUDGE,
    KEPT,
    SOUND,
    STRONG,
    WEAK,
    Judging,
    answers,
    calling,
    of_both,
    reason_of_escalation,
)
from tests.langchain.conftest import Client

pytestmark = pytest.mark.loopback

MakeRouter = Callable[..., ChatRouter]


@tool
def look(number: int) -> str:
    """Look something up."""
    return str(number)


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture
def make(thrift: Thrift, provider: LoopbackProvider, client: Client) -> MakeRouter:
    def router(*checks: Any, cache: Any = False, stream: Any = "hold", **options: Any) -> ChatRouter:
        cascade = Cascade(["weak", "strong"], checks=[*BUILT_IN, *checks])
        models = {"weak": client(WEAK, **options), "strong": client(STRONG, **options)}
        return ChatRouter(thrift, models=models, policy=CascadePolicy(cascade, stream=stream), cache=cache)

    return router


def judged_by(thrift: Thrift, client: Client, **options: Any) -> JudgeCheck:
    return JudgeCheck(PointwiseJudge(thrifty(client(JUDGE), thrift, cache=False), thrift=thrift), **options)


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_structured_output_that_cannot_be_parsed_escalates(thrift, provider, make, method):
    bad, good = {"name": "Oslo"}, {"name": "Oslo", "people": 717_710}
    if method == "function_calling":
        provider.answerer = of_both(weak=calling("City", **bad), strong=calling("City", **good))
    else:
        provider.answerer = of_both(weak=Answer('{"name": "Oslo"}'), strong=Answer('{"name": "Oslo", "people": 717710}'))
    # With a class, langchain-openai's client reads a json_schema answer itself, and raises before anybody can check it.
    schema = City.model_json_schema() if method == "json_schema" else City
    found = make().with_structured_output(schema, method=method).invoke("Which city is it? Reply in JSON.")
    assert found == (good if method == "json_schema" else City(**good))
    assert "'missing'" in reason_of_escalation(thrift) or "'required'" in reason_of_escalation(thrift)
    assert answers(thrift) == ESCALATED


def test_a_pydantic_class_decides_as_it_will_in_the_application(thrift, provider, make):
    """ "717710" is no integer of JSON, and one of pydantic: the parser behind takes it, so nothing is escalated."""
    answer = calling("City", name="Oslo", people="717710")
    provider.answerer = of_both(weak=answer, strong=answer)
    assert make().with_structured_output(City, method="function_calling").invoke(ASKED) == City(name="Oslo", people=717_710)
    assert answers(thrift) == KEPT


@pytest.mark.parametrize("kind", ["chat completions", "responses", "anthropic"])
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_what_is_valid_is_kept_whatever_the_providers_format(thrift, provider, client, kind, method):
    if kind == "anthropic":
        given = {"base_url": provider.anthropic_url, "api_key": "no key", "max_retries": 0}
        weak, strong = (ChatAnthropic(model=name, **given) for name in ("claude-haiku-4-5", "claude-sonnet-4-5"))
    else:
        weak, strong = (client(name, use_responses_api=kind == "responses") for name in (WEAK, STRONG))
    router = ChatRouter(thrift, models={"weak": weak, "strong": strong}, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.bind_tools([look], tool_choice="any").invoke("Look up number 7.").tool_calls[0]["args"] == {"number": 7}
    assert [chunk for chunk in router.bind_tools([look]).stream("Please look.") if chunk.tool_call_chunks]
    assert isinstance(router.with_structured_output(City, method=method).invoke("Which city?"), City)
    assert isinstance(router.with_structured_output(City.model_json_schema(), method=method).invoke("Which city?"), dict)
    thrift.flush()
    assert [row.attempt_reason for row in thrift.ledger.calls()] == [None] * 4


def test_a_tool_that_must_be_called_and_is_not_escalates(thrift, provider, make):
    provider.answerer = of_both(weak=Answer(SOUND), strong=calling("look", number=1))
    assert make().bind_tools([look], tool_choice="any").invoke("Look up number 1.").tool_calls
    assert "must be called" in reason_of_escalation(thrift)


@pytest.mark.filterwarnings("ignore:The method .* is in beta")
async def test_event_streams_are_out_before_they_are_reviewed(thrift, provider, client, make):
    provider.answerer = judging = Judging(4)
    router = make(judged_by(thrift, client))
    stream = await router.astream_events(ASKED, version="v3")
    assert SOUND in str([event async for event in stream])
    deadline = time.monotonic() + 120
    while not answers(thrift) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)  # LangChain reports the end of a run after its reader has learned of it
    assert judging.times == 0
    assert answers(thrift) == KEPT
