"""Structured answers and tools of each provider's format in a cascade of a `RouterLLM`, through real clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llmthrift_core import Thrift
from llmthrift_core.routing import Cascade, CascadePolicy
from llmthrift_core.routing.checks import BUILT_IN
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer
from llmthrift_llamaindex import RouterLLM
from tests.contracts.checked import (
    ESCALATED,
    STRONG,
    WEAK,
    answers,
    calling,
    of_both,
    reason_of_escalation,
)
from tests.llamaindex.conftest import Client

pytestmark = pytest.mark.loopback

MakeRouter = Callable[..., RouterLLM]


def look(number: int) -> str:
    """Look something up."""
    return str(number)


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture
def make(thrift: Thrift, provider: LoopbackProvider, openai: Client) -> MakeRouter:
    def router(*checks: Any, cache: bool = False, stream: Any = "hold", **options: Any) -> RouterLLM:
        cascade = Cascade(["weak", "strong"], checks=[*BUILT_IN, *checks])
        models = {"weak": openai(WEAK, **options), "strong": openai(STRONG, **options)}
        return RouterLLM(thrift, models=models, policy=CascadePolicy(cascade, stream=stream), cache=cache)

    return router


def test_structured_output_that_cannot_be_parsed_escalates(thrift, provider, make):
    provider.answerer = of_both(weak=calling("City", name="Oslo"), strong=calling("City", name="Oslo", people=717_710))
    found = make().structured_predict(City, PromptTemplate("Which city is it?"))
    assert found == City(name="Oslo", people=717_710)
    assert "'missing'" in reason_of_escalation(thrift)
    assert answers(thrift) == ESCALATED


@pytest.mark.parametrize("kind", ["openai", "responses", "anthropic"])
def test_what_is_valid_is_kept_whatever_the_providers_format(thrift, provider, kind, request):
    made = request.getfixturevalue(kind)
    names = ("claude-haiku-4-5", "claude-sonnet-4-5") if kind == "anthropic" else (WEAK, STRONG)
    llm = RouterLLM(
        thrift, models=dict(zip(("weak", "strong"), map(made, names), strict=True)), policy=Cascade(["weak", "strong"]), cache=False
    )
    tools = [FunctionTool.from_defaults(look)]
    response = llm.chat_with_tools(tools, "Look up number 7.", tool_required=True)
    assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"number": 7}
    list(llm.stream_chat_with_tools(tools, "Please look."))
    assert isinstance(llm.structured_predict(City, PromptTemplate("Which city?")), City)
    thrift.flush()
    assert [row.attempt_reason for row in thrift.ledger.calls()] == [None] * 3


def test_json_that_is_asked_for_by_hand_is_checked(thrift, provider, make):
    provider.answerer = of_both(weak=Answer("Oslo"), strong=Answer('{"name": "Oslo"}'))
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object", "required": ["name"]}}}
    assert make().chat([ChatMessage("Which city is it?")], response_format=form).message.content == '{"name": "Oslo"}'
    assert "not the JSON" in reason_of_escalation(thrift)
