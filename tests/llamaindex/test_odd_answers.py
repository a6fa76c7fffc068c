"""Answers of any shape: they are given on as they came, recorded, and nothing stays held for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

import llmthrift_llamaindex as li
from llmthrift_core import Budget, Thrift
from tests.contracts.doors import uninstall_handlers
from tests.llamaindex.test_handler import Bare


class Raising:
    """An object whose fields cannot be read."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


ODD: dict[str, dict[str, Any]] = {
    "a list": {"raw": [1, 2]},
    "a number for usage": {"raw": {"usage": 7}},
    "usage without end": {"raw": {"usage": {"prompt_tokens": 10**40, "completion_tokens": 10**40}}},
    "usage that is no number": {"raw": {"usage": {"prompt_tokens": float("nan"), "completion_tokens": "x"}}},
    "a cost that is no number": {"raw": {"usage": {"prompt_tokens": 5, "completion_tokens": 5, "cost": float("nan")}}},
    "a cost without end": {"raw": {"usage": {"prompt_tokens": 5, "completion_tokens": 5, "cost": float("inf")}}},
    "an object that cannot be read": {"raw": Raising()},
    "the mark of a hit": {"more": {"llmthrift": {"cache": "exact"}}},
}


def with_handler(thrift: Thrift, llm: Any) -> Any:
    li.ThriftEventHandler(thrift).install()
    return llm


def with_thrifty(thrift: Thrift, llm: Any) -> Any:
    return li.thrifty(llm, thrift)


def with_router(thrift: Thrift, llm: Any) -> Any:
    return li.RouterLLM(thrift, models={"only": llm})


@pytest.fixture(autouse=True)
def _no_handlers() -> Iterator[None]:
    yield
    uninstall_handlers()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("door", [with_handler, with_thrifty, with_router])
def test_an_odd_answer_is_given_on_recorded_and_settled(door: Callable[[Thrift, Any], Any], odd: str) -> None:
    with Thrift(":memory:", capture="text") as thrift:
        thrift.budgets.add(Budget(limit_requests=100, limit_usd=1, unpriced="allow", name="b"))
        llm = door(thrift, Bare(**ODD[odd]))
        assert llm.chat([ChatMessage("Hi")]).message.content == "Hello there."
        assert list(llm.stream_chat([ChatMessage("And now?")]))[-1].message.content == "Hello there."
        assert thrift.flush()
        rows = thrift.ledger.calls()
        assert len(rows) == 2
        assert all(row.provider_cost_usd is None for row in rows)
        assert thrift.budgets.holds() == []
        assert all(row["reserved"] == 0 for row in thrift.budgets.status())
        assert thrift.ledger.health()["lost"] == 0
