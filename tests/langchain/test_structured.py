"""Structured output through a router of different makers' models: each answer is parsed by the pipeline of the model that gave it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypedDict

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import BaseModel

from llmthrift_core.testing import Answer, ToolCall
from llmthrift_langchain import ChatRouter
from tests.langchain.test_router import HARD

pytestmark = [
    pytest.mark.loopback,
    pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Unrecognized structured output method 'json_mode'"),  # Anthropic has none, and says so
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]
EASY = "Order 7 to 'Paris', as JSON with the keys number and city."
HARDER = f"{HARD} Then order 7 to 'Paris', as JSON with the keys number and city."


class Order(BaseModel):
    """An order."""

    number: int
    city: str


class OrderDict(TypedDict):
    """An order."""

    number: int
    city: str


ORDER_SCHEMA = {**Order.model_json_schema(), "additionalProperties": False}
RIGHT = {"number": 7, "city": "Paris"}


@pytest.fixture
def mixed(thrift, client, provider) -> ChatRouter:
    provider.answerer = lambda question: (
        Answer(tool_calls=(ToolCall(next(iter(question.tools)), RIGHT),)) if question.tools else Answer('{"number": 7, "city": "Paris"}')
    )
    anthropic = ChatAnthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="none", max_retries=0)
    return ChatRouter(thrift, models={"simple": client(), "complex": anthropic}, cache=True)


WAYS = [(None, Order), ("function_calling", OrderDict), ("json_schema", ORDER_SCHEMA), ("json_schema", Order), ("json_mode", Order)]


@pytest.mark.parametrize(("method", "schema"), WAYS)
def test_every_method_and_schema_gives_the_same_result_from_either_maker(mixed, provider, method, schema):
    right = Order(**RIGHT) if schema is Order else RIGHT
    structured = mixed.with_structured_output(schema, **({} if method is None else {"method": method}))
    for question in (EASY, HARDER):
        assert [structured.invoke(question), structured.invoke(question)] == [right, right]  # the second one is cached
    assert [request.body["model"].split("-")[0] for request in provider.requests] == ["gpt", "claude"]


@pytest.mark.parametrize(("method", "schema"), [("function_calling", OrderDict), ("json_schema", Order)])
async def test_streams_and_raw_messages_come_through_the_pipeline_of_who_answered(mixed, method, schema):
    right = Order(**RIGHT) if schema is Order else RIGHT
    plain, raw = (mixed.with_structured_output(schema, include_raw=both, method=method) for both in (False, True))
    assert await plain.ainvoke(HARDER, cache="off") == right
    assert list(plain.stream(HARDER, cache="off"))[-1] == right
    assert [piece async for piece in plain.astream(HARDER, cache="off")][-1] == right
    for whole in (raw.invoke(HARDER, cache="off"), added(raw.stream(EASY, cache="off"))):
        assert whole["parsed"] == right
        assert whole["parsing_error"] is None
        assert isinstance(whole["raw"], AIMessage)


def added(pieces: Iterator[dict[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for piece in pieces:
        for key, value in piece.items():
            whole[key] = whole[key] + value if key == "raw" and key in whole else value
    return whole


def test_what_cannot_be_parsed_is_told_beside_the_raw_message(mixed, provider):
    provider.answerer = lambda question: Answer("no JSON at all")
    found = mixed.with_structured_output(Order, method="json_schema", include_raw=True).invoke(HARDER, cache="off")
    assert found["parsed"] is None
    assert found["parsing_error"] is not None


def test_one_structured_call_is_one_row(mixed, thrift):
    mixed.with_structured_output(Order).invoke(EASY)
    assert [row.attempt for row in thrift.ledger.calls()] == [1]


class Upper(GenericFakeChatModel):
    """An integration with a pipeline of its own shape: it binds through its base, and parses with a function."""

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Runnable[Any, Any]:
        return RunnableLambda(lambda question: question) | super().bind(stop=["END"]) | RunnableLambda(lambda said: said.content.upper())


class Lower(GenericFakeChatModel):
    """Another one, which binds nothing."""

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Runnable[Any, Any]:
        return self | RunnableLambda(lambda said: said.content.lower())


async def test_pipelines_of_any_shape_parse_what_their_own_model_said(thrift):
    models = {"simple": Upper(messages=iter(["aB"] * 4)), "complex": Lower(messages=iter(["aB"] * 4))}
    structured = ChatRouter(thrift, models=models).with_structured_output(Order)
    for question, right in (("What is it?", "AB"), (HARD, "ab")):
        assert structured.invoke(question) == right
        assert await structured.ainvoke(question) == right
        assert "".join(structured.stream(question)) == right
        assert "".join([piece async for piece in structured.astream(question)]) == right


def test_an_answer_of_a_fallback_is_parsed_by_the_fallback(thrift):
    def failing() -> Iterator[Any]:
        raise TimeoutError("no answer")
        yield

    models = {"simple": Upper(messages=failing()), "complex": Lower(messages=iter(["aB"]))}
    assert ChatRouter(thrift, models=models).with_structured_output(Order).invoke("What is it?") == "ab"
