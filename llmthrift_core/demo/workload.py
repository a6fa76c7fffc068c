"""Requests in the order in which they arrive, what the models answer, and how answers are judged.

The questions were written for this workload: support questions with paraphrases and near misses (order 1001 and 1010, Portland and
Seattle), simple extractions and classifications, hard tasks that the cheap model gets wrong, tools with their results, and follow-ups
that mean nothing without their conversation. Each phrasing arrives at least once; the rest are repeats of earlier ones, word for word,
by users of whom a few ask most.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from llmthrift_core.demo.help_pages import UNKNOWN, is_missing, with_help_pages
from llmthrift_core.testing.answers import Answer, Question, ToolCall

SYSTEM_PROMPTS: Final[Mapping[str, str]] = {
    "support": (
        "You are the assistant of Northlight, an online shop for electronics and household goods with stores in Portland and Seattle. "
        "Answer in at most six sentences, politely and with figures where they matter. Rules: returns within 30 days of delivery, unused; "
        "refunds within 5 working days; standard shipping $4.90, free for orders over $60 after vouchers; express $12.90; warranty 2 years "
        "for electronics, 3 years for laptops. Use the tools for orders and stock. Never promise what these rules do not allow."
    ),
    "analytics": "You help the operations team of an online shop. Answer exactly what is asked, without introduction. Show calculations.",
}
TOOLS: Final[Mapping[str, Mapping[str, Any]]] = {
    "get_order_status": {"type": "object", "properties": {"order_id": {"type": "integer"}}, "required": ["order_id"]},
    "get_stock": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
    "get_exchange_rate": {"type": "object", "properties": {"currency": {"type": "string"}}, "required": ["currency"]},
}
_USERS: Final = ("ada", "ben", "chloe", "dmitri", "elif", "farid", "grace", "hugo", "ines", "jonas", "kira", "liam")
# With the phrasings that there are, somewhat more than a third of the requests are repeats.
_REQUESTS: Final = 280


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One request.

    Attributes:
        topic: names the fact or task; its phrasings share the answer.
        question: the user's words.
        kind: "faq", "simple", "hard", "tool" or "followup".
        stream: the user reads the answer as it comes.
        repeated: the same words arrived before.
        paraphrased: other words for the same topic arrived before, but not these.
        history: the (role, text) pairs of the conversation before the question; roles are user and assistant.
    """

    number: int
    topic: str
    feature: str
    user: str
    session: str
    kind: str
    question: str
    stream: bool
    repeated: bool
    paraphrased: bool
    history: Sequence[tuple[str, str]] = ()

    @property
    def system(self) -> str:
        """The system prompt of the feature."""
        return SYSTEM_PROMPTS[self.feature]

    @property
    def system_with_pages(self) -> str:
        """The system prompt as the demonstrations send it: with the help pages, where customers ask."""
        return with_help_pages(self.system) if self.feature == "support" else self.system

    @property
    def needs_tools(self) -> bool:
        """Whether the tools are offered."""
        return self.kind == "tool"

    @property
    def needs_strong(self) -> bool:
        """Whether only the strong model answers rightly."""
        return "weak" in _topics()[self.topic]


@dataclass(frozen=True)
class Workload:
    """Requests in order of arrival."""

    items: Sequence[WorkItem]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def repeated_share(self) -> float:
        """The share of requests whose words arrived before."""
        return sum(item.repeated for item in self.items) / len(self.items)

    @property
    def paraphrased_share(self) -> float:
        """The share of requests that ask in new words what was asked before."""
        return sum(item.paraphrased for item in self.items) / len(self.items)

    def judge(self, item: WorkItem, answer: str, tool_calls: Sequence[Mapping[str, Any]] = ()) -> bool:
        """Whether an answer is right: it calls the expected tool with the expected arguments, or it says what must be said.

        Args:
            item: the request.
            answer: the model's text.
            tool_calls: mappings with "name" and "args", as LangChain has them.
        """
        topic = _topics()[item.topic]
        if tool_calls:
            wanted = topic.get("tool")
            return wanted is not None and [(call["name"], dict(call["args"])) for call in tool_calls] == [(wanted["name"], wanted["args"])]
        return all(part in answer for part in topic["expect"])

    def first(self, requests: int) -> Workload:
        """Only the first so many."""
        return Workload(self.items[:requests])


