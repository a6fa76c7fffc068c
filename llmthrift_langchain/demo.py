"""`llmthrift demo`: one ordinary LangChain chain over one workload: bare, with llmthrift, and with answers by meaning too."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig

from llmthrift_core.demo import WorkItem, Workload, load_workload
from llmthrift_core.demo.workload import TOOLS, answerer, run_tool
from llmthrift_core.display import usd
from llmthrift_core.errors import MissingExtraError
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.thrift import Thrift
from llmthrift_langchain.handler import ThriftCallbackHandler
from llmthrift_langchain.router import ChatRouter

if TYPE_CHECKING:
    from rich.console import Console

CHEAP: Final = "gpt-4o-mini"
STRONG: Final = "gpt-4o"
# Time to the answer, a tenth of what these models typically take, so that the demonstration is quick.
_LATENCY_SECONDS: Final = {CHEAP: 0.03, STRONG: 0.07}
_REPEATED_SHARES: Final = (0.0, 0.25, 0.5, 0.75)
# For a few hundred requests: `ErrorBound`, the default, has then seen too little to answer anything by meaning, and says so.
_SIMILARITY: Final = 0.8
_REPEAT: Final = "repeat"
_TOOLS: Final = [
    {"type": "function", "function": {"name": name, "description": name.replace("_", " "), "parameters": dict(schema)}}
    for name, schema in TOOLS.items()
]


@dataclass(slots=True)
class Outcome:
    """One run over the workload, as the ledger and the answers tell it. Amounts are US dollars, latency seconds."""

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    saved_by_cache_usd: Decimal = Decimal(0)
    saved_by_routing_usd: Decimal = Decimal(0)
    cache_hits: int = 0
    semantic_hits: int = 0
    models: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    wrong: list[WorkItem] = field(default_factory=list)

    @property
    def hit_rate(self) -> float:
        """Share of calls that the cache answered."""
        return self.cache_hits / self.calls if self.calls else 0.0

    @property
    def median_latency(self) -> float:
        """Seconds until an answer was whole."""
        return statistics.median(self.latencies) if self.latencies else 0.0


def run(console: Console, *, live: bool = False, requests: int | None = None) -> None:
    """Run the demonstration and print its tables."""
    workload = load_workload()
    if requests is not None:
        workload = workload.first(requests)
    where = "the real provider" if live else "an OpenAI-compatible server on loopback (no key, no cost)"
    console.print(
        f"[bold]{len(workload)} requests[/bold] of an online shop's assistant, {workload.repeated_share:.0%} of them word-for-word "
        f"repeats, through LangChain's ChatOpenAI against {where}."
    )
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, _provider(live=live) as (client, provider):
        with _progress(console, 3 * len(workload)) as advance:
            bare = run_bare(Thrift(f"{folder}/bare.db"), client, workload, advance)
            thrift = Thrift(f"{folder}/llmthrift.db")
            thrifty = run_with_llmthrift(thrift, client, workload, advance)
            with Thrift(f"{folder}/meaning.db") as other:
                by_meaning, belief = run_by_meaning(other, client, workload, advance)
        console.print(_comparison(bare, thrifty, by_meaning))
        console.print(
            f"Answers by meaning: above a fixed similarity of {_SIMILARITY}, where the near-miss guard sees no other number, name or "
            f"denial. The default, ErrorBound(0.01), answers none of so few requests; it says: [italic]{belief}[/italic]."
        )
        for by in ("model", "feature"):
            console.print(str(thrift.report(by=by)), "", sep="\n", markup=False, highlight=False, soft_wrap=True)
        total = thrifty.saved_by_cache_usd + thrifty.saved_by_routing_usd
        console.print(
            f"Spent {usd(thrifty.cost_usd)} + saved by cache {usd(thrifty.saved_by_cache_usd)} + saved by routing "
            f"{usd(thrifty.saved_by_routing_usd)} = {usd(thrifty.cost_usd + total)}; the bare run cost {usd(bare.cost_usd)}. "
            "The two differ because a hard question that went to the cheap model got a shorter answer."
        )
        for question, times in Counter(item.question for item in thrifty.wrong).most_common():
            console.print(f"  judged wrong {times}x: [italic]{question}[/italic]")
        thrift.close()
        if provider is not None:
            provider.latency_seconds = None  # only the amounts matter here
            console.print(_dependence(client, folder, console))


def run_bare(
    thrift: Thrift, client: Callable[[str], BaseChatModel], workload: Workload, advance: Callable[[], None] = lambda: None
) -> Outcome:
    """The chain as it was: the strong model for everything. A handler measures, nothing else is changed."""
    outcome = _drive("bare", client(STRONG), workload, {"callbacks": [ThriftCallbackHandler(thrift)]}, advance)
    return _with_ledger(outcome, thrift)


def run_with_llmthrift(
    thrift: Thrift, client: Callable[[str], BaseChatModel], workload: Workload, advance: Callable[[], None] = lambda: None
) -> Outcome:
    """The same chain with a router in the model's place: cached, routed, metered."""
    router = ChatRouter(thrift, models={"simple": client(CHEAP), "complex": client(STRONG)}, cache=True)
    return _with_ledger(_drive("with llmthrift", router, workload, {}, advance), thrift)


