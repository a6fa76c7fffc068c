"""The handler sees every call once, whatever runs around it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

import llmthrift_langchain.enforcement as unserved
from llmthrift_core import Thrift, attribute
from llmthrift_core.testing import Answer, Question, ToolCall
from llmthrift_langchain import ChatRouter, ThriftCache, ThriftCallbackHandler, thrift_callbacks, thrifty

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")]


@pytest.fixture
def handler(thrift: Thrift) -> ThriftCallbackHandler:
    return ThriftCallbackHandler(thrift)


def rows(thrift: Thrift) -> list[Any]:
    thrift.flush()
    return sorted(thrift.ledger.calls(), key=lambda row: row.at_us)


def billed(provider) -> tuple[int, int]:
    return sum(bill.input_tokens for bill in provider.usage_log), sum(bill.output_tokens for bill in provider.usage_log)


def test_retries_are_attempts_of_one_call(thrift, client, provider, handler):
    provider.fail_next(status=503, times=2)
    client().with_retry(stop_after_attempt=3, wait_exponential_jitter=False).invoke("Hello", {"callbacks": [handler]})
    found = rows(thrift)
    assert [(row.attempt, row.attempt_reason, row.error is None) for row in found] == [
        (1, None, False),
        (2, "retry", False),
        (3, "retry", True),
    ]
    assert len({row.call_id for row in found}) == 1
    total = thrift.report(by="model").total
    assert (total["requests"], total["attempts"], total["retries"], total["errors"]) == (1, 3, 2, 2)


def test_retries_of_a_chain_are_attempts_of_one_call(thrift, client, provider, handler):
    provider.fail_next(status=503)
    chain = (ChatPromptTemplate.from_template("{x}") | client()).with_retry(wait_exponential_jitter=False)
    chain.invoke({"x": "Hello"}, {"callbacks": [handler]})
    assert [row.attempt for row in rows(thrift)] == [1, 2]
    assert thrift.report(by="model").total["requests"] == 1


def test_fallbacks_are_attempts_of_one_call(thrift, client, provider, handler):
    provider.fail_next(status=503, model="gpt-4o-mini")
    model = client("gpt-4o-mini").with_fallbacks([client("gpt-4o")])
    model.invoke("Hello", {"callbacks": [handler]})
    first, second = rows(thrift)
    assert (first.model, second.attempt_reason, second.call_id) == ("gpt-4o-mini", "fallback", first.call_id)


def test_two_calls_of_one_chain_are_two_calls(thrift, client, handler):
    model = client()
    chain = RunnableParallel(a=model, b=model) | RunnableLambda(lambda both: both["a"].content[:10]) | model
    chain.invoke("Hello", {"callbacks": [handler]})
    found = rows(thrift)
    assert len({row.call_id for row in found}) == 3
    assert len({row.trace_id for row in found}) == 1


def test_an_agent_with_tools_that_call_models_is_one_trace(thrift, client, provider, handler):
    inner = client("gpt-4o-mini")

    @tool
    def get_summary(topic: str) -> str:
        """Summarize a topic."""
        return str(inner.invoke(f"Summarize {topic}").content)

    def answer(question: Question) -> Answer | None:
        if question.tools and question.messages[-1][0] != "tool":
            return Answer(tool_calls=(ToolCall("get_summary", {"topic": "parcels"}),))
        return Answer("Done.")

    provider.answerer = answer
    agent = create_agent(client("gpt-4o"), [get_summary])
    agent.invoke({"messages": [HumanMessage("Summarize")]}, {"callbacks": [handler], "metadata": {"user": "ada", "feature": "agent"}})
    found = rows(thrift)
    assert len(found) == len(provider.requests) == 3
    assert len({row.trace_id for row in found}) == 1
    assert {(row.user, row.feature) for row in found} == {("ada", "agent")}
    assert (sum(row.input_tokens for row in found), sum(row.output_tokens for row in found)) == billed(provider)


def test_langgraph_gives_session_and_call_site(thrift, client, handler):
    model = client()
    graph = StateGraph(MessagesState)
    graph.add_node("writer", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "writer")
    graph.add_edge("writer", END)
    graph.compile().invoke({"messages": [HumanMessage("Hello")]}, {"callbacks": [handler], "configurable": {"thread_id": "t-1"}})
    (row,) = rows(thrift)
    assert row.call_site == "writer"
    assert row.session == "t-1"


def test_call_sites_without_a_name_are_told_by_their_system_prompt(thrift, client, handler):
    model = client()
    for system in ("Be brief.", "Be long.", "Be brief."):
        model.invoke([SystemMessage(system), HumanMessage("Hello")], {"callbacks": [handler]})
    model.invoke("Hello", {"callbacks": [handler], "run_name": "greeter"})
    sites = [row.call_site for row in rows(thrift)]
    assert sites[0] == sites[2] != sites[1]
    assert sites[3] == "greeter"


def test_anthropic_usage_is_inclusive_of_its_cache(thrift, provider, handler):
    provider.answerer = lambda _: Answer("Hello there.", cached_tokens=2)
    model = ChatAnthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="none", max_retries=0)
    model.invoke("Hello my good friend", {"callbacks": [handler]})
    list(model.stream("Hello my good friend", {"callbacks": [handler]}))
    for row in rows(thrift):
        assert (row.input_tokens, row.cache_read_tokens) == (provider.usage_log[0].input_tokens, 2)
        assert row.output_tokens == provider.usage_log[0].output_tokens
        assert row.provider == "anthropic"
        assert not row.estimated
        assert row.cost_usd > 0


def test_a_stream_without_usage_is_counted_and_marked(thrift, client, handler):
    list(client(stream_usage=False).stream("Hello", {"callbacks": [handler]}))
    (row,) = rows(thrift)
    assert row.estimated
    assert row.input_tokens > 0
    assert row.output_tokens > 0
    assert row.first_token_us is not None


def test_completion_models_are_metered_and_cached_once(thrift, provider, handler):
    model = OpenAI(model="gpt-3.5-turbo-instruct", base_url=provider.openai_url, api_key="none", cache=ThriftCache(thrift))
    with attribute(user="ada"):
        first = model.invoke("Hello", {"callbacks": [handler]})
        assert model.invoke("Hello", {"callbacks": [handler]}) == first
    assert len(provider.requests) == 1
    miss, hit = rows(thrift)
    assert (miss.cache, miss.input_tokens, miss.output_tokens) == (None, *billed(provider))
    assert (hit.cache, hit.input_tokens, hit.user) == ("exact", 0, "ada")


async def test_completion_models_asynchronously(thrift, handler):
    model = FakeListLLM(responses=["one", "two"], cache=ThriftCache(thrift))
    for _ in range(2):
        assert await model.ainvoke("Hello", {"callbacks": [handler]}) == "one"
    assert [row.cache for row in rows(thrift)] == [None, "exact"]


class Told(BaseCallbackHandler):
    """Somebody else's handler, which counts what it is told."""

    def __init__(self, *, run_inline: bool) -> None:
        self.run_inline = run_inline
        self.heard: list[str] = []

    def on_llm_start(self, *given: Any, **kwargs: Any) -> None:
        self.heard.append("start")

    def on_llm_end(self, *given: Any, **kwargs: Any) -> None:
        self.heard.append("end")


