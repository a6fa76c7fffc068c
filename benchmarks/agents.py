"""Agents within budgets: recorded runs at half of their mean cost, dollars of sessions, and what the middleware takes.

    python -m benchmarks.agents [runs|sessions|overhead] [--conversations 88] [--seller openai|anthropic] [--data FOLDER]

Replays the tool conversations of `agent_conversations.jsonl.gz` with their recorded answers, through real clients against the loopback
provider, at list prices of gpt-4o and gpt-4o-mini; sessions also of claude-sonnet-4-5 and claude-haiku-4-5. A recorded run does not react
to what it is told, and answers of a cheaper model are not judged: this counts what is paid for, not what is solved. Data: `--data`, or
`../shared/data` (skipped where absent).
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, AnyMessage, convert_to_messages
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI

from benchmarks.measure import table
from llmthrift_core import Budget, BudgetExceededError, Thrift, attribute
from llmthrift_core.prompts import Shorten
from llmthrift_core.prompts.steps import History
from llmthrift_core.routing import Complexity, Rules, Sticky, Upgrading
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_langchain import ChatRouter, ThriftMiddleware

DATA = Path(__file__).parents[2] / "shared" / "data"
NAMES = {"small": "gpt-4o-mini", "large": "gpt-4o"}
SELLERS = {"openai": NAMES, "anthropic": {"small": "claude-haiku-4-5", "large": "claude-sonnet-4-5"}}
MOST_TOKENS = 400
PARTS = ("runs", "sessions", "overhead")


@dataclass
class Recorded:
    """One conversation, and how far it was replayed."""

    name: str
    messages: list[dict[str, Any]]
    answers: deque[Answer] = field(default_factory=deque)
    results: deque[str] = field(default_factory=deque)

    def rewind(self) -> None:
        """From its start."""
        self.answers = deque(_answer_of(each) for each in self.messages if each["role"] == "assistant")
        self.results = deque(str(each["content"]) for each in self.messages if each["role"] == "tool")

    @property
    def tools(self) -> set[str]:
        return {call["function"]["name"] for each in self.messages for call in each.get("tool_calls") or ()}


def _answer_of(message: dict[str, Any]) -> Answer:
    calls = tuple(ToolCall(each["function"]["name"], _arguments(each)) for each in message.get("tool_calls") or ())
    return Answer(message.get("content") or "", tool_calls=calls)


def _arguments(call: dict[str, Any]) -> Any:
    try:
        return json.loads(call["function"]["arguments"])
    except ValueError:
        return {}


class Player:
    """Answers as recorded, and sums up when told to."""

    def __init__(self) -> None:
        self.playing: Recorded | None = None

    def __call__(self, question: Question) -> Answer:
        if any("is used up" in text for role, text in question.messages if role == "system") or self.playing is None:
            return Answer("The reservation was looked up; the change is open.")
        return self.playing.answers.popleft() if self.playing.answers else Answer("That is all.")


def conversations(folder: Path, most: int) -> list[Recorded]:
    """The recorded conversations."""
    with gzip.open(folder / "agent_conversations.jsonl.gz", "rt", encoding="utf-8") as file:
        return [Recorded(f"run {number}", json.loads(line)["messages"]) for number, line in enumerate(file)][:most]


@contextmanager
def playing(*, prompt_caches: bool, seller: str = "openai") -> Iterator[tuple[Player, LoopbackProvider, dict[str, Any]]]:
    """A provider that plays recordings, and clients of it."""
    player = Player()
    with LoopbackProvider(player, prompt_caches=prompt_caches) as provider:
        if seller == "anthropic":
            given: dict[str, Any] = {"base_url": provider.anthropic_url, "api_key": "none", "max_retries": 0, "max_tokens": MOST_TOKENS}
            yield player, provider, {tier: ChatAnthropic(model=name, **given) for tier, name in SELLERS[seller].items()}
            return
        options = {"base_url": provider.openai_url, "api_key": "none", "max_retries": 0, "max_tokens": MOST_TOKENS}
        yield player, provider, {tier: ChatOpenAI(model=name, **options) for tier, name in NAMES.items()}


def play(agent: Any, recorded: Recorded) -> list[AnyMessage]:
    """A conversation as its users typed it: one run of the agent for each message, all of one budgeted run."""
    history: list[AnyMessage] = []
    for message in recorded.messages:
        if message["role"] == "system":
            history += convert_to_messages([message])
        elif message["role"] == "user" and recorded.answers:
            history = agent.invoke({"messages": [*history, ("user", message["content"])]}, {"recursion_limit": 200})["messages"]
            if history[-1].response_metadata.get("llmthrift", {}).get("stopped_by"):
                break
    return history


@dataclass
class Outcome:
    """What became of the runs under one middleware."""

    paid: int = 0
    ended_well: int = 0
    failed: int = 0
    usd: list[Decimal] = field(default_factory=list)
    turns: float = 0.0


def replay(recorded: Sequence[Recorded], limit_usd: Decimal | None, **options: Any) -> Outcome:
    """All conversations, each within the limit."""
    outcome = Outcome()
    with playing(prompt_caches=False) as (player, _, models), Thrift(":memory:", capture="off") as thrift:
        if limit_usd is not None:
            thrift.budgets.add(Budget(limit_usd=limit_usd, per="run"))
        for each in recorded:
            each.rewind()
            player.playing, all_turns = each, len(each.answers)
            tools = [_tool(name, each) for name in each.tools]
            agent = create_agent(models["large"], tools, middleware=[ThriftMiddleware(thrift, models=models, **options)])
            with attribute(run=each.name):
                try:
                    play(agent, each)
                except BudgetExceededError:
                    outcome.failed += 1
                else:
                    outcome.ended_well += 1
            outcome.paid += not each.answers
            outcome.turns += (all_turns - len(each.answers)) / all_turns / len(recorded)
        thrift.flush()
        outcome.usd = [row["cost_usd"] for row in thrift.report(by="run").to_dicts() if row["cost_usd"] is not None]
        if limit_usd is not None:
            assert all(row["spent"] <= row["limit"] for row in thrift.budgets.status()), "a limit was passed"
    return outcome


def _tool(name: str, recorded: Recorded) -> StructuredTool:
    def result(**given: Any) -> str:
        return recorded.results.popleft() if recorded.results else "Done."

    schema = {"type": "object", "properties": {}, "additionalProperties": True, "title": name}
    return StructuredTool.from_function(result, name=name, description=name, args_schema=schema)


def runs(recorded: Sequence[Recorded]) -> str:
    """Runs whose every recorded turn is paid for inside half of their mean cost."""
    strong: dict[str, Any] = {"policy": Rules([], default="large")}
    free = replay(recorded, None, **strong)
    mean = sum(free.usd, Decimal(0)) / len(recorded)
    limit = (mean / 2).quantize(Decimal("0.000001"))
    shorter = Shorten([History(max_tokens=3_000)])
    arms: dict[str, dict[str, Any]] = {
        "hard stop": {},
        "summary alone": {"on_exceeded": "summarize", "summary_tokens": 300},
        "cheaper model past 40%": {"on_exceeded": "summarize", "summary_tokens": 300, "soft": 0.4, "soft_tier": "small"},
        "shorter history past 40%": {"on_exceeded": "summarize", "summary_tokens": 300, "soft": 0.4, "soft_shorten": shorter},
        "both": {"on_exceeded": "summarize", "summary_tokens": 300, "soft": 0.4, "soft_tier": "small", "soft_shorten": shorter},
    }
    rows = []
    for name, options in arms.items():
        found = replay(recorded, limit, **strong, **options)
        count = len(recorded)
        usd = sum(found.usd, Decimal(0)) / count
        rows.append([name, f"{found.paid / count:.0%}", f"{found.turns:.0%}", f"{found.failed / count:.0%}", f"{usd:.4f}"])
    title = f"{len(recorded)} runs, mean cost {mean:.4f} USD with gpt-4o, each given {limit:.4f} USD:"
    return table(title, ["", "every turn is paid", "turns paid", "ends with an error", "USD a run"], rows)


def sessions(recorded: Sequence[Recorded], seller: str) -> str:
    """Dollars of whole sessions under a provider's prompt cache."""
    rows, strongest, names = [], Decimal(0), SELLERS[seller]
    for name in ("always the strong one", "by turn", "by turn, priced", "by turn, priced, upgraded"):
        with playing(prompt_caches=True, seller=seller) as (player, _, models), Thrift(":memory:", capture="off") as thrift:
            priced = Sticky(Complexity(), names, catalog=thrift.prices)
            policies = [Rules([], default="large"), Complexity(), priced, Upgrading(priced)]
            policy = dict(zip(("always the strong one", "by turn", "by turn, priced", "by turn, priced, upgraded"), policies, strict=True))[
                name
            ]
            router = ChatRouter(thrift, models=models, policy=policy, cache=False, prompt_caching=seller == "anthropic")
            changes = 0
            for each in recorded:
                each.rewind()
                player.playing = each
                messages = convert_to_messages([_cleaned(message) for message in each.messages])
                before = None
                with attribute(session=each.name):
                    for place, message in enumerate(messages):
                        if message.type == "ai":
                            tier = router.invoke(messages[:place]).response_metadata["llmthrift"]["tier"]
                            changes, before = changes + (before not in (None, tier)), tier
            thrift.flush()
            total = thrift.report().total
            usd = total["cost_usd"]
            strongest = strongest or usd
            rows_of = thrift.report(by="model").to_dicts()
            large = (
                sum(row["requests"] for row in rows_of if names["large"] in row["model"] and names["small"] not in row["model"])
                / total["requests"]
            )
            read = total["cache_read_tokens"] / total["input_tokens"]
            rows.append([name, f"{usd:.2f}", f"{1 - usd / strongest:.0%}", f"{large:.0%}", str(changes), f"{read:.0%}"])
    title = f"{len(recorded)} sessions under a simulated prompt cache ({seller}'s terms):"
    return table(title, ["", "USD", "saved", f"calls of {names['large']}", "changes of model", "input from the cache"], rows)


