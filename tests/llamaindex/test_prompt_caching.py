"""Marks for the provider's prompt cache, through Anthropic's integration against a server on loopback."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import CacheControl, CachePoint, ChatMessage, TextBlock
from llama_index.llms.anthropic import Anthropic

from llmthrift_core import Thrift
from llmthrift_core.testing import LoopbackProvider
from llmthrift_llamaindex import RouterLLM, thrifty
from tests.langchain.test_prompt_caching import LONG, _marks

pytestmark = pytest.mark.loopback


def _llm(provider: LoopbackProvider) -> Anthropic:
    return Anthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="k", max_retries=0)


def _thrifty(thrift: Thrift, provider: LoopbackProvider) -> Any:
    return thrifty(_llm(provider), thrift, cache=False, prompt_caching=True)


def _router(thrift: Thrift, provider: LoopbackProvider) -> Any:
    models = {"simple": _llm(provider), "complex": _llm(provider)}
    return RouterLLM(thrift, models=models, policy=lambda request: "simple", cache=False, prompt_caching=True)


def _turns(count: int) -> list[ChatMessage]:
    turns = [ChatMessage(role="system", content=LONG), ChatMessage(role="user", content="First?")]
    for number in range(count):
        turns += [ChatMessage(role="assistant", content=f"Answer {number}."), ChatMessage(role="user", content=f"And {number}?")]
    return turns


@pytest.mark.parametrize("door", [_thrifty, _router])
def test_a_conversation_is_marked_where_it_will_come_again(door: Any, thrift: Thrift, provider: LoopbackProvider) -> None:
    llm = door(thrift, provider)
    given = _turns(0)
    llm.chat(given)
    assert all(not isinstance(block, CachePoint) for message in given for block in message.blocks)
    list(llm.stream_chat(_turns(1)))
    llm.chat(_turns(2))
    marks = [list(_marks(request.body)) for request in provider.requests]
    assert all(1 <= len(each) <= 4 for each in marks)
    assert any(mark.startswith("/messages/") for mark in marks[-1])
    assert all("tokens" in row.prefix_plan for row in thrift.ledger.calls())
    assert thrift.health()["failures"] == {}


def test_marks_of_the_application_are_respected(thrift: Thrift, provider: LoopbackProvider) -> None:
    own = CachePoint(cache_control=CacheControl(type="ephemeral"))
    asked = ChatMessage(role="user", blocks=[TextBlock(text=LONG), own])
    _thrifty(thrift, provider).chat([ChatMessage(role="system", content=LONG), asked])
    assert len(list(_marks(provider.requests[-1].body))) == 1
    (row,) = thrift.ledger.calls()
    assert row.prefix_plan is None


def test_a_short_prompt_is_left_alone(thrift: Thrift, provider: LoopbackProvider) -> None:
    _thrifty(thrift, provider).chat([ChatMessage("Hi")])
    _thrifty(thrift, provider).complete("Hi")
    assert not any(list(_marks(request.body)) for request in provider.requests)
