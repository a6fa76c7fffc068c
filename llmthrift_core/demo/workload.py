"""Requests in the order in which they arrive, what the models answer, and how answers are judged.

The questions were written for this workload: support questions with paraphrases and near misses (order 1001 and 1010, Portland and
Seattle), simple extractions and classifications, and hard tasks that the cheap model gets wrong. Each phrasing arrives at least once;
the rest are repeats of earlier ones, word for word, by users of whom a few ask most.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

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
}
_USERS: Final = ("ada", "ben", "chloe", "dmitri", "elif", "farid", "grace", "hugo", "ines", "jonas", "kira", "liam")
_REQUESTS: Final = 200


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One request.

    Attributes:
        question: the user's words.
        kind: "faq", "simple", "hard" or "tool".
        stream: the user reads the answer as it comes.
        repeated: the same words arrived before.
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

    @property
    def system(self) -> str:
        """The system prompt of the feature."""
        return SYSTEM_PROMPTS[self.feature]

    @property
    def needs_tools(self) -> bool:
        """Whether the tools are offered."""
        return self.kind == "tool"


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

    def judge(self, item: WorkItem, answer: str, tool_calls: Sequence[Mapping[str, Any]] = ()) -> bool:
        """Whether an answer is right: it holds what it must, or it calls the expected tool with the expected arguments."""
        topic = _topics()[item.topic]
        if "tool" in topic:
            wanted = topic["tool"]
            return [(call["name"], dict(call["args"])) for call in tool_calls] == [(wanted["name"], wanted["args"])]
        return all(part in answer for part in topic["expect"])

    def first(self, requests: int) -> Workload:
        """Only the first so many."""
        return Workload(self.items[:requests])


def load_workload(*, repeated_share: float | None = None, seed: int = 7) -> Workload:
    """The workload of 200 requests, or one in which the given share of requests are repeats.

    Args:
        repeated_share: from 0 to under 1; every phrasing arrives once, and repeats fill up the rest.
        seed: of the order.
    """
    if repeated_share is not None and not 0 <= repeated_share < 1:
        raise ValueError(f"repeated_share must be from 0 to under 1, not {repeated_share!r}")
    rng = random.Random(seed)  # noqa: S311 - an order of questions, not a secret
    phrasings = [(topic, words) for topic in _topics().values() for words in topic["ask"]]
    rng.shuffle(phrasings)
    total = _REQUESTS if repeated_share is None else round(len(phrasings) / (1 - repeated_share))
    arrivals: list[tuple[Mapping[str, Any], str, bool]] = []
    fresh = list(phrasings)
    while len(arrivals) < total:
        left = total - len(arrivals)
        if fresh and (not arrivals or rng.random() < len(fresh) / left):
            arrivals.append((*fresh.pop(), False))
        else:  # popular questions repeat more: an earlier arrival, of which there are more for what was asked more
            topic, words, _ = arrivals[int(rng.random() ** 1.6 * len(arrivals))]
            arrivals.append((topic, words, True))
    items = []
    for number, (topic, words, repeated) in enumerate(arrivals):
        user = _USERS[min(int(rng.expovariate(0.35)), len(_USERS) - 1)]
        items.append(
            WorkItem(
                number=number,
                topic=topic["id"],
                feature=topic["feature"],
                user=user,
                session=f"{user}-{number // 20}",
                kind=topic["kind"],
                question=words,
                stream=topic["kind"] == "faq" and rng.random() < 0.4,
                repeated=repeated,
            )
        )
    return Workload(items)


def answerer(is_strong: Callable[[str], bool]) -> Callable[[Question], Answer | None]:
    """What the loopback provider answers to the workload.

    Args:
        is_strong: whether a model, by name, answers hard tasks rightly.
    """
    by_words = {words: topic for topic in _topics().values() for words in topic["ask"]}

    def answer(question: Question) -> Answer | None:
        topic = by_words.get(question.last_user_text)
        if topic is None:
            return None
        if "tool" in topic:
            return Answer(tool_calls=(ToolCall(topic["tool"]["name"], topic["tool"]["args"]),))
        return Answer(topic["answer"] if is_strong(question.model) or "weak" not in topic else topic["weak"])

    return answer


@cache
def _topics() -> Mapping[str, Mapping[str, Any]]:
    lines = files("llmthrift_core.demo").joinpath("questions.jsonl").read_text(encoding="utf-8").splitlines()
    return {topic["id"]: topic for topic in map(json.loads, lines)}
