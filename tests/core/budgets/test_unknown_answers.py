"""The first calls under a small budget, before anybody knows how long a model's answers are."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage
from llmthrift_core.attribution import Attribution
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.sizes import StreamedText
from llmthrift_core.calls.request import Request, Response
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.usage.tokens import count_tokens

GPT_4O = Scope(model="gpt-4o")
NEEDED = {"provider": "openai", "outgoing": lambda: Outgoing(9), "max_output_tokens": None}


def _begin(thrift: Thrift, *, may_clamp: bool = True, feature: str | None = None) -> object:
    request = Request(
        model="gpt-4o",
        provider="openai",
        attribution=Attribution(feature=feature),
        outgoing=lambda tier: Outgoing(9),
        max_output_tokens=lambda tier: None,
        may_clamp=may_clamp,
    )
    return thrift.begin(request)


def _pieces_until_stopped(call, piece: str) -> int:
    streamed = StreamedText(call.model)
    for number in range(5_000):
        streamed.add(piece)
        try:
            call.grew(streamed)
        except BudgetExceededError:
            return number
    raise AssertionError("never stopped")


def test_one_call_at_a_time_finds_out_within_what_is_left(budgets):
    budgets.add(Budget(limit_usd="0.05", name="small"))
    with pytest.raises(BudgetExceededError):
        budgets.hold(GPT_4O, **NEEDED)  # 16,384 tokens would be $0.16
    hold = budgets.hold_for_shorter(GPT_4O, **NEEDED)
    assert 4_900 < hold.max_output_tokens < 5_000
    assert budgets.hold_for_shorter(GPT_4O, **NEEDED) is None
    hold.settle(cost_usd="0.0001", tokens=20)
    again = budgets.hold_for_shorter(GPT_4O, **NEEDED, may_clamp=False)  # a door that cannot tell the model
    assert again.max_output_tokens is None
    again.settle(cost_usd="0.046", tokens=4_600)
    assert budgets.hold_for_shorter(GPT_4O, **NEEDED) is None  # less is left than a usual answer takes


def test_the_refusal_says_what_was_assumed_and_what_can_be_done(budgets):
    budgets.add(Budget(limit_usd="0.001"))
    with pytest.raises(BudgetExceededError, match=r"9 input tokens and an answer of up to 16,384: it sets no max_tokens") as refused:
        budgets.hold(GPT_4O, **NEEDED)
    for remedy in ("max_tokens=", "clamp_output=True", "larger limit", "$0.16"):
        assert remedy in str(refused.value)


def test_five_answers_are_enough_to_let_others_go_on_beside_each_other():
    with Thrift(":memory:") as thrift:
        thrift.budgets.add(Budget(limit_usd="0.05"))
        for _ in range(5):
            call = _begin(thrift)
            with pytest.raises(BudgetExceededError):
                _begin(thrift)
            call.finish(Response(usage=Usage(input_tokens=9, output_tokens=10)))
        together = [_begin(thrift, feature="another") for _ in range(20)]
        assert {call.max_output_tokens for call in together} == {None}
        for call in together:
            call.abandon()


def test_answers_that_others_recorded_count():
    with Thrift(":memory:") as thrift:
        thrift.budgets.add(Budget(limit_usd="0.05"), count_past=False)
        for _ in range(5):
            thrift.ledger.record("gpt-4o-2024-08-06", Usage(input_tokens=9, output_tokens=10), feature="chat")
        thrift.flush()
        together = [_begin(thrift, may_clamp=False) for _ in range(10)]
        assert len(thrift.budgets.holds()) == 10
        for call in together:
            call.abandon()


def test_a_stream_is_stopped_near_its_room_and_not_long_before():
    with Thrift(":memory:") as thrift:
        thrift.budgets.add(Budget(limit_tokens=1_000))
        call = _begin(thrift, may_clamp=False)
        assert 950 <= _pieces_until_stopped(call, " understandable") < 1_000
        call.abandon()


def test_a_stream_of_another_script_is_not_longer_than_its_room():
    with Thrift(":memory:") as thrift:
        thrift.budgets.add(Budget(limit_tokens=1_000))
        call = _begin(thrift, may_clamp=False)
        assert 200 < _pieces_until_stopped(call, "鑿") * count_tokens("鑿", "gpt-4o").tokens <= 1_010
        call.abandon()


def test_an_answer_that_may_be_a_picture_is_set_aside_at_the_price_of_pictures(budgets):
    budgets.add(Budget(limit_usd=1))
    painted = {"provider": None, "max_output_tokens": 1_000}
    for makes, usd in (((), "0.0028"), (("image",), "0.0303")):  # $0.30 for a million tokens of input; $2.50 for text and $30 for pictures
        with budgets.hold(Scope(model="gemini-2.5-flash-image"), outgoing=lambda makes=makes: Outgoing(1_000, makes=makes), **painted):
            assert budgets.status()[0]["reserved"] == Decimal(usd)
