"""Replays a workload through real clients against a provider on loopback that answers as recorded and bills prompt caches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_openai import ChatOpenAI

from benchmarks.whole.workload import AGENT, WEAK, WEAK_USD_PER_MILLION, Asked, Recorded
from llmthrift_core import Thrift, attribute
from llmthrift_core.reports.savings import SavingsReport
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer, Question

JUDGE = "gpt-4o-mini"
_START = 1_780_000_000.0  # seconds since the epoch: some day, the same in every run


class Clock:
    """The time of the replay."""

    def __init__(self) -> None:
        self.now = _START

    def __call__(self) -> float:
        return self.now


class RecordedProvider:
    """What the provider is to answer next, and what it was sent."""

    def __init__(self, clock: Clock) -> None:
        self.asked: Asked | None = None
        self.judged: float = 0.0
        self.loopback = LoopbackProvider(self._answer, prompt_caches=True, clock=clock, snapshots={})

    def _answer(self, question: Question) -> Answer:
        if question.model == JUDGE:  # the code that a verdict must repeat ends the judge's prompt
            return Answer(f"{question.last_user_text.split()[-1]} {10 * self.judged:g}")
        if self.asked is None:
            raise AssertionError("nothing is asked")
        return self.asked.answers[question.model].answer()

    def received(self) -> str:
        """The last prompt as it arrived; "" where nothing did."""
        return json.dumps(self.loopback.requests[-1].body, ensure_ascii=False) if self.loopback.requests else ""


@dataclass
class Clients:
    """Makes clients of the providers, as an application has them."""

    provider: RecordedProvider
    _made: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, model: str) -> Any:
        if model not in self._made:
            loopback = self.provider.loopback
            if model == AGENT:
                self._made[model] = ChatAnthropic(model=model, base_url=loopback.anthropic_url, api_key="none", max_retries=0)
            else:
                self._made[model] = ChatOpenAI(model=model, base_url=loopback.openai_url, api_key="none", max_retries=0)
        return self._made[model]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    part: str
    usd: float
    quality: float
    milliseconds: float


@dataclass
class Replayed:
    """A whole replay.

    Attributes:
        outcomes: by the request's place in the workload; `usd` includes the labels that it was used for.
        judged, routed: requests whose answers were judged, of those that a router sent to a model.
        savings: of `thrift.savings()`.
        notes: what the application did beside answering.
        cpu_seconds: processor time of the process, client and provider included.
    """

    outcomes: dict[int, Outcome]
    savings: SavingsReport
    labels_usd: float = 0.0
    labels: int = 0
    judged: int = 0
    routed: int = 0
    notes: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0


Application = Callable[[Thrift, Clients], Any]
"""Makes what answers: an object with `answer(asked, messages, run_id)`, and `after(asked, run_id, answer)` and `notes`."""


def replay(requests: Iterable[tuple[int, Asked]], nine_prices: Mapping[str, float], application: Application) -> Replayed:
    """Answer requests one after the other, each at its own time."""
    clock = Clock()
    prices = {
        name: {"input_usd_per_million": str(usd), "output_usd_per_million": str(usd)}
        for name, usd in {**nine_prices, WEAK: WEAK_USD_PER_MILLION}.items()
    }
    outcomes: dict[int, Outcome] = {}
    started = time.process_time()
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="whole-"))
        provider = RecordedProvider(clock)
        stack.enter_context(provider.loopback)
        thrift = stack.enter_context(Thrift(Path(folder, "whole.db"), clock=clock, prices=prices, capture="text"))
        app = application(thrift, Clients(provider))
        moments: list[tuple[int, float]] = []
        last = 0.0
        for place, asked in requests:
            last = max(last + 0.001, asked.at)
            clock.now = _START + last
            moments.append((place, clock.now))
            provider.asked = asked
            provider.loopback.requests.clear()
            run_id = uuid4()
            messages = convert_to_messages([dict(each) for each in asked.messages])
            began = time.perf_counter()
            with attribute(feature=asked.part, call_site=asked.call_site):
                answer = app.answer(asked, messages, run_id)
            taken = 1_000 * (time.perf_counter() - began)
            outcomes[place] = Outcome(asked.part, 0.0, score(asked, answer, provider.received()), taken)
            app.after(asked, messages, str(run_id), answer, provider)
        thrift.flush()
        spent: dict[int, float] = {}
        labels_usd = 0.0
        for row in thrift.ledger.calls():
            if row.cost_usd is None:
                raise AssertionError(f"no price for {row.model}")
            spent[row.at_us] = spent.get(row.at_us, 0.0) + float(row.cost_usd)
            if row.request_type == "evaluation" or row.feature == "labels":
                labels_usd += float(row.cost_usd)
        found = {
            place: Outcome(outcomes[place].part, spent.get(int(at * 1e6), 0.0), outcomes[place].quality, outcomes[place].milliseconds)
            for place, at in moments
        }
        savings = thrift.savings()
        if abs(sum(each.usd for each in found.values()) - float(savings.spent_usd)) > 1e-6:
            raise AssertionError("the requests' dollars do not add up to what the ledger spent")
        cpu_seconds = time.process_time() - started
        return Replayed(found, savings, labels_usd, app.labels, app.judged, app.routed, list(app.notes), cpu_seconds)


def score(asked: Asked, answer: AIMessage, received: str) -> float:
    """The recorded score of an answer; 0 for an answer to another question."""
    text = answer.content if isinstance(answer.content, str) else "".join(_text_of(block) for block in answer.content)
    if asked.part == "support":
        return float(text.partition("\n")[0] == f"Intent: {asked.right}")
    known: Recorded | None = next((each for each in asked.answers.values() if each.text.strip() == text.strip()), None)
    if asked.part == "conversations":
        recorded = asked.answers[AGENT]
        calls = [(each["name"], each["args"]) for each in answer.tool_calls]
        return float(calls == [(recorded.tool_call[0], dict(recorded.tool_call[1]))] if recorded.tool_call else known is recorded)
    if known is None:
        return 0.0
    if asked.part == "documents":
        return float(json.dumps(asked.right, ensure_ascii=False)[1:-1] in received)
    return known.quality


def _text_of(block: Any) -> str:
    return block if isinstance(block, str) else str(block.get("text", ""))


class Naive:
    """The application as it was: one model for each part, metered and nothing else."""

    labels = judged = routed = 0
    notes: tuple[str, ...] = ()

    def __init__(self, thrift: Thrift, clients: Clients) -> None:
        from llmthrift_langchain import ThriftCallbackHandler

        self._clients = clients
        self._handler = ThriftCallbackHandler(thrift)

    def answer(self, asked: Asked, messages: list[BaseMessage], run_id: Any) -> AIMessage:
        """The strongest model's answer."""
        model = self._clients[asked.naive]
        if asked.tools:
            model = model.bind_tools(asked.tools)
        answer: AIMessage = model.invoke(messages, {"run_id": run_id, "callbacks": [self._handler]})
        return answer

    def after(self, *_: Any) -> None:
        """Nothing."""