def load_workload(*, repeated_share: float | None = None, seed: int = 7) -> Workload:
    """The workload of 280 requests, or one in which the given share of requests are repeats.

    Args:
        repeated_share: from 0 to under 1; every phrasing arrives once, and repeats fill up the rest.
        seed: of the order.

    Raises:
        ValueError: for a share out of range.
    """
    if repeated_share is not None and not 0 <= repeated_share < 1:
        raise ValueError(f"repeated_share must be from 0 to under 1, not {repeated_share!r}")
    rng = random.Random(seed)  # noqa: S311 - an order of questions, not a secret
    topics = _topics().values()
    phrasings = [(topic, words) for topic in topics if "after" not in topic for words in topic["ask"]]
    follow_ups = {topic["after"]: topic for topic in topics if "after" in topic}
    rng.shuffle(phrasings)
    fresh = len(phrasings) + len(follow_ups)
    total = _REQUESTS if repeated_share is None else round(fresh / (1 - repeated_share))
    items: list[WorkItem] = []
    for topic, words, repeated in _arrivals(phrasings, total - len(follow_ups), rng):
        user = _USERS[min(int(rng.expovariate(0.35)), len(_USERS) - 1)]
        session = f"{user}-{len(items) // 20}"
        is_streamed = topic["kind"] == "faq" and rng.random() < 0.4
        items.append(_item(len(items), topic, words, user, session, stream=is_streamed, seen=items, repeated=repeated))
        # A conversation goes on where its first question is asked for the first time.
        while not repeated and words == topic["ask"][0] and topic["id"] in follow_ups:
            topic = follow_ups[topic["id"]]
            words = topic["ask"][0]
            items.append(_item(len(items), topic, words, user, session, stream=is_streamed, seen=items, repeated=False))
    return Workload(items)


def answerer(is_strong: Callable[[str], bool]) -> Callable[[Question], Answer | None]:
    """What the loopback provider answers to the workload: None to anything else.

    To a prompt with help pages, a fact that they hold is only in the answer where the page with it arrived.

    Args:
        is_strong: whether a model, by name, answers hard tasks rightly.
    """
    by_words = {words: topic for topic in _topics().values() for words in topic["ask"]}

    def answer(question: Question) -> Answer | None:
        topic = by_words.get(question.last_user_text)
        if topic is None:
            return None
        if "tool" in topic and not question.follows_tool:
            return Answer(tool_calls=(ToolCall(topic["tool"]["name"], topic["tool"]["args"]),))
        if "tool" not in topic and is_missing(topic["expect"], "\n".join(text for _, text in question.messages)):
            return Answer(UNKNOWN)
        return Answer(topic["answer"] if is_strong(question.model) or "weak" not in topic else topic["weak"])

    return answer


def run_tool(name: str, arguments: Mapping[str, Any]) -> str:
    """What a tool of the workload returns, as JSON.

    >>> run_tool("get_stock", {"sku": "L-220"})
    '{"sku": "L-220", "units": 14}'
    >>> run_tool("get_stock", {"sku": "?"})
    '{"error": "not found"}'
    """
    tools = (topic["tool"] for topic in _topics().values() if "tool" in topic)
    found = (tool["result"] for tool in tools if tool["name"] == name and tool["args"] == dict(arguments))
    return json.dumps(next(found, {"error": "not found"}))


def _arrivals(
    phrasings: Sequence[tuple[Mapping[str, Any], str]], total: int, rng: random.Random
) -> Sequence[tuple[Mapping[str, Any], str, bool]]:
    """Topic, words, and whether they are a repeat; as many as asked for, every phrasing among them."""
    arrivals: list[tuple[Mapping[str, Any], str, bool]] = []
    fresh = list(phrasings)
    while len(arrivals) < total:
        left = total - len(arrivals)
        if fresh and (not arrivals or rng.random() < len(fresh) / left):
            arrivals.append((*fresh.pop(), False))
        else:  # popular questions repeat more: an earlier arrival, of which there are more for what was asked more
            topic, words, _ = arrivals[int(rng.random() ** 1.6 * len(arrivals))]
            arrivals.append((topic, words, True))
    return arrivals


def _item(
    number: int,
    topic: Mapping[str, Any],
    words: str,
    user: str,
    session: str,
    *,
    stream: bool,
    seen: Sequence[WorkItem],
    repeated: bool,
) -> WorkItem:
    return WorkItem(
        number=number,
        topic=topic["id"],
        feature=topic["feature"],
        user=user,
        session=session,
        kind=topic["kind"],
        question=words,
        stream=stream,
        repeated=repeated,
        paraphrased=not repeated and any(item.topic == topic["id"] for item in seen),
        history=_history(topic),
    )


def _history(topic: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if "after" not in topic:
        return ()
    before = _topics()[topic["after"]]
    return (*_history(before), ("user", before["ask"][0]), ("assistant", before["answer"]))


@cache
def _topics() -> Mapping[str, Mapping[str, Any]]:
    lines = files("llmthrift_core.demo").joinpath("questions.jsonl").read_text(encoding="utf-8").splitlines()
    return {topic["id"]: topic for topic in map(json.loads, lines)}