@pytest.mark.parametrize("others", [[False], [True], [False, False]], ids=["one", "one on the loop", "two"])
async def test_other_handlers_of_asynchronous_completion_models_are_told_as_without_this_one(thrift, handler, others):
    told = [Told(run_inline=run_inline) for run_inline in others]
    await FakeListLLM(responses=["one"]).ainvoke("Hello", {"callbacks": [*told, handler]})
    assert [one.heard for one in told] == [["start", "end"]] * len(told)
    assert len(rows(thrift)) == 1


def _two(where: str, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Thrift, Thrift]:
    """Two that are open on one database, which is written in two ways."""
    if where == "file":
        return Thrift(tmp_path / "l.db"), Thrift(f"sqlite:///{tmp_path}/l.db")
    url = request.getfixturevalue("postgresql_url")
    return Thrift(url), Thrift(url.replace("postgresql://", "postgresql+psycopg://") + "&application_name=two")


@pytest.mark.parametrize("where", ["file", "postgresql"])
async def test_two_that_are_open_on_one_database_record_a_call_once(client, provider, request, tmp_path: Path, where: str):
    one, two = _two(where, request, tmp_path)
    with one, two:
        model, config = client(cache=ThriftCache(two)), {"callbacks": [ThriftCallbackHandler(one), ThriftCallbackHandler(two)]}
        for _ in range(2):
            assert model.invoke("same", config=config).content == (await model.ainvoke("same", config=config)).content
        assert len(provider.requests) == 1
        router = ChatRouter(one, models={"simple": client(), "complex": client("gpt-4o")}, cache=True)
        for _ in range(2):
            router.invoke("routed", config={"callbacks": [ThriftCallbackHandler(two)]})
        assert list(thrifty(client(), two).stream("streamed", config={"callbacks": [ThriftCallbackHandler(one)]}))
        assert [piece async for piece in thrifty(client(), two).astream("later", config={"callbacks": [ThriftCallbackHandler(one)]})]
        one.flush(), two.flush()
        total = one.report().total
        assert (total["requests"], total["attempts"], total["cache_hits"]) == (8, 8, 4)
        assert (total["input_tokens"], total["output_tokens"]) == billed(provider)


