"""Every door of both frameworks keeps the counts of the question that a router would see, and a router learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from llama_index.core.llms import ChatMessage

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift, attribute
from llmthrift_core.lexical import stored_counts
from llmthrift_core.routing import LearnedRouter, RouteRequest
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import METERING, MakeDoor, client, llm, uninstall_handlers

pytestmark = pytest.mark.loopback
NAMES = {"simple": "gpt-4o-mini", "complex": "gpt-4o"}
SITES = {"support": "What is the state of my parcel with number {}?", "law": "Why may the tenant of flat {} terminate the contract?"}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    set_llm_cache(None)
    uninstall_handlers()


def counts(thrift: Thrift) -> list[tuple[float, ...] | None]:
    thrift.flush()
    return [row.lexical_counts for row in thrift.ledger.calls(order="oldest")]


@pytest.mark.parametrize("door", METERING, ids=[door.__name__.removeprefix("with_") for door in METERING])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_a_row_has_the_counts_of_the_question(thrift: Thrift, provider: LoopbackProvider, door: MakeDoor, how: str, monkeypatch) -> None:
    monkeypatch.setattr("llmthrift_langchain.enforcement._warned", True)
    question = f"How many of the {how} calls, e.g. 12, are counted?"
    door(thrift, provider).ask(question, how)
    assert counts(thrift) == [stored_counts(question)]


def test_a_hit_has_them_too(thrift: Thrift, provider: LoopbackProvider) -> None:
    for model in (lc.thrifty(client(provider), thrift), li.thrifty(llm(provider), thrift)):
        for _ in range(2):
            model.invoke("Once or twice?") if hasattr(model, "invoke") else model.chat([ChatMessage("Once or twice?")])
    assert [row.cache for row in thrift.ledger.calls(order="oldest")] == [None, "exact", None, "exact"]
    assert set(counts(thrift)) == {stored_counts("Once or twice?")}


def test_the_question_is_the_one_that_policies_see(thrift: Thrift, provider: LoopbackProvider) -> None:
    seen: list[str] = []

    def choose(request: RouteRequest) -> str:
        seen.append(request.question)
        return "simple"

    system, first, second = "Be brief.", "Hello, who are you?", "And what is 12 * 12?"
    talk = [SystemMessage(system), HumanMessage(first), AIMessage("A model."), HumanMessage(second)]
    lc.ChatRouter(thrift, models={"simple": client(provider), "complex": client(provider)}, policy=choose).invoke(talk)
    client(provider).invoke(talk, {"callbacks": [lc.ThriftCallbackHandler(thrift)]})
    lc.thrifty(client(provider), thrift).invoke(talk[:2])
    router = li.RouterLLM(thrift, models={"simple": llm(provider), "complex": llm(provider)}, policy=choose)
    chat = [ChatMessage(system, role="system"), ChatMessage(first), ChatMessage("A model.", role="assistant"), ChatMessage(second)]
    router.chat(chat)
    li.thrifty(llm(provider), thrift).chat(chat[:2])
    assert seen == [second, second]
    assert counts(thrift) == [stored_counts(text) for text in (second, second, first, second, first)]


def test_documents_are_no_part_of_the_question(thrift: Thrift, provider: LoopbackProvider) -> None:
    """LlamaIndex asks for an answer with what it found in front; its router looks past that, and so do the counts."""
    seen: list[str] = []
    prompt = "Context information is below.\nWe open at nine.\nGiven this, answer.\nQuery: When do you open?\nAnswer: "
    choose = lambda request: seen.append(request.question) or "simple"  # noqa: E731
    models = {"simple": llm(provider), "complex": llm(provider)}
    li.RouterLLM(thrift, models=models, policy=choose, cache=False).chat([ChatMessage(prompt)])
    li.thrifty(llm(provider), thrift, cache=False).chat([ChatMessage(prompt)])
    own = li.thrifty(llm(provider), thrift, cache=False, extract_question=lambda text: ("documents", text[-20:]))
    own.chat([ChatMessage(prompt)])
    broken = li.thrifty(llm(provider), thrift, cache=False, extract_question=lambda text: 1 / 0)
    assert broken.chat([ChatMessage(prompt)]).message.content
    with li.ThriftEventHandler(thrift):
        llm(provider).chat([ChatMessage(prompt)])
    question = stored_counts("When do you open?")
    assert seen == ["When do you open?"]
    assert counts(thrift) == [question, question, stored_counts(prompt[-20:]), None, question]


def test_an_agent_is_counted_by_what_its_user_asked(thrift: Thrift, provider: LoopbackProvider) -> None:
    agent = create_agent(client(provider), tools=[], middleware=[lc.ThriftMiddleware(thrift)])
    agent.invoke({"messages": [HumanMessage("Which of these orders is late?")]})
    assert counts(thrift) == [stored_counts("Which of these orders is late?")]


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_with_the_default_capture_a_router_learns_and_routes(provider: LoopbackProvider, tmp_path: Path, framework: str) -> None:
    with Thrift(tmp_path / "learning.db") as thrift:
        for number in range(25):
            for site, question in SITES.items():
                for tier, name in NAMES.items():
                    with attribute(call_site=site):
                        request_id = _ask(framework, thrift, provider, name, question.format(number))
                    thrift.feedback(request_id, quality=float(tier == "complex" or site == "support"))
        found = thrift.examples(models=NAMES)
        assert len(found) == 100
        assert {each.prompt for each in found} == {""}
        thrift.routers.save(LearnedRouter(NAMES, default="complex").fit(found), name="mine")
        policy: Any = thrift.routers.load("mine")
        chosen = []
        for site, question in SITES.items():
            with attribute(call_site=site):
                if framework == "langchain":
                    models = {tier: client(provider).model_copy(update={"model_name": name}) for tier, name in NAMES.items()}
                    lc.ChatRouter(thrift, models=models, policy=policy).invoke(question.format(99))
                else:
                    models = {tier: llm(provider).model_copy(update={"model": name}) for tier, name in NAMES.items()}
                    li.RouterLLM(thrift, models=models, policy=policy, cache=False).chat([ChatMessage(question.format(99))])
            thrift.flush()
            chosen.append(thrift.ledger.calls(limit=1)[0].tier)
        assert chosen == ["simple", "complex"]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"support" in stored
    for word in (b"parcel", b"tenant", b"terminate", b"contract"):
        assert word not in stored


def _ask(framework: str, thrift: Thrift, provider: LoopbackProvider, name: str, question: str) -> str:
    """A sampled call; the answer is its request id."""
    if framework == "langchain":
        run_id = uuid4()
        config: Any = {"run_id": run_id, "callbacks": [lc.ThriftCallbackHandler(thrift)]}
        client(provider).model_copy(update={"model_name": name}).invoke(question, config)
        return str(run_id)
    li.thrifty(llm(provider).model_copy(update={"model": name}), thrift, cache=False).chat([ChatMessage(question)])
    thrift.flush()
    request_id: str = thrift.ledger.calls(limit=1)[0].request_id
    return request_id
