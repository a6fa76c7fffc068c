"""Feedback by the ids that people have: whatever names an answer, the row that it is of is judged."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from sqlalchemy import select

from llmthrift_core import LLMThriftError, Thrift
from llmthrift_core.errors import UnknownCallError
from llmthrift_core.storage.tables import feedback
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter, ThriftCallbackHandler
from tests.contracts.doors import LANGCHAIN, LLAMAINDEX, Door, MakeDoor, client, uninstall_handlers, with_cache

pytestmark = pytest.mark.loopback
QUESTION = "What is your name?"


def named(doors: list[MakeDoor]) -> Any:
    return pytest.mark.parametrize("make", doors, ids=[door.__name__.removeprefix("with_") for door in doors])


@pytest.fixture(autouse=True)
def _no_global_cache() -> Iterator[None]:
    yield
    set_llm_cache(None)
    uninstall_handlers()


def judged(thrift: Thrift) -> list[str]:
    thrift.flush()
    with thrift.database.read() as connection:
        return [row.request_id for row in connection.execute(select(feedback.c.request_id).order_by(feedback.c.at_us, feedback.c.id))]


def newest(thrift: Thrift) -> str:
    return str(thrift.ledger.calls(limit=1)[0].request_id)


def told(thrift: Thrift, names: list[Any]) -> set[str]:
    """The rows that are judged by these names."""
    before = len(judged(thrift))
    for name in names:
        thrift.feedback(name, quality=1.0, source="user")
    return set(judged(thrift)[before:])


@named(LANGCHAIN)
@pytest.mark.parametrize("stream", [False, True], ids=["invoke", "stream"])
def test_an_answer_of_langchain_is_known_by_all_its_names(thrift, provider, make: MakeDoor, stream: bool):
    if stream and make is with_cache:
        pytest.skip("LangChain asks no cache for a stream, and nobody else records it")
    door = make(thrift, provider)
    assert isinstance(door, Door)
    for _ in range(2):  # a miss and, where there is a cache, a hit
        run_id = uuid.uuid4()
        config: Any = {**door.config, "run_id": run_id}
        if stream:
            message: Any = None
            for chunk in door.model.stream(QUESTION, config):
                message = chunk if message is None else message + chunk
        else:
            message = door.model.invoke(QUESTION, config)
        row = newest(thrift)
        names: list[Any] = [message, message.id, run_id, str(run_id), {"request_id": row}, row, f"run-{run_id}", f"lc_run--{run_id}-0"]
        mark = message.response_metadata.get("llmthrift")
        if mark is None or mark["source"] == "model":
            names += [told for told in [message.response_metadata.get("id")] if told]
        if mark is not None:
            names += [mark, mark["request_id"]]
        assert told(thrift, names) == {row}


@named(LLAMAINDEX)
@pytest.mark.parametrize("stream", [False, True], ids=["chat", "stream"])
def test_an_answer_of_llamaindex_is_known_by_all_its_names(thrift, provider, make: MakeDoor, stream: bool):
    model = make(thrift, provider).model
    for _ in range(2):
        messages = [ChatMessage(QUESTION)]
        answer = list(model.stream_chat(messages))[-1] if stream else model.chat(messages)
        row = newest(thrift)
        mark, raw = answer.additional_kwargs.get("llmthrift"), answer.raw
        names: list[Any] = [answer, row]
        names += [raw, raw.id] if hasattr(raw, "id") else []
        names += [mark, mark["request_id"], raw] if mark is not None else []
        assert told(thrift, names) == {row}


def test_feedback_on_a_run_goes_to_the_attempt_that_answered(thrift, provider: LoopbackProvider):
    cheap = client(provider).model_copy(update={"model_name": "gpt-4o-mini"})
    router = ChatRouter(thrift, models={"simple": cheap, "complex": client(provider).model_copy(update={"model_name": "gpt-4o"})})
    run_id = uuid.uuid4()
    provider.fail_next(status=429, times=1)
    message = router.invoke(QUESTION, {"run_id": run_id})
    failed, answered = thrift.ledger.calls(order="oldest")
    assert (failed.error is None, answered.error) == (False, None)
    assert told(thrift, [message, run_id, message.id]) == {answered.request_id}


def test_an_answer_of_openais_responses_is_known_by_the_ids_of_response_and_message(thrift, provider):
    model = ChatOpenAI(model="gpt-4o-mini", base_url=provider.openai_url, api_key="k", use_responses_api=True, output_version="v0")
    message = model.invoke(QUESTION, {"callbacks": [ThriftCallbackHandler(thrift)]})
    assert message.id != message.response_metadata["id"]
    assert told(thrift, [message.id, message.response_metadata["id"], message]) == {newest(thrift)}


@pytest.mark.parametrize(
    "unknown", ["chatcmpl-nobody", uuid.UUID(int=7), {"request_id": "r"}, AIMessage("Hi", id="m"), "", HumanMessage("Hi")]
)
def test_what_names_no_call_is_refused(thrift, unknown):
    thrift.ledger.record("gpt-4o", _usage(), request_id="known")
    with pytest.raises(UnknownCallError, match="no recorded call is known by") as raised:
        thrift.feedback(unknown, quality=1.0)
    assert isinstance(raised.value, LLMThriftError)
    assert "the run id" in str(raised.value)
    assert judged(thrift) == []


def test_a_user_who_is_erased_is_not_found_by_an_id(thrift, provider):
    model = client(provider)
    message = model.invoke(QUESTION, {"callbacks": [ThriftCallbackHandler(thrift)], "metadata": {"user": "ada"}})
    thrift.feedback(message.response_metadata["id"], quality=1.0)
    thrift.erase(user="ada")
    with pytest.raises(UnknownCallError):
        thrift.feedback(message.response_metadata["id"], quality=1.0)


def test_nothing_is_judged_where_nothing_is_recorded(thrift, monkeypatch):
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    thrift.feedback("anything", quality=1.0)


def _usage() -> Any:
    from llmthrift_core import Usage

    return Usage(input_tokens=1)