def run_by_meaning(
    thrift: Thrift, client: Callable[[str], BaseChatModel], workload: Workload, advance: Callable[[], None] = lambda: None
) -> tuple[Outcome, str]:
    """The router again, whose cache also answers questions that mean the same, and what `ErrorBound` makes of these questions."""
    from llmthrift_core.cache import FixedThreshold, SemanticCache
    from llmthrift_langchain.cache import ThriftCache

    answers = SemanticCache(thrift, policy=FixedThreshold(_SIMILARITY))
    models = {"simple": client(CHEAP), "complex": client(STRONG)}
    router = ChatRouter(thrift, models=models, cache=ThriftCache(thrift, semantic=answers))
    outcome = _with_ledger(_drive("and by meaning", router, workload, {}, advance), thrift)
    outcome.semantic_hits = answers.stats()["semantic_hits"]
    # What was learned is kept apart from the policy, so that another one can be asked.
    bound = SemanticCache(thrift, answers.embedder)
    return outcome, bound.belief().text


def _drive(name: str, model: BaseChatModel, workload: Workload, config: RunnableConfig, advance: Callable[[], None]) -> Outcome:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "{system}"), ("placeholder", "{history}"), ("human", "{question}"), ("placeholder", "{tool_results}")]
    )
    chain, with_tools = prompt | model, prompt | model.bind_tools(_TOOLS)
    outcome = Outcome(name)
    for item in workload.items:
        given = {"system": item.system, "history": list(item.history), "question": item.question}
        tags = {_REPEAT: "yes" if item.repeated else "no"}
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


def _with_ledger(outcome: Outcome, thrift: Thrift) -> Outcome:
    for row in thrift.report(by="model").to_dicts():
        outcome.calls += row["requests"]
        outcome.input_tokens += row["input_tokens"]
        outcome.output_tokens += row["output_tokens"]
        outcome.cost_usd += row["cost_usd"]
        outcome.saved_by_cache_usd += row["cache_saved_usd"]
        outcome.saved_by_routing_usd += row["routing_saved_usd"]
        outcome.cache_hits += row["cache_hits"]
        outcome.models[row["model"]] += row["requests"] - row["cache_hits"]
    return outcome


def _comparison(bare: Outcome, *others: Outcome) -> Any:
    from rich.table import Table

    table = Table("", title="The same workload, three times")
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("calls", lambda o: f"{o.calls:,}"),
        ("input tokens", lambda o: f"{o.input_tokens:,}"),
        ("output tokens", lambda o: f"{o.output_tokens:,}"),
        ("cost", lambda o: usd(o.cost_usd)),
        ("cache hit rate", lambda o: f"{o.hit_rate:.0%}"),
        ("of these by meaning", lambda o: str(o.semantic_hits)),
        ("model calls", lambda o: ", ".join(f"{count} {model}" for model, count in sorted(o.models.items()) if count)),
        ("median latency", lambda o: f"{o.median_latency * 1000:,.1f} ms"),
        ("answers judged wrong", lambda o: str(len(o.wrong))),
        ("saved by cache", lambda o: usd(o.saved_by_cache_usd)),
        ("saved by routing", lambda o: usd(o.saved_by_routing_usd)),
    ]
    table.add_column(bare.name, justify="right")
    for other in others:
        table.add_column(other.name, justify="right", style="bold")
    for label, value in rows:
        table.add_row(label, value(bare), *map(value, others))
    table.add_section()
    table.add_row("cheaper by", "", *(f"{1 - other.cost_usd / bare.cost_usd:.0%}" if bare.cost_usd else "" for other in others))
    return table


def _dependence(client: Callable[[str], BaseChatModel], folder: str, console: Console) -> Any:
    from rich.table import Table

    table = Table(
        "repeats",
        "requests",
        "bare",
        "with llmthrift",
        "cache alone saves",
        "with routing",
        title="How the saving depends on repetition",
    )
    for column in table.columns:
        column.justify = "right"
    sizes = [len(load_workload(repeated_share=share)) for share in _REPEATED_SHARES]
    with _progress(console, 2 * sum(sizes)) as advance:
        for share in _REPEATED_SHARES:
            workload = load_workload(repeated_share=share)
            with Thrift(f"{folder}/bare-{share}.db") as plain, Thrift(f"{folder}/with-{share}.db") as thrift:
                bare = run_bare(plain, client, workload, advance)
                thrifty = run_with_llmthrift(thrift, client, workload, advance)
                # What the cache alone saves: the bare run's cost of the requests whose words had arrived before.
                cached = sum(row["cost_usd"] for row in plain.report(by=_REPEAT).to_dicts() if row[_REPEAT] == "yes")
            table.add_row(
                f"{share:.0%}",
                str(len(workload)),
                usd(bare.cost_usd),
                usd(thrifty.cost_usd),
                f"{cached / bare.cost_usd:.0%}",
                f"{1 - thrifty.cost_usd / bare.cost_usd:.0%}",
            )
    return table


@contextmanager
def _provider(*, live: bool) -> Iterator[tuple[Callable[[str], BaseChatModel], LoopbackProvider | None]]:
    try:
        from langchain_openai import ChatOpenAI
    except ImportError:
        raise MissingExtraError("demo", "langchain-openai") from None
    if live:
        yield (lambda model: ChatOpenAI(model=model, stream_usage=True)), None
        return
    with LoopbackProvider(answerer(lambda model: model == STRONG), latency_seconds=lambda model: _LATENCY_SECONDS[model]) as provider:
        yield (lambda model: ChatOpenAI(model=model, base_url=provider.openai_url, api_key="no key", stream_usage=True)), provider


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("running"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("requests", total=total)
        yield lambda: progress.advance(task)
