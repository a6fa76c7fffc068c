"""`RouterLLM`: the same policies as the chat router's, over LlamaIndex's models."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.tools import FunctionTool

from llmthrift_core import Budget, BudgetExceededError, Thrift
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import RouteRequest, Rule, contains, has_tools
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_llamaindex import RouterLLM, thrifty
from tests.llamaindex.conftest import billed, counted, rows, run

HARD = "Prove step by step why this distributed algorithm is correct, analyse its complexity and compare it with two alternatives."


def get_order_status(order_id: int) -> str:
    """Look up where an order is."""
    return f"order {order_id} has shipped"


TOOLS = [FunctionTool.from_defaults(get_order_status)]


@pytest.fixture
def router(thrift: Thrift, openai: Any) -> Any:
    def make(**options: Any) -> RouterLLM:
        return RouterLLM(thrift, models={"simple": openai("gpt-4o-mini"), "complex": openai("gpt-4o")}, **options)

    return make


def asked(thrift: Thrift) -> list[str]:
    return ["simple" if row.model.startswith("gpt-4o-mini") else "complex" for row in rows(thrift)]


@pytest.mark.loopback
def test_simple_questions_go_to_the_cheap_model_and_hard_ones_to_the_strong(thrift, provider, router):
    llm = router()
    llm.complete("What is the capital of France?")
    llm.chat([ChatMessage(HARD)])
    list(llm.stream_chat([ChatMessage("What are your hours?")]))
    assert asked(thrift) == ["simple", "complex", "simple"]
    assert counted(thrift) == billed(provider)
    cheap, strong, _ = rows(thrift)
    assert cheap.routing_saved_nano_usd > 0 == strong.routing_saved_nano_usd
    assert cheap.baseline_model == "gpt-4o"
    assert cheap.route_reason


@pytest.mark.loopback
def test_rules_functions_and_tools_decide(thrift, provider, router):
    rules = [Rule("refunds", contains("refund"), "complex"), Rule("tools", has_tools(), "complex")]
    llm = router(policy=rules)
    llm.complete("What about my refund?")
    llm.chat_with_tools(TOOLS, "Hello")
    seen: list[RouteRequest] = []

    def choose(request: RouteRequest) -> str:
        seen.append(request)
        return "simple"

    router(policy=choose).chat([ChatMessage("Be kind.", role="system"), ChatMessage("Hello?")])
    assert asked(thrift) == ["complex", "complex", "simple"]
    (request,) = seen
    assert (request.question, request.system, request.history_messages, request.has_tools) == ("Hello?", "Be kind.", 2, False)


@pytest.mark.loopback
def test_no_tier_above_the_limit_of_the_router_or_the_caller(thrift, provider, router):
    router(max_tier="simple").chat([ChatMessage(HARD)])
    router().chat([ChatMessage(HARD)], max_tier="simple")
    router(max_tier="simple").chat([ChatMessage(HARD + " Again.")], max_tier="complex")
    assert set(asked(thrift)) == {"simple"}
    assert len(provider.requests) == 3  # a limit is part of the key
    with pytest.raises(ConfigurationError, match="neither a tier"):
        router().complete("Hi", max_tier="nonsense")


@pytest.mark.loopback
@pytest.mark.parametrize("how", ["chat", "stream", "achat", "astream"])
def test_another_model_answers_for_a_failed_one(thrift, provider, router, how):
    provider.fail_next(status=503, times=1, model="gpt-4o-mini")
    llm = router(policy=lambda request: "simple")
    question = [ChatMessage("Hello?")]

    async def read() -> str:
        return "".join([piece.delta async for piece in await llm.astream_chat(question)])

    text = {
        "chat": lambda: llm.chat(question).message.content,
        "stream": lambda: "".join(piece.delta for piece in llm.stream_chat(question)),
        "achat": lambda: run(llm.achat(question)).message.content,
        "astream": lambda: run(read()),
    }[how]()
    assert text
    first, second = rows(thrift)
    assert (first.error, first.cost_usd, second.attempt, second.attempt_reason) == ("InternalServerError", 0, 2, "fallback")
    assert first.call_id == second.call_id
    assert thrift.report().total["requests"] == 1
    for _ in range(2):  # the answer of another model is not kept as the chosen one's
        assert llm.chat(question).message.content
    assert len(provider.requests) == 3


@pytest.mark.loopback
def test_what_no_other_model_would_answer_is_raised(thrift, provider, router):
    provider.fail_next(status=400, times=1)
    with pytest.raises(Exception, match="400"):
        router().complete("Hello")
    provider.fail_next(status=503, times=2)
    with pytest.raises(Exception, match="503"):
        router(fallbacks=False).complete("Hello again")
    assert len(provider.requests) == 2


@pytest.mark.loopback
def test_a_budget_without_room_for_the_strong_model_takes_the_cheap_one(thrift, provider, openai):
    models = {"simple": openai("gpt-4o-mini", max_tokens=100), "complex": openai("gpt-4o", max_tokens=100)}
    llm = RouterLLM(thrift, models=models, policy=lambda request: "complex")
    thrift.budgets.add(Budget(limit_usd="0.0005", window="day", on_exceed="downgrade"))
    thrift.budgets.add(Budget(limit_requests=1, window="day"))
    llm.complete("Hello?")
    assert asked(thrift) == ["simple"]
    with pytest.raises(BudgetExceededError):
        llm.complete("And now?")


@pytest.mark.loopback
def test_tools_take_the_format_of_the_model_that_answers_and_its_answers_are_read_by_it(thrift, provider, openai, anthropic):
    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("get_order_status", {"order_id": 5}),))
    for tier in ("simple", "complex"):
        models = {"simple": openai(), "complex": anthropic()}
        llm = RouterLLM(thrift, models=models, policy=lambda request, tier=tier: tier, max_tier=tier)
        for _ in range(2):
            answer = llm.chat_with_tools(TOOLS, "Where?", tool_required=True)
            (call,) = llm.get_tool_calls_from_response(answer)
            assert (call.tool_name, call.tool_kwargs) == ("get_order_status", {"order_id": 5})
            assert answer.additional_kwargs["llmthrift"]["tier"] == tier
    by_openai, by_anthropic = [received.body["tools"][0] for received in provider.requests]
    assert by_openai["function"]["name"] == by_anthropic["name"] == "get_order_status"


@pytest.mark.loopback
def test_a_fallback_brings_the_tools_along(thrift, provider, openai, anthropic):
    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("get_order_status", {"order_id": 5}),))
    provider.fail_next(status=429, times=1, model="gpt-4o-mini")
    llm = RouterLLM(thrift, models={"simple": openai(), "complex": anthropic()}, policy=lambda request: "simple")
    (call,) = llm.get_tool_calls_from_response(llm.chat_with_tools(TOOLS, "Where?", tool_required=True))
    assert call.tool_kwargs == {"order_id": 5}
    assert [row.provider for row in rows(thrift)] == ["openai", "anthropic"]


@pytest.mark.loopback
def test_a_loop_of_tools_is_judged_by_the_question_that_it_began_with(thrift, provider, router):
    llm = router(policy=lambda request: "complex" if request.history_messages > 1 else "simple")
    history = [ChatMessage("Where is order status 5?")]
    answer = llm.chat_with_tools(TOOLS, chat_history=list(history), tool_required=True)
    (call,) = llm.get_tool_calls_from_response(answer)
    history += [answer.message, ChatMessage("shipped", role="tool", additional_kwargs={"tool_call_id": call.tool_id})]
    llm.chat_with_tools(TOOLS, chat_history=list(history))
    assert asked(thrift) == ["simple", "simple"]


@pytest.mark.loopback
def test_metadata_is_what_every_model_can_do(thrift, openai, anthropic):
    mock = MockLLM(max_tokens=5)
    both = RouterLLM(thrift, models={"simple": openai(), "complex": anthropic()})
    assert both.metadata.is_function_calling_model
    assert both.metadata.context_window == min(openai().metadata.context_window, anthropic().metadata.context_window)
    mixed = RouterLLM(thrift, models={"simple": mock, "complex": openai()}).metadata
    assert not mixed.is_function_calling_model
    assert not mixed.is_chat_model
    assert (mixed.context_window, mixed.num_output) == (mock.metadata.context_window, 5)


def test_what_cannot_be_routed_is_told(thrift):
    llm = MockLLM()
    with pytest.raises(ConfigurationError, match="models is empty"):
        RouterLLM(thrift, models={})
    with pytest.raises(ConfigurationError, match="must be an LLM of LlamaIndex, not int"):
        RouterLLM(thrift, models={"simple": 4})
    with pytest.raises(ConfigurationError, match="do not nest"):
        RouterLLM(thrift, models={"simple": RouterLLM(thrift, models={"only": llm})})
    with pytest.raises(ConfigurationError, match="max_tier='x'"):
        RouterLLM(thrift, models={"simple": llm}, max_tier="x")
    with pytest.raises(ConfigurationError, match="baseline='x'"):
        RouterLLM(thrift, models={"simple": llm}, baseline="x")


def test_copies_and_pickles_route_on(thrift):
    llm = RouterLLM(thrift, models={"simple": MockLLM(max_tokens=1), "complex": MockLLM(max_tokens=2)})
    for twin in (copy.deepcopy(llm), llm.model_copy(), pickle.loads(pickle.dumps(llm))):
        assert twin.complete("Hi").text == "text"


def test_a_callback_manager_is_shared_with_the_models(thrift):
    inner, manager = MockLLM(), CallbackManager([])
    llm = RouterLLM(thrift, models={"only": inner})
    llm.callback_manager = manager
    assert inner.callback_manager is manager
    assert RouterLLM(thrift, models={"only": MockLLM()}, callback_manager=manager).models["only"].callback_manager is manager


@pytest.mark.loopback
def test_wrapped_models_in_a_router_count_once(thrift, provider, handler, openai):
    llm = RouterLLM(thrift, models={"only": thrifty(openai(), thrift)})
    for _ in range(2):
        llm.chat([ChatMessage("Hello?")])
    assert [row.cache for row in rows(thrift)] == [None, "exact"]


@pytest.mark.loopback
def test_disabled_and_observing(thrift, provider, router, monkeypatch):
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    llm = router()
    for _ in range(2):
        llm.complete("What is the capital of France?")
    assert asked(thrift) == ["complex", "complex"]
    assert rows(thrift)[1].observed_cache_nano_usd > 0
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    llm.chat_with_tools(TOOLS, "Where is order status 1?", max_tier="simple")
    assert len(provider.requests) == 3
    assert len(rows(thrift)) == 2


@pytest.mark.loopback
def test_documents_in_the_prompt_do_not_make_a_question_hard(thrift, provider, router):
    """The prompts of LlamaIndex's own templates are judged by their question, others as the application splits them."""
    documents = "Analyse, compare and prove the complexity of distributed algorithms step by step. " * 40
    seen: list[str] = []

    def choose(request: RouteRequest) -> str:
        seen.append(request.question)
        return "simple"

    router(policy=choose).complete(f"Context information is below.\n{documents}\nQuery: When do you open?\nAnswer: ")
    router(policy=choose, extract_question=lambda text: tuple(text.split("##"))).complete(f"{documents}##And when do you close?")
    assert seen == ["When do you open?", "And when do you close?"]
