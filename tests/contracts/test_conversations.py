"""Conversations whose last turns look alike are kept apart by what was said before, in both frameworks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.globals import set_llm_cache

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, SemanticCache
from tests.contracts.doors import ask, client, llm
from tests.long import LONG

pytestmark = pytest.mark.loopback
DATA = Path(__file__).parents[3] / "shared" / "data" / "conversation_pairs.jsonl.gz"
Turns = list[dict[str, str]]
_HOW = ("invoke", "stream", "ainvoke", "astream")
_EVERY = 8  # of the pairs through other doors, streams and coroutines: each takes other ones, so that together they take all twice


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


@pytest.fixture(autouse=True)
def without_a_cache_for_all():
    yield
    set_llm_cache(None)


class Doors:
    """The same conversation through both frameworks' models with one semantic cache; whether the second got the first one's answer."""

    def __init__(self, thrift: Thrift, provider: Any, history: Any) -> None:
        self._provider = provider
        semantic = SemanticCache(thrift, policy=FixedThreshold(0.8), history=history)
        self._langchain = lc.thrifty(client(provider), thrift, cache=lc.ThriftCache(thrift, semantic=semantic))
        self._llamaindex = li.thrifty(llm(provider), thrift, semantic=semantic)

    def langchain(self, turns: Turns) -> None:
        ask(self._langchain, turns)

    def llamaindex(self, turns: Turns) -> None:
        ask(self._llamaindex, turns)

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


def _one_point(texts: Sequence[str]) -> Any:
    """Every text in one place: nothing but the history and the guard keeps two questions apart."""
    return np.ones((len(texts), 2)) / np.sqrt(2)


# What was said, what else may have been said, and a last turn that refers to it, in two spellings.
ABROAD = {
    "de": (
        ("Ich nehme zwei Karten für Samstag.", "Zwei Karten für Samstag sind reserviert."),
        (
            ("Ich nehme drei Karten für Samstag.", "Drei Karten für Samstag sind reserviert."),
            ("Ich nehme zwei Karten für Sonntag.", "Zwei Karten für Sonntag sind reserviert."),
            ("Ich nehme keine zwei Karten für Samstag.", "Zwei Karten für Samstag sind nicht reserviert."),
            ("Ich nehme zwei Karten für Samstag.", "Zwei Karten für Samstag sind nicht reserviert."),
            ("Ich muss zwei Karten für Samstag haben?", "Zwei Karten für Samstag sind reserviert."),
        ),
        ("Bitte storniere das.", "storniere das bitte"),
    ),
    "es": (
        ("Quiero enviar un paquete de Madrid a Lima.", "El paquete sale el lunes."),
        (
            ("Quiero enviar un paquete de Lima a Madrid.", "El paquete sale el lunes."),
            ("Quiero enviar un paquete de Madrid a Quito.", "El paquete sale el lunes."),
            ("Quiero enviar un paquete de Madrid a Lima.", "El paquete sale el martes."),
            ("No quiero enviar un paquete de Madrid a Lima.", "El paquete sale el lunes."),
        ),
        ("¿Cuánto cuesta?", "cuánto cuesta"),
    ),
    "fr": (
        ("Je voudrais une chambre avec balcon.", "La chambre est libre jusqu'à jeudi."),
        (
            ("Je voudrais une chambre sans balcon.", "La chambre est libre jusqu'à jeudi."),
            ("Je voudrais une chambre avec balcon.", "La chambre est libre depuis jeudi."),
            ("Je voudrais une suite avec balcon.", "La chambre est libre jusqu'à jeudi."),
            ("Je voudrais une chambre avec balcon.", "La chambre n'est pas libre jusqu'à jeudi."),
        ),
        ("Réservez-la.", "réservez-la"),
    ),
    "zh": (
        ("我想订两张去北京的票。", "已预订两张去北京的票。"),
        (
            ("我想订三张去北京的票。", "已预订三张去北京的票。"),
            ("我想订两张去上海的票。", "已预订两张去上海的票。"),
            ("我不想订两张去北京的票。", "已预订两张去北京的票。"),
            ("我想退两张去北京的票。", "已预订两张去北京的票。"),
        ),
        ("请取消。", "请取消"),
    ),
}


def _globally(thrift: Thrift, provider: Any, semantic: SemanticCache) -> Any:
    set_llm_cache(lc.ThriftCache(thrift, semantic=semantic))
    return client(provider)


MODELS: dict[str, Callable[[Thrift, Any, SemanticCache], Any]] = {
    "langchain thrifty": lambda thrift, provider, semantic: lc.thrifty(
        client(provider), thrift, cache=lc.ThriftCache(thrift, semantic=semantic)
    ),
    "langchain router": lambda thrift, provider, semantic: lc.ChatRouter(
        thrift, models={"only": client(provider)}, cache=lc.ThriftCache(thrift, semantic=semantic)
    ),
    "langchain, for all": _globally,
    "llamaindex thrifty": lambda thrift, provider, semantic: li.thrifty(llm(provider), thrift, semantic=semantic),
    "llamaindex router": lambda thrift, provider, semantic: li.RouterLLM(thrift, models={"only": llm(provider)}, semantic=semantic),
}


@pytest.mark.parametrize("language", ABROAD)
@pytest.mark.parametrize("door", ["langchain thrifty", "langchain router", "llamaindex thrifty", "llamaindex router"])
@pytest.mark.parametrize("history", ["exact", "meaning"])
def test_conversations_in_other_languages_are_kept_apart(thrift, provider, door, history, language):
    model = MODELS[door](thrift, provider, SemanticCache(thrift, _one_point, FixedThreshold(0.1), history=history))
    said, others, (last, again) = ABROAD[language]
    ask(model, [*_said(*said), {"role": "user", "content": last}])
    before = len(provider.requests)
    for place, other in enumerate(others, 1):
        ask(model, [*_said(*other), {"role": "user", "content": again}])
        assert len(provider.requests) == before + place, other
    ask(model, [*_said(*said), {"role": "user", "content": last}])
    assert len(provider.requests) == before + len(others)


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent")
@pytest.mark.parametrize("how", _HOW)
@pytest.mark.parametrize("door", MODELS)
def test_pairs_of_others_with_other_answers_are_kept_apart(thrift, provider, door, how):
    semantic = SemanticCache(thrift, _one_point, FixedThreshold(0.5))
    model = MODELS[door](thrift, provider, semantic)
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        pairs = [pair for pair in map(json.loads, file) if not pair["same_answer"]]
    assert len(pairs) > 50
    shared = []
    takes_all = LONG or (how == "invoke" and door in ("langchain thrifty", "llamaindex router"))
    first = (list(MODELS).index(door) * len(_HOW) + _HOW.index(how)) % _EVERY
    for pair in pairs if takes_all else pairs[first::_EVERY]:
        ask(model, pair["a"], how)
        before = len(provider.requests)
        ask(model, pair["b"], how)
        if len(provider.requests) == before:
            shared.append(pair["a"][-1]["content"])
    assert shared == []
