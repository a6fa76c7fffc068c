"""`llmthrift demo --framework llamaindex`: one ordinary LlamaIndex application, run four times over the same workload."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from llama_index.core.llms import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from llama_index.core.tools.types import ToolMetadata
from llama_index_instrumentation.dispatcher import instrument_tags
from pydantic import create_model

from llmthrift_core.demo import WorkItem, Workload
from llmthrift_core.demo.learning import MODELS
from llmthrift_core.demo.outcome import (
    LATENCY_SECONDS,
    REPEAT,
    STRONG,
    Outcome,
    answers_by_meaning,
    shorter_prompts,
    with_answers,
    with_ledger,
)
from llmthrift_core.demo.prefixes import MODEL as PREFIXED
from llmthrift_core.demo.prefixes import Ask
from llmthrift_core.demo.show import demonstrate
from llmthrift_core.demo.workload import TOOLS, answerer, run_tool
from llmthrift_core.errors import MissingExtraError
from llmthrift_core.prompts import Shorten
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.thrift import Thrift
from llmthrift_llamaindex.handler import ThriftEventHandler
from llmthrift_llamaindex.router import RouterLLM
from llmthrift_llamaindex.thrifty_model import thrifty

if TYPE_CHECKING:
    from rich.console import Console

Client = Callable[[str], FunctionCallingLLM]


def run(console: Console, *, live: bool = False, requests: int | None = None, **options: Any) -> None:
    """Run the demonstration and print its tables. `options` are those of `demonstrate`."""
    with _provider(live=live) as (client, provider):
        demonstrate(
            console,
            through="LlamaIndex's OpenAI",
            bare=lambda thrift, workload, advance: run_bare(thrift, client, workload, advance),
            with_llmthrift=lambda thrift, workload, advance: run_with_llmthrift(thrift, client, workload, advance),
            by_meaning=lambda thrift, workload, advance: run_by_meaning(thrift, client, workload, advance),
            with_shorter_prompts=lambda thrift, workload, advance: run_with_shorter_prompts(thrift, client, workload, advance),
            routed=lambda thrift, workload, advance, policy=None: run_routed(thrift, client, workload, advance, policy),
            talker=talker,
            provider=provider,
            requests=requests,
            **options,
        )


def talker(url: str, thrift: Thrift, is_planned: bool) -> Ask:
    """Sends messages to a model that charges for its prompt cache, planned or as it does by itself."""
    from llama_index.llms.openai import OpenAI

    llm = thrifty(OpenAI(model=PREFIXED, api_base=url, api_key="no key"), thrift, cache=False, prompt_caching=is_planned)
    return lambda said: llm.chat([ChatMessage(role=role, content=text) for role, text in said])


def run_bare(thrift: Thrift, client: Client, workload: Workload, advance: Callable[[], None] = lambda: None) -> Outcome:
    """The application as it was: the strong model for everything. A handler measures, nothing else is changed."""
    with ThriftEventHandler(thrift):
        outcome = _drive("bare", client(STRONG), workload, advance)
    return with_ledger(outcome, thrift)


def run_with_llmthrift(thrift: Thrift, client: Client, workload: Workload, advance: Callable[[], None] = lambda: None) -> Outcome:
    """The same application with a router in the model's place: cached, routed, metered."""
    llm = RouterLLM(thrift, models={tier: client(model) for tier, model in MODELS.items()})
    return with_ledger(_drive("with llmthrift", llm, workload, advance), thrift)


def run_routed(
    thrift: Thrift, client: Client, workload: Workload, advance: Callable[[], None] = lambda: None, policy: Any = None
) -> Outcome:
    """The router without a cache, by the policy given."""
    llm = RouterLLM(thrift, models={tier: client(model) for tier, model in MODELS.items()}, policy=policy, cache=False)
    return with_ledger(_drive("routed", llm, workload, advance), thrift)


def run_by_meaning(thrift: Thrift, client: Client, workload: Workload, advance: Callable[[], None] = lambda: None) -> Outcome:
    """The router again, whose cache also answers questions that mean the same."""
    return _by_meaning("and by meaning", thrift, client, workload, advance)