def test_a_cache_and_a_handler_of_one_database_share_a_completion(provider, tmp_path: Path):
    with Thrift(tmp_path / "l.db") as one, Thrift(tmp_path / "l.db") as two:
        model = OpenAI(model="gpt-3.5-turbo-instruct", base_url=provider.openai_url, api_key="sk-x", cache=ThriftCache(two))
        for _ in range(2):
            model.invoke("same", config={"callbacks": [ThriftCallbackHandler(one)]})
        one.flush(), two.flush()
        assert (one.report().total["requests"], one.report().total["cache_hits"], len(provider.requests)) == (2, 1, 1)


def test_everything_inside_the_block_is_metered(thrift, client):
    with thrift_callbacks(thrift, feature="block"):
        client().invoke("Hello")
    client().invoke("Hello")
    (row,) = rows(thrift)
    assert row.feature == "block"


def test_a_whole_process_is_metered_by_an_environment_variable(provider, tmp_path: Path):
    program = (
        "import llmthrift_langchain\n"
        "from langchain_openai import ChatOpenAI\n"
        f"ChatOpenAI(model='gpt-4o-mini', base_url={provider.openai_url!r}, api_key='none').invoke('Hello')\n"
    )
    environment = {**os.environ, "LLMTHRIFT_METER": "1", "LLMTHRIFT_URL": str(tmp_path / "process.db")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    with Thrift(tmp_path / "process.db") as thrift:  # written at exit, without close()
        assert len(thrift.ledger.calls()) == 1


def test_a_stream_past_the_global_cache_warns_once_and_names_thrifty(thrift, client, handler, monkeypatch):
    monkeypatch.setattr(unserved, "_warned", False)
    set_llm_cache(ThriftCache(thrift))
    model = client()
    with pytest.warns(UserWarning, match="thrifty"):
        list(model.stream("Hello", {"callbacks": [handler]}))
    list(model.stream("Hello", {"callbacks": [handler]}))  # warnings are errors here: a second one would fail
    assert len(rows(thrift)) == 2


def test_a_stream_inside_a_stream_keeps_its_books(thrift, client, provider, handler):
    model = client(cache=ThriftCache(thrift))
    config = {"callbacks": [handler]}
    stream = model.stream("Outer", config)
    next(stream)
    for _ in range(2):
        model.invoke("Inner", config)
    model.invoke("Outer", config)
    list(stream)
    found = rows(thrift)
    assert len(found) == 4
    assert sorted(str(row.cache) for row in found) == ["None", "None", "None", "exact"]
    billed_rows = [row for row in found if row.cache is None]
    assert (sum(row.input_tokens for row in billed_rows), sum(row.output_tokens for row in billed_rows)) == billed(provider)


def test_a_batch_with_one_failure_records_all(thrift, client, provider, handler):
    provider.fail_next(status=400)
    answers = client().batch(["a", "b", "c"], {"callbacks": [handler], "max_concurrency": 1}, return_exceptions=True)
    assert sum(isinstance(answer, Exception) for answer in answers) == 1
    assert sorted(row.error is not None for row in rows(thrift)) == [False, False, True]


def test_a_failed_prompt_of_generate_ends_its_siblings(thrift, client, provider, handler):
    provider.answerer = lambda question: (_ for _ in ()).throw(ValueError("no")) if question.last_user_text == "bad" else "ok"
    with pytest.raises(Exception, match="500"):
        client().generate([[HumanMessage("good")], [HumanMessage("bad")], [HumanMessage("later")]], callbacks=[handler])
    assert len(rows(thrift)) == 3
    assert handler._runs == {}


async def test_cancelled_and_abandoned_streams_leave_nothing_open(thrift, client, provider, handler):
    provider.latency_seconds = lambda _: 0.3
    model = client()
    task = asyncio.create_task(model.ainvoke("Hello", {"callbacks": [handler]}))
    while not handler._runs:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    provider.latency_seconds = None
    stream = model.astream("Hello", {"callbacks": [handler]})
    await anext(stream)
    await stream.aclose()
    assert [row.error for row in rows(thrift)] == ["CancelledError", "abandoned"]
    assert handler._runs == {}


def test_no_key_or_header_reaches_the_database_or_a_repr(tmp_path, provider, caplog):
    caplog.set_level("DEBUG", logger="llmthrift")
    path = tmp_path / "ledger.db"
    with Thrift(path, capture="text") as thrift:
        headers = {"Authorization": "Bearer hush-hush", "X-Tenant-Key": "tenant-hush"}
        model = ChatOpenAI(
            model="gpt-4o-mini", base_url=provider.openai_url, api_key="sk-hush", default_headers=headers, cache=ThriftCache(thrift)
        )
        handler = ThriftCallbackHandler(thrift)
        provider.fail_next(status=401, message="Incorrect API key provided: sk-hush")
        with pytest.raises(Exception, match="401"):
            model.invoke("Hello", {"callbacks": [handler]})
        for _ in range(2):
            model.invoke("Hello", {"callbacks": [handler]}, extra_headers={"X-Other": "other-hush"})
        assert "hush" not in repr(handler) + repr(thrift.health())
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"hush" not in stored
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    "messages",
    [
        [HumanMessage("")],
        [HumanMessage("lone \ud800 surrogate")],
        [HumanMessage("x" * 1_000_000)],
        [HumanMessage(f"m{number}") for number in range(10_000)],
        [HumanMessage([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])],
        [AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": None}]), HumanMessage("x")],
        [AIMessage("a", additional_kwargs={3: 4}), HumanMessage("x")],
    ],
    ids=["empty", "surrogate", "1 MB", "10,000 messages", "image", "odd tool call", "a key that is no text"],
)
def test_odd_inputs_are_recorded_cached_and_answered(thrift, handler, messages):
    model = GenericFakeChatModel(messages=iter(["one", "two"]), cache=ThriftCache(thrift))
    for _ in range(2):
        assert model.invoke(messages, {"callbacks": [handler]}).content == "one"
    assert [row.cache for row in rows(thrift)] == [None, "exact"]
    assert thrift.health()["failures"] == {}


@pytest.mark.parametrize(
    "metadata",
    [{"user": object()}, {"user": ["a"]}, {"user": "\ud800"}, {"tags": 5}, {"tags": [["x"]]}, {"tags": {1: object()}}, {"session": b"x"}],
    ids=["object", "list", "surrogate", "number as tags", "nested tags", "object in tags", "bytes"],
)
def test_odd_metadata_never_breaks_the_call_or_loses_the_row(thrift, handler, metadata):
    for model in (GenericFakeChatModel(messages=iter(["one"])), thrifty(GenericFakeChatModel(messages=iter(["two"])), thrift)):
        assert model.invoke("Hi", {"callbacks": [handler], "metadata": metadata}).content
    assert len(rows(thrift)) == 2
    assert thrift.health()["status"] == "ok"


@pytest.mark.parametrize("usage", [{"input_tokens": -5, "output_tokens": 3, "total_tokens": -2}, {"input_tokens": 5}, {}, None])
def test_broken_usage_never_breaks_the_call_or_loses_the_row(thrift, handler, usage):
    message = AIMessage("Hello.")
    message.usage_metadata = usage
    model = GenericFakeChatModel(messages=iter([message]))
    assert model.invoke("Hi", {"callbacks": [handler]}).content == "Hello."
    (row,) = rows(thrift)
    assert row.estimated
    assert row.input_tokens >= 0


def test_a_broken_ledger_does_not_break_the_call(thrift, client, handler, monkeypatch, caplog):
    def fail(record: object) -> None:
        raise RuntimeError("no ledger today: sk-hush")

    monkeypatch.setattr(thrift.ledger, "append", fail)
    assert client().invoke("Hello", {"callbacks": [handler]}).content
    assert thrift.health()["status"] == "degraded"
    assert thrift.health()["failures"] == {"call": 1}
    assert "sk-hush" not in caplog.text
