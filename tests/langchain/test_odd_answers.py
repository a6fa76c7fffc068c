"""Answers that are not as LangChain says: they are given on as they came, recorded, and nothing stays held for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from llmthrift_core import Budget, Thrift
from llmthrift_langchain import ChatRouter, ThriftCache, ThriftCallbackHandler, thrifty

Make = Callable[[], ChatResult]


class Odd(BaseChatModel):
    make: Any = None

    @property
    def _llm_type(self) -> str:
        return "odd"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": "gpt-4o-mini"}

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        result: ChatResult = self.make()
        return result


def result(message: BaseMessage, **options: Any) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message, **options)])


def counted(usage: Any) -> Make:
    """An answer with this in the place of its usage, which no validation has seen."""

    def make() -> ChatResult:
        message = AIMessage("Hello.")
        message.__dict__["usage_metadata"] = usage
        return result(message)

    return make


def told(**metadata: Any) -> Make:
    return lambda: result(AIMessage("Hello.", response_metadata=metadata))


ODD: dict[str, Make] = {
    "a list for usage": counted([1, 2]),
    "a number for usage": counted(7),
    "negative usage": counted({"input_tokens": -5, "output_tokens": 3, "total_tokens": -2}),
    "usage without end": counted({"input_tokens": 10**40, "output_tokens": 10**40, "total_tokens": 1}),
    "usage that is no number": counted({"input_tokens": float("nan"), "output_tokens": "x", "total_tokens": None}),
    "a cost that is no number": told(response_cost=float("nan")),
    "a cost without end": told(response_cost=float("inf")),
    "a cost below nothing": told(response_cost=-5.0),
    "a list for the model's name": told(model_name=["x"], token_usage=[1]),
    "the mark of a hit": lambda: result(
        AIMessage("Hello.", response_metadata={"llmthrift": {"cache": "exact"}}), generation_info={"llmthrift": {"cache": "exact"}}
    ),
    "a message of a human": lambda: result(HumanMessage("Hello.")),
    "blocks that are no blocks": lambda: result(AIMessage([{"type": "x", "value": object()}])),
    "a surrogate": lambda: result(AIMessage("\ud800")),
}


def with_handler(model: Odd, thrift: Thrift) -> tuple[Any, dict[str, Any]]:
    return model, {"callbacks": [ThriftCallbackHandler(thrift)]}


def with_enforcing_handler(model: Odd, thrift: Thrift) -> tuple[Any, dict[str, Any]]:
    return model, {"callbacks": [ThriftCallbackHandler(thrift, enforce=True)]}


def with_cache(model: Odd, thrift: Thrift) -> tuple[Any, dict[str, Any]]:
    model.cache = ThriftCache(thrift)
    return model, {}


def with_cache_and_handler(model: Odd, thrift: Thrift) -> tuple[Any, dict[str, Any]]:
    model.cache = ThriftCache(thrift)
    return with_handler(model, thrift)


def with_thrifty(model: Odd, thrift: Thrift) -> tuple[Any, dict[str, Any]]:
    return thrifty(model, thrift), {}


def with_router(model: Odd, thrift: Thrift) -> tuple[Any, dict[str, Any]]:
    return ChatRouter(thrift, models={"only": model}, cache=True), {}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "door",
    [with_handler, with_enforcing_handler, with_cache, with_cache_and_handler, with_thrifty, with_router],
    ids=lambda door: door.__name__,
)
def test_an_odd_answer_is_given_on_recorded_and_settled(door: Any, odd: str) -> None:
    bare = Odd(make=ODD[odd]).invoke("Hi")
    with Thrift(":memory:", capture="text") as thrift:
        thrift.budgets.add(Budget(limit_requests=100, limit_usd=1, unpriced="allow", name="b"))
        model, config = door(Odd(make=ODD[odd]), thrift)
        for _ in range(2):
            answer = model.invoke("Hi", config)
            assert (type(answer), answer.text) == (type(bare), bare.text)
        assert thrift.flush()
        rows = thrift.ledger.calls()
        assert len(rows) == 2
        assert all(row.provider_cost_usd is None for row in rows)
        assert thrift.budgets.holds() == []
        assert all(row["reserved"] == 0 for row in thrift.budgets.status())
        assert thrift.ledger.health()["lost"] == 0
