"""Conversations whose last turns look alike are kept apart by what was said before, in both frameworks."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.llms import ChatMessage

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, SemanticCache
from tests.contracts.doors import client, llm

pytestmark = pytest.mark.loopback
DATA = Path(__file__).parents[3] / "shared" / "data" / "conversation_pairs.jsonl.gz"
Turns = list[dict[str, str]]


def _said(asked: str, answered: str) -> Turns:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


ORDERED = _said("Two tickets to Rome, please.", "Booked: two tickets to Rome.")
OTHERS = {
    "another place": _said("Two tickets to Oslo, please.", "Booked: two tickets to Oslo."),
    "another number": _said("Ten tickets to Rome, please.", "Booked: ten tickets to Rome."),
    "the opposite": _said("No tickets to Rome, please.", "Booked: no tickets to Rome."),
    "no history": [],
    "an answer more": [*ORDERED, *_said("And a hotel.", "Booked: a hotel.")],
}


class Doors:
    """The same conversation through both frameworks' models with one semantic cache; whether the second got the first one's answer."""

    def __init__(self, thrift: Thrift, provider: Any, history: Any) -> None:
        self._provider = provider
        semantic = SemanticCache(thrift, policy=FixedThreshold(0.8), history=history)
        self._langchain = lc.thrifty(client(provider), thrift, cache=lc.ThriftCache(thrift, semantic=semantic))
        self._llamaindex = li.thrifty(llm(provider), thrift, semantic=semantic)

    def langchain(self, turns: Turns) -> None:
        kinds = {"user": HumanMessage, "assistant": AIMessage}
        self._langchain.invoke([kinds[turn["role"]](turn["content"]) for turn in turns])

    def llamaindex(self, turns: Turns) -> None:
        self._llamaindex.chat([ChatMessage(role=turn["role"], content=turn["content"]) for turn in turns])

    def share(self, door: str, first: Turns, second: Turns) -> bool:
        getattr(self, door)(first)
        before = len(self._provider.requests)
        getattr(self, door)(second)
        return len(self._provider.requests) == before


@pytest.mark.parametrize("door", ["langchain", "llamaindex"])
@pytest.mark.parametrize("history", ["exact", "meaning"])
def test_what_was_said_before_keeps_last_turns_apart(thrift, provider, door, history):
    doors = Doors(thrift, provider, history)
    cancel, again = [{"role": "user", "content": "ok, cancel it"}], [{"role": "user", "content": "OK, please cancel it."}]
    getattr(doors, door)([*ORDERED, *cancel])
    for name, other in OTHERS.items():
        before = len(provider.requests)
        getattr(doors, door)([*other, *again])
        assert len(provider.requests) == before + 1, name
    assert doors.share(door, [*ORDERED, *cancel], [*ORDERED, *cancel])


@pytest.mark.parametrize("door", ["langchain", "llamaindex"])
@pytest.mark.parametrize("history", ["exact", "meaning"])
def test_the_same_said_in_other_words_is_shared_where_asked_for(thrift, provider, door, history):
    doors = Doors(thrift, provider, history)
    told = [{"role": "user", "content": "two tickets to Rome please"}, ORDERED[1]]
    last = [{"role": "user", "content": "How do I cancel it?"}]
    assert doors.share(door, [*ORDERED, *last], [*told, *last]) is (history == "meaning")


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent")
@pytest.mark.parametrize("door", ["langchain", "llamaindex"])
def test_pairs_of_others_with_other_answers_are_kept_apart(thrift, provider, door):
    doors = Doors(thrift, provider, "exact")
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        pairs = [pair for pair in map(json.loads, file) if not pair["same_answer"]]
    assert len(pairs) > 50
    assert [pair["a"][-1]["content"] for pair in pairs if doors.share(door, pair["a"], pair["b"])] == []