def run_with_shorter_prompts(thrift: Thrift, client: Client, workload: Workload, advance: Callable[[], None] = lambda: None) -> Outcome:
    """The same, and what is sent is made shorter first."""
    return _by_meaning("and shorter prompts", thrift, client, workload, advance, shorten=shorter_prompts())


def _by_meaning(
    name: str, thrift: Thrift, client: Client, workload: Workload, advance: Callable[[], None], shorten: Shorten | None = None
) -> Outcome:
    answers = answers_by_meaning(thrift)
    llm = RouterLLM(thrift, models={tier: client(model) for tier, model in MODELS.items()}, semantic=answers, shorten=shorten)
    return with_answers(_drive(name, llm, workload, advance), thrift, answers)


def _drive(name: str, llm: FunctionCallingLLM, workload: Workload, advance: Callable[[], None]) -> Outcome:
    tools = [_tool(name, schema) for name, schema in TOOLS.items()]
    outcome = Outcome(name)
    for item in workload.items:
        messages = [ChatMessage(item.system_with_pages, role="system")]
        messages += [ChatMessage(text, role="assistant" if role == "ai" else "user") for role, text in item.history]
        messages.append(ChatMessage(item.question))
        tags = {"user": item.user, "feature": item.feature, "session": item.session, "tags": {REPEAT: "yes" if item.repeated else "no"}}
        started = time.perf_counter()
        with instrument_tags(tags):
            if item.needs_tools:
                is_right = _use_tools(llm, messages, tools, workload, item)
            elif item.stream:
                is_right = workload.judge(item, "".join(piece.delta or "" for piece in llm.stream_chat(messages)))
            else:
                is_right = workload.judge(item, llm.chat(messages).message.content or "")
        outcome.latencies.append(time.perf_counter() - started)
        if not is_right:
            outcome.wrong.append(item)
        advance()
    return outcome


def _use_tools(llm: FunctionCallingLLM, messages: list[ChatMessage], tools: list[FunctionTool], workload: Workload, item: WorkItem) -> bool:
    """Ask, run the tools that the model calls, and let it answer. Whether it called the right tool and said the right thing."""
    asked = llm.chat_with_tools(tools, chat_history=list(messages), allow_parallel_tool_calls=True)
    calls = llm.get_tool_calls_from_response(asked, error_on_no_tool_call=False)
    if not calls or not workload.judge(item, "", [{"name": call.tool_name, "args": call.tool_kwargs} for call in calls]):
        return False
    results = [
        ChatMessage(run_tool(call.tool_name, call.tool_kwargs), role="tool", additional_kwargs={"tool_call_id": call.tool_id})
        for call in calls
    ]
    answer = llm.chat_with_tools(tools, chat_history=[*messages, asked.message, *results], allow_parallel_tool_calls=True)
    return workload.judge(item, answer.message.content or "")


def _tool(name: str, schema: Any) -> FunctionTool:
    kinds = {"integer": int, "number": float, "boolean": bool}
    fields: dict[str, Any] = {
        field: (kinds.get(described.get("type"), str), ... if field in schema.get("required", ()) else None)
        for field, described in schema["properties"].items()
    }
    metadata = ToolMetadata(name=name, description=name.replace("_", " "), fn_schema=create_model(name, **fields))
    return FunctionTool(fn=lambda **arguments: run_tool(name, arguments), metadata=metadata)


@contextmanager
def _provider(*, live: bool) -> Iterator[tuple[Client, LoopbackProvider | None]]:
    try:
        from llama_index.llms.openai import OpenAI
    except ImportError:
        raise MissingExtraError("demo-llamaindex", "llama-index-llms-openai") from None
    usage = {"stream_options": {"include_usage": True}}
    loopback = LoopbackProvider(answerer(lambda model: model == STRONG), latency_seconds=lambda model: LATENCY_SECONDS[model])
    with nullcontext() if live else loopback as provider:
        given: dict[str, Any] = {} if provider is None else {"api_base": provider.openai_url, "api_key": "no key"}
        yield (lambda model: OpenAI(model=model, additional_kwargs=dict(usage), **given)), provider