def _cleaned(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "content": message.get("content") or ""}


def overhead(calls: int = 300) -> str:
    """Processor time that the middleware adds to a model call that answers at once."""

    def taken(middleware: list[Any]) -> float:
        answer = AIMessage("Done.", usage_metadata={"input_tokens": 8, "output_tokens": 2, "total_tokens": 10})
        agent = create_agent(FakeMessagesListChatModel(responses=[answer]), middleware=middleware)
        given = {"messages": [("user", "Go")]}
        for _ in range(30):
            agent.invoke(given)
        started = time.process_time()
        for _ in range(calls):
            agent.invoke(given)
        return (time.process_time() - started) / calls * 1e3

    with Thrift(":memory:", capture="off") as metered, Thrift(":memory:", capture="off") as bounded:
        metered.prices.override("FakeMessagesListChatModel", input_usd_per_million=1, output_usd_per_million=1)
        bounded.prices.override("FakeMessagesListChatModel", input_usd_per_million=1, output_usd_per_million=1)
        bounded.budgets.add(Budget(limit_usd=1_000_000, per="run"))
        subjects = {
            "metered": [ThriftMiddleware(metered)],
            "within a budget": [ThriftMiddleware(bounded, max_tokens=100)],
            "with a soft limit": [ThriftMiddleware(bounded, max_tokens=100, soft=0.8)],
            "with room for a summary": [ThriftMiddleware(bounded, max_tokens=100, soft=0.8, on_exceeded="summarize")],
        }
        rounds: dict[str, list[float]] = {name: [] for name in ("", *subjects)}
        for _ in range(5):
            for name in rounds:
                rounds[name].append(taken(subjects.get(name, [])))
        alone = median(rounds.pop(""))
        rows = [[name, f"{median(each) - alone:.2f}"] for name, each in rounds.items()]
    return table(f"Beside an agent's own {alone:.2f} ms, milliseconds of processor time a model call:", ["", "ms"], rows)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("what", nargs="?", choices=(*PARTS, "all"), default="all")
    options.add_argument("--conversations", type=int, default=88)
    options.add_argument("--seller", choices=tuple(SELLERS), default="openai")
    options.add_argument("--data", type=Path, default=DATA)
    given = options.parse_args()
    recorded = conversations(given.data, given.conversations) if (given.data / "agent_conversations.jsonl.gz").exists() else []
    if not recorded and given.what != "overhead":
        print(f"skipped: there is no agent_conversations.jsonl.gz in {given.data}")
    if recorded and given.what in ("runs", "all"):
        print(runs(recorded))
    if recorded and given.what in ("sessions", "all"):
        print(sessions(recorded, given.seller))
    if given.what in ("overhead", "all"):
        print(overhead())


if __name__ == "__main__":
    main()
