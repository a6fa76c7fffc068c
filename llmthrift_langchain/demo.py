"""`llmthrift demo`: one ordinary LangChain chain over one workload: as it was, and with more and more of llmthrift."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig

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
from llmthrift_langchain.cache import ThriftCache
from llmthrift_langchain.handler import ThriftCallbackHandler
from llmthrift_langchain.router import ChatRouter
from llmthrift_langchain.thrifty_model import thrifty

if TYPE_CHECKING:
    from rich.console import Console

_TOOLS: Final = [
    {"type": "function", "function": {"name": name, "description": name.replace("_", " "), "parameters": dict(schema)}}
    for name, schema in TOOLS.items()
]


def run(console: Console, *, live: bool = False, requests: int | None = None, **options: Any) -> None:
    """Run the demonstration and print its tables. `options` are those of `demonstrate`."""
    with _provider(live=live) as (client, provider):
        demonstrate(
            console,
            through="LangChain's ChatOpenAI",
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
    from langchain_openai import ChatOpenAI

    client = ChatOpenAI(model=PREFIXED, base_url=url, api_key="no key", stream_usage=True)
    model = thrifty(client, thrift, cache=False, prompt_caching=is_planned)
    return lambda said: model.invoke(list(said))


def run_bare(
    thrift: Thrift, client: Callable[[str], BaseChatModel], workload: Workload, advance: Callable[[], None] = lambda: None
) -> Outcome:
    """The chain as it was: the strong model for everything. A handler measures, nothing else is changed."""
    outcome = _drive("bare", client(STRONG), workload, {"callbacks": [ThriftCallbackHandler(thrift)]}, advance)
    return with_ledger(outcome, thrift)


def run_with_llmthrift(
    thrift: Thrift, client: Callable[[str], BaseChatModel], workload: Workload, advance: Callable[[], None] = lambda: None
) -> Outcome:
    """The same chain with a router in the model's place: cached, routed, metered."""
    router = ChatRouter(thrift, models={tier: client(model) for tier, model in MODELS.items()}, cache=True)
    return with_ledger(_drive("with llmthrift", router, workload, {}, advance), thrift)


def run_routed(
    thrift: Thrift,
    client: Callable[[str], BaseChatModel],
    workload: Workload,
    advance: Callable[[], None] = lambda: None,
    policy: Any = None,
) -> Outcome:
    """The router without a cache, by the policy given."""
    router = ChatRouter(thrift, models={tier: client(model) for tier, model in MODELS.items()}, policy=policy, cache=False)
    return with_ledger(_drive("routed", router, workload, {}, advance), thrift)


def run_by_meaning(
    thrift: Thrift, client: Callable[[str], BaseChatModel], workload: Workload, advance: Callable[[], None] = lambda: None
) -> Outcome:
    """The router again, whose cache also answers questions that mean the same."""
    return _by_meaning("and by meaning", thrift, client, workload, advance)


def run_with_shorter_prompts(
    thrift: Thrift, client: Callable[[str], BaseChatModel], workload: Workload, advance: Callable[[], None] = lambda: None
) -> Outcome:
    """The same, and what is sent is made shorter first."""
    return _by_meaning("and shorter prompts", thrift, client, workload, advance, shorten=shorter_prompts())


def _by_meaning(
    name: str,
    thrift: Thrift,
    client: Callable[[str], BaseChatModel],
    workload: Workload,
    advance: Callable[[], None],
    shorten: Shorten | None = None,
) -> Outcome:
    answers = answers_by_meaning(thrift)
    models = {tier: client(model) for tier, model in MODELS.items()}
    router = ChatRouter(thrift, models=models, cache=ThriftCache(thrift, semantic=answers), shorten=shorten)
    return with_answers(_drive(name, router, workload, {}, advance), thrift, answers)


def _drive(name: str, model: BaseChatModel, workload: Workload, config: RunnableConfig, advance: Callable[[], None]) -> Outcome:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "{system}"), ("placeholder", "{history}"), ("human", "{question}"), ("placeholder", "{tool_results}")]
    )
    chain, with_tools = prompt | model, prompt | model.bind_tools(_TOOLS)
    outcome = Outcome(name)
    for item in workload.items:
        given = {"system": item.system_with_pages, "history": list(item.history), "question": item.question}
        tags = {REPEAT: "yes" if item.repeated else "no"}
        own: RunnableConfig = {**config, "metadata": {"user": item.user, "feature": item.feature, "session": item.session, "tags": tags}}
        started = time.perf_counter()
        if item.needs_tools:
            is_right = _use_tools(with_tools, given, own, workload, item)
        elif item.stream:
            is_right = workload.judge(item, "".join(str(chunk.content) for chunk in chain.stream(given, own)))
        else:
            is_right = workload.judge(item, str(chain.invoke(given, own).content))
        outcome.latencies.append(time.perf_counter() - started)
        if not is_right:
            outcome.wrong.append(item)
        advance()
    return outcome


def _use_tools(
    chain: Runnable[dict[str, Any], AIMessage], given: dict[str, Any], config: RunnableConfig, workload: Workload, item: WorkItem
) -> bool:
    """Ask, run the tools that the model calls, and let it answer. Whether it called the right tool and said the right thing."""
    asked = chain.invoke(given, config)
    if not asked.tool_calls or not workload.judge(item, "", [dict(call) for call in asked.tool_calls]):
        return False
    results = [ToolMessage(run_tool(call["name"], call["args"]), tool_call_id=call["id"]) for call in asked.tool_calls]
    return workload.judge(item, str(chain.invoke({**given, "tool_results": [asked, *results]}, config).content))


@contextmanager
def _provider(*, live: bool) -> Iterator[tuple[Callable[[str], BaseChatModel], LoopbackProvider | None]]:
    try:
        from langchain_openai import ChatOpenAI
    except ImportError:
        raise MissingExtraError("demo", "langchain-openai") from None
    if live:
        yield (lambda model: ChatOpenAI(model=model, stream_usage=True)), None
        return
    with LoopbackProvider(answerer(lambda model: model == STRONG), latency_seconds=lambda model: LATENCY_SECONDS[model]) as provider:
        yield (lambda model: ChatOpenAI(model=model, base_url=provider.openai_url, api_key="no key", stream_usage=True)), provider
