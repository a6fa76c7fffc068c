"""Rows that the ledger's writer prices: what the handlers leave to it when the provider told the usage of a whole answer."""

from __future__ import annotations

import gc
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion

from llmthrift_core import Budget, Thrift
from llmthrift_core.calls.rows import collect_rows
from llmthrift_core.ledger.record import LateRecord
from llmthrift_langchain import ThriftCallbackHandler
from llmthrift_llamaindex import ThriftEventHandler

SECRET = "The parcel of Ms Lovelace lies at the window in Kyoto."
SERVED = "gpt-4o-mini-2024-07-18"


class Chat(BaseChatModel):
    usage: dict[str, Any]

    @property
    def _llm_type(self) -> str:
        return "told"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **_: Any
    ) -> ChatResult:
        told = {"model_name": SERVED, "model_provider": "openai", "finish_reason": "stop", "id": "chatcmpl-7"}
        message = AIMessage(SECRET, response_metadata=told, usage_metadata=self.usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Llm(CustomLLM):
    usage: dict[str, Any]

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="gpt-4o-mini", is_chat_model=True)

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        usage = CompletionUsage(
            prompt_tokens=self.usage["input_tokens"], completion_tokens=self.usage["output_tokens"], total_tokens=self.usage["total_tokens"]
        )
        raw = ChatCompletion(id="chatcmpl-7", choices=[], created=0, model=SERVED, object="chat.completion", usage=usage)
        return ChatResponse(message=ChatMessage(SECRET, role="assistant"), raw=raw)

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


def through_langchain(thrift: Thrift, usage: dict[str, Any]) -> None:
    answer = Chat(usage=usage).invoke("Where is it?", {"callbacks": [ThriftCallbackHandler(thrift)], "metadata": {"user": "ada"}})
    answer.usage_metadata.update(input_tokens=10**9)  # type: ignore[union-attr]
    answer.response_metadata.clear()


def through_llamaindex(thrift: Thrift, usage: dict[str, Any]) -> None:
    with ThriftEventHandler(thrift, user="ada"):
        answer = Llm(usage=usage).chat([ChatMessage("Where is it?")])
    answer.raw.model = "gpt-4o"  # type: ignore[union-attr]
    answer.raw = None


@pytest.fixture(params=[through_langchain, through_llamaindex])
def call(request: pytest.FixtureRequest) -> Callable[[Thrift, dict[str, Any]], None]:
    door: Callable[[Thrift, dict[str, Any]], None] = request.param
    return door


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:") as opened:
        yield opened


def usage(sent: int = 300, made: int = 90) -> dict[str, Any]:
    return {"input_tokens": sent, "output_tokens": made, "total_tokens": sent + made}


def reachable(start: object) -> Iterator[object]:
    """What an object holds on to; the ledger's own parts are passed over."""
    seen, waiting = {id(start)}, [start]
    while waiting:
        each = waiting.pop()
        yield each
        for other in gc.get_referents(each):
            if id(other) not in seen and not isinstance(other, type | types.ModuleType | types.FunctionType | Thrift):
                seen.add(id(other))
                waiting.append(other)


def test_an_answer_that_the_application_changes_is_recorded_as_it_came(call, thrift: Thrift) -> None:
    call(thrift, usage())
    assert thrift.flush()
    (row,) = thrift.ledger.calls()
    assert (row["model"], row["input_tokens"], row["output_tokens"], row["user"]) == (SERVED, 300, 90, "ada")
    # $0.15 and $0.60 a million: 300 * 150 + 90 * 600 nano-dollars.
    assert thrift.report().total["cost_usd"] * 10**9 == 300 * 150 + 90 * 600


def test_what_waits_holds_neither_the_call_nor_the_answer(call, thrift: Thrift) -> None:
    waiting: list[Any] = []
    append = thrift.ledger.append
    thrift.ledger.append = lambda record: (waiting.append(record), append(record))[1]  # type: ignore[method-assign]
    call(thrift, usage())
    (record,) = waiting
    assert type(record) is LateRecord
    assert not [each for each in reachable(record) if isinstance(each, str) and SECRET in each]
    assert not [each for each in reachable(record) if type(each).__name__ in ("Call", "Attempt", "Request", "OpenRun")]


def test_budgets_that_warn_count_it(call, thrift: Thrift) -> None:
    thrift.budgets.add(Budget(limit_tokens=1_000, window="day", on_exceed="warn"))
    call(thrift, usage())
    assert thrift.flush()
    (status,) = thrift.budgets.status()
    assert status["spent"] == 390


def test_it_is_counted_before_the_ledger_closes(call, tmp_path) -> None:
    with Thrift(tmp_path / "ledger.db") as opened:
        opened.budgets.add(Budget(limit_tokens=1_000, window="day", on_exceed="warn"))
        call(opened, usage())
    with Thrift(tmp_path / "ledger.db") as again:
        assert again.budgets.status()[0]["spent"] == 390
        assert again.report().total["requests"] == 1


def test_who_collects_rows_gets_them_priced(call, thrift: Thrift) -> None:
    with collect_rows() as rows:
        call(thrift, usage())
    assert [row.cost_nano_usd for row in rows] == [300 * 150 + 90 * 600]


def test_an_answer_without_counts_is_counted_by_its_text(call, thrift: Thrift) -> None:
    call(thrift, usage(0, 0))
    assert thrift.flush()
    (row,) = thrift.ledger.calls()
    assert row["estimated"]
    assert row["output_tokens"] >= 10
