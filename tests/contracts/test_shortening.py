"""A door that is given `shorten=` sends the shorter prompt, reserves for it, and tells what it saved: both frameworks, four ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, Thrift, Usage
from llmthrift_core.prompts import Shorten
from llmthrift_core.quality import ShorteningGuard
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.usage.tokens import count_tokens
from tests.contracts.doors import MODEL, ask, client, llm

pytestmark = pytest.mark.loopback

WAYS = ("invoke", "ainvoke", "stream", "astream")
WORDY = "The sky is blue.      \n\n\n\n" * 40
TURNS = [{"role": "system", "content": WORDY}, {"role": "user", "content": "What colour is the sky?"}]


def _count(text: str) -> int:
    return count_tokens(text, MODEL).tokens


@dataclass
class _Step:
    name: str
    before: int
    after: int


@dataclass
class _Shortened:
    messages: Any
    tokens_before: int
    tokens_after: int
    steps: tuple[_Step, ...]


class Squeeze:
    """Joins white space in system messages."""

    def __init__(self, version: str = "squeeze-1", fails: bool = False) -> None:
        self._version, self.fails, self.models = version, fails, []

    def identity(self) -> str:
        return self._version

    def __call__(self, messages: Any, model: str | None = None) -> _Shortened:
        self.models.append(model)
        if self.fails:
            raise RuntimeError("no embedder today")
        shorter = [{**each, "content": " ".join(each["content"].split())} if each["role"] == "system" else each for each in messages]
        before, after = (sum(_count(each["content"]) for each in given) for given in (messages, shorter))
        return _Shortened(shorter, before, after, (_Step("squeeze", before, after),))


def _langchain(thrift: Thrift, provider: LoopbackProvider, policy: Any, **options: Any) -> Any:
    return lc.thrifty(client(provider), thrift, shorten=policy, **options)


def _langchain_router(thrift: Thrift, provider: LoopbackProvider, policy: Any, **options: Any) -> Any:
    models = {"simple": client(provider), "complex": client(provider)}
    return lc.ChatRouter(thrift, models=models, policy=lambda request: "simple", shorten=policy, **options)


def _llamaindex(thrift: Thrift, provider: LoopbackProvider, policy: Any, **options: Any) -> Any:
    return li.thrifty(llm(provider), thrift, shorten=policy, **options)


def _llamaindex_router(thrift: Thrift, provider: LoopbackProvider, policy: Any, **options: Any) -> Any:
    models = {"simple": llm(provider), "complex": llm(provider)}
    return li.RouterLLM(thrift, models=models, policy=lambda request: "simple", shorten=policy, **options)


Door = Callable[..., Any]
DOORS = [_langchain, _langchain_router, _llamaindex, _llamaindex_router]
doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__.strip("_"))


def _sent(provider: LoopbackProvider) -> str:
    return str(provider.requests[-1].body["messages"][0]["content"])


@doors
@pytest.mark.parametrize("how", WAYS)
def test_the_shorter_prompt_is_sent_and_told(door: Door, how: str, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, Squeeze(), cache=False), TURNS, how)
    assert _sent(provider) == " ".join(WORDY.split())
    (row,) = thrift.ledger.calls()
    taken_off = _count(WORDY) - _count(" ".join(WORDY.split()))
    assert taken_off > 40
    assert (row.shortened_tokens, row.shorten_version) == (taken_off, "squeeze-1")
    assert json.loads(row.shorten_steps) == [["squeeze", taken_off]]
    assert row.shortening_saved_usd == Decimal(taken_off) * Decimal("0.15") / 1_000_000
    found = thrift.savings()
    whole = Usage(input_tokens=row.input_tokens + taken_off, output_tokens=row.output_tokens)
    assert found.without_usd == thrift.prices.cost(whole, MODEL).usd
    assert "saved by shorter prompts" in str(found)


@doors
def test_a_call_can_be_sent_as_it_is(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    model = door(thrift, provider, Squeeze(), cache=False)
    if isinstance(model, lc.ChatRouter):
        model.invoke([(turn["role"], turn["content"]) for turn in TURNS], shorten="off")
    else:
        from llama_index.core.llms import ChatMessage

        model.chat([ChatMessage(**turn) for turn in TURNS], shorten="off")
    assert _sent(provider) == WORDY
    (row,) = thrift.ledger.calls()
    assert (row.shorten_version, row.shortened_tokens) == (None, 0)


@doors
def test_a_policy_that_fails_leaves_the_call_alone(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, Squeeze(fails=True), cache=False), TURNS)
    assert _sent(provider) == WORDY
    assert thrift.health()["failures"]["shorten"] == 1


@doors
def test_answers_of_different_policies_are_kept_apart(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    for policy in (None, Squeeze("1"), Squeeze("2"), Squeeze("1"), None):
        ask(door(thrift, provider, policy, cache=True), TURNS)
    assert len(provider.requests) == 3


@doors
def test_observing_changes_nothing_and_says_what_it_would_have_saved(
    door: Door, provider: LoopbackProvider, thrift: Thrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    ask(door(thrift, provider, Squeeze(), cache=False), TURNS)
    assert _sent(provider) == WORDY
    taken_off = _count(WORDY) - _count(" ".join(WORDY.split()))
    found = thrift.savings()
    assert found.observed_shortening_usd == Decimal(taken_off) * Decimal("0.15") / 1_000_000
    assert found.shortening_saved_usd == 0


@doors
def test_what_is_reserved_is_what_is_sent(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    long = [{"role": "system", "content": "The sky is blue." + " \n" * 60_000}, TURNS[1]]
    thrift.budgets.add(Budget(limit_tokens=2_000, window="request"))
    ask(door(thrift, provider, Squeeze(), cache=False), long)
    assert _sent(provider) == "The sky is blue."


@doors
def test_the_lossless_steps_go_through_every_door(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, Shorten.lossless(), cache=False), TURNS)
    (row,) = thrift.ledger.calls()
    assert len(_sent(provider)) < len(WORDY) / 1.2
    assert row.shortened_tokens > 0
    assert row.shorten_version == Shorten.lossless().identity()


@doors
def test_a_guard_is_a_policy(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, ShorteningGuard(Shorten.lossless(), thrift), cache=False), TURNS, "invoke")
    assert len(_sent(provider)) < len(WORDY)
    (row,) = thrift.ledger.calls()
    assert row.shorten_version == Shorten.lossless().identity()
