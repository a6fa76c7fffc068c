"""The order of a call, driven without any framework, and the seam for budgets."""

from __future__ import annotations

import gc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage, cache_mode
from llmthrift_core.attribution import attribution_of
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.cache import CachePolicy, digest
from llmthrift_core.cache.rules import current_cache_mode
from llmthrift_core.cache.single_flight import whoami
from llmthrift_core.calls.request import (
    CacheUse,
    PromptFeatures,
    Request,
    Response,
    RouteUse,
)
from llmthrift_core.money import to_usd
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.routing import CallablePolicy, RouteRequest, Tiers

USAGE = Usage(input_tokens=1000, output_tokens=200)
EXPECTED = Usage(input_tokens=1000, output_tokens=500, estimated=True)
POLICY = CachePolicy()
MODEL = "gpt-4o-mini"


def cached(name: str = "key", **options: Any) -> CacheUse:
    return CacheUse(**{"key": digest("default", name.encode()), "policy": POLICY, "decode": bytes.decode, **options})


def answered(answer: str = "answer", **options: Any) -> Response:
    return Response(**{"usage": USAGE, "payload": answer.encode, **options})


class Recorder:
    """Budgets and a hold that write down what is asked of them."""

    @property
    def or_none(self) -> Recorder:
        return self

    are_kept = True

    def __init__(self, refuse: bool = False) -> None:
        self.steps: list[tuple[Any, ...]] = []
        self._refuse = refuse

    def hold(self, scope: Scope, *, outgoing: Callable[[], Outgoing], max_output_tokens: int | None, **options: Any) -> Recorder:
        self.steps.append(("hold", scope.model, outgoing().text_tokens, max_output_tokens))
        if self._refuse:
            raise BudgetExceededError("no money is left")
        return self

    def hold_for_shorter(self, scope: Scope, **options: Any) -> Recorder | None:
        self.steps.append(("shorter", scope.model))
        return None

    def learn(self, usage: Usage) -> None:
        """Not of interest here."""

    def cut_short(self, usage: Usage) -> bool:
        return False

    def cover(self, output_tokens: int) -> None:
        self.steps.append(("cover", output_tokens))

    def flush(self) -> bool:
        return True

    close = flush

    @property
    def expected_usage(self) -> Usage:
        return EXPECTED

    def end(self, cost_nano_usd: int | None, tokens: int, *, is_unanswered: bool = False) -> None:
        cost = None if cost_nano_usd is None else to_usd(cost_nano_usd)
        self.steps.append(("settle unanswered" if is_unanswered else "settle", cost, tokens))

    def release(self) -> None:
        self.steps.append(("release",))

    def note(self, scope: Scope, **taken: int) -> None:
        self.steps.append(("note", scope.model))

    def flush(self) -> None:
        """Nothing waits."""


def bounded(**options: Any) -> Request:
    """A request of a door that enforces budgets."""
    return Request(MODEL, outgoing=lambda tier: Outgoing(1000), max_output_tokens=lambda tier: 500, **options)


@pytest.fixture
def recorder(thrift: Thrift) -> Recorder:
    return use(thrift, Recorder())


def use(thrift: Thrift, recorder: Recorder) -> Recorder:
    thrift.__dict__["budgets"] = recorder  # in the place of the cached property
    return recorder


COST = Decimal("0.00027")


def test_a_miss_is_recorded_and_stored_and_then_a_hit(thrift: Thrift):
    request = Request(MODEL, attribution=attribution_of(user="ada"), cache=cached())
    call = thrift.begin(request)
    assert call.hit is None
    call.finish(answered())
    call.finish(answered())  # the second time does nothing
    again = thrift.begin(Request(MODEL, attribution=attribution_of(user="ben"), cache=cached()))
    assert again.hit is not None
    assert again.answer == "answer"
    again.finish_hit()
    again.finish_hit()
    miss, hit = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)
    # gpt-4o-mini: $0.15 and $0.60 a million: 1000 x 150 + 200 x 600 nano-dollars
    assert (miss.user, miss.cost_nano_usd, miss.cache) == ("ada", 270_000, None)
    assert (hit.user, hit.cost_nano_usd, hit.cache, hit.cache_saved_nano_usd) == ("ben", 0, "exact", 270_000)


def test_budgets_are_asked_before_and_told_after(thrift: Thrift, recorder: Recorder):
    call = thrift.begin(bounded())
    call.extend(50)
    call.finish(answered())
    assert recorder.steps == [("hold", MODEL, 1000, 500), ("cover", 50), ("settle", COST, 1200)]


def test_a_door_that_only_measures_asks_no_budget(thrift: Thrift, recorder: Recorder):
    thrift.begin(Request(MODEL)).finish(answered())
    assert recorder.steps == [("note", MODEL)]  # for budgets that only warn


def test_a_hit_asks_no_budget(thrift: Thrift):
    thrift.begin(Request(MODEL, cache=cached())).finish(answered())
    refusing = use(thrift, Recorder(refuse=True))
    thrift.begin(bounded(cache=cached())).finish_hit()
    assert refusing.steps == []


def test_a_refused_call_leaves_no_row_and_nobody_waiting(thrift: Thrift):
    use(thrift, Recorder(refuse=True))
    caller = whoami()
    with pytest.raises(BudgetExceededError):
        thrift.begin(bounded(cache=cached(caller=caller)))
    assert thrift.ledger.calls() == []
    assert thrift.begin(Request(MODEL, cache=cached(caller=(1, 1)))).waiting is None


def test_a_refused_call_asks_once_for_its_whole_answer_and_once_for_a_shorter_one(thrift: Thrift):
    refusing = use(thrift, Recorder(refuse=True))
    with pytest.raises(BudgetExceededError):
        thrift.begin(bounded(may_clamp=True))
    assert [step[0] for step in refusing.steps] == ["hold", "shorter"]


def test_every_attempt_is_held_settled_and_recorded(thrift: Thrift, recorder: Recorder):
    call = thrift.begin(bounded())
    call.attempt(None, "gpt-4o", reason="fallback", error=ConnectionRefusedError())
    call.finish(answered())
    assert [step[0] for step in recorder.steps] == ["hold", "settle", "hold", "settle"]
    first, second = sorted(thrift.ledger.calls(), key=lambda row: row.attempt)
    assert (first.model, first.error, first.cost_nano_usd) == (MODEL, "ConnectionRefusedError", 0)
    assert (second.model, second.attempt_reason, second.error) == ("gpt-4o", "fallback", None)
    assert first.call_id == second.call_id
    assert thrift.report().total["requests"] == 1


MAY_COST = Decimal("0.00045")  # 1000 x 150 + 500 x 600 nano-dollars


def test_a_call_that_was_sent_and_not_answered_is_billed_what_was_set_aside(thrift: Thrift, recorder: Recorder):
    thrift.begin(bounded()).fail(TimeoutError())
    assert recorder.steps[1:] == [("settle unanswered", MAY_COST, 1500)]
    (row,) = thrift.ledger.calls()
    assert (row.error, row.estimated, row.input_tokens, row.output_tokens) == ("TimeoutError", True, 1000, 500)
    assert row.cost_nano_usd == 450_000


def test_a_refused_call_is_free(thrift: Thrift, recorder: Recorder):
    thrift.begin(bounded()).fail(ConnectionRefusedError())
    thrift.begin(bounded()).fail(TimeoutError(), was_sent=False)  # while it waited for its turn
    assert recorder.steps[1::2] == [("settle", 0, 0), ("release",)]  # what was never sent is no request either
    assert [(row.cost_nano_usd, row.estimated) for row in thrift.ledger.calls()] == [(0, False), (0, False)]


def test_what_a_broken_stream_had_brought_is_its_row_and_what_was_set_aside_is_spent(thrift: Thrift, recorder: Recorder):
    came = Usage(input_tokens=1000, output_tokens=20, estimated=True)
    thrift.begin(bounded()).fail(GeneratorExit(), answered(usage=came))
    thrift.begin(bounded()).fail(GeneratorExit(), answered())  # the provider had told its bill
    thrift.begin(bounded()).abandon()
    assert recorder.steps[1::2] == [("settle unanswered", Decimal("0.000162"), 1020), ("settle", COST, 1200), ("release",)]
    assert [row.error for row in thrift.ledger.calls()] == ["abandoned", "abandoned"]


def test_without_a_budget_the_row_says_what_would_have_been_set_aside(thrift: Thrift):
    thrift.begin(Request(MODEL, metered=lambda tier: Outgoing(30), max_output_tokens=lambda tier: 70)).fail(TimeoutError())
    (row,) = thrift.ledger.calls()
    assert (row.input_tokens, row.output_tokens, row.estimated, row.cost_nano_usd) == (30, 70, True, 30 * 150 + 70 * 600)


def test_an_attempt_that_timed_out_before_a_fallback_is_billed_and_saves_nothing(thrift: Thrift):
    models = {"cheap": (MODEL, "openai"), "strong": ("gpt-4o", "openai")}
    route = RouteUse(CallablePolicy(lambda request: "cheap"), Tiers(("cheap", "strong")), RouteRequest("Hello"), models, "strong")
    call = thrift.begin(bounded(route=route))
    call.attempt("strong", "gpt-4o", "openai", reason="fallback", error=TimeoutError())
    call.finish(answered())
    first, second = sorted(thrift.ledger.calls(), key=lambda row: row.attempt)
    assert (first.cost_nano_usd, first.routing_saved_nano_usd, second.routing_saved_nano_usd) == (450_000, -450_000, 0)


def test_a_budget_keeps_what_may_have_been_billed(thrift: Thrift):
    thrift.budgets.add(Budget(limit_usd="0.001", window="day"))
    for _ in range(2):
        thrift.begin(bounded()).fail(TimeoutError())
    (status,) = thrift.budgets.status()
    assert (status["spent"], status["reserved"]) == (2 * MAY_COST, 0)
    with pytest.raises(BudgetExceededError):
        thrift.begin(bounded())


def test_an_undecodable_entry_is_a_miss_and_is_removed(thrift: Thrift):
    def refuse(payload: bytes) -> str:
        raise ValueError("not ours")

    thrift.begin(Request(MODEL, cache=cached())).finish(answered())
    assert thrift.begin(Request(MODEL, cache=cached(decode=refuse))).hit is None
    assert thrift.cache.stats()["entries"] == 0


def test_modes(thrift: Thrift):
    thrift.begin(Request(MODEL, cache=cached(mode="off"))).finish(answered("unseen"))
    assert thrift.cache.stats()["entries"] == 0
    thrift.begin(Request(MODEL, cache=cached())).finish(answered("old"))
    refreshed = thrift.begin(Request(MODEL, cache=cached(mode="refresh")))
    assert refreshed.hit is None
    refreshed.finish(answered("new"))
    assert thrift.begin(Request(MODEL, cache=cached())).answer == "new"


def test_the_mode_of_a_block_ends_with_it():
    with cache_mode("off"):
        assert current_cache_mode() == "off"
        with cache_mode("refresh"):
            assert current_cache_mode() == "refresh"
        assert current_cache_mode() == "off"
    assert current_cache_mode() == "on"
    with pytest.raises(ValueError, match="not 'never'"), cache_mode("never"):  # type: ignore[arg-type]
        pass


def test_identical_requests_wait_for_the_first(thrift: Thrift):
    leader = thrift.begin(Request(MODEL, cache=cached(caller=(1, 0))))
    follower = thrift.begin(Request(MODEL, cache=cached(caller=(2, 0))))
    assert follower.waiting is not None
    leader.finish(answered())
    follower.waiting.wait()
    assert follower.resume().hit is not None
    follower.finish_hit()
    assert thrift.report().total["cache_hits"] == 1


def test_a_leader_that_is_forgotten_lets_the_others_go_on(thrift: Thrift):
    leader = thrift.begin(Request(MODEL, cache=cached(caller=(1, 0))))
    follower = thrift.begin(Request(MODEL, cache=cached(caller=(2, 0))))
    del leader
    gc.collect()
    assert follower.waiting is not None
    follower.waiting.wait()
    assert follower.resume().waiting is None


def test_routing_chooses_the_model_and_is_recorded(thrift: Thrift):
    route = RouteUse(
        policy=CallablePolicy(lambda request: "cheap"),
        tiers=Tiers(("cheap", "strong")),
        request=RouteRequest("Hello"),
        models={"cheap": (MODEL, "openai"), "strong": ("gpt-4o", "openai")},
        baseline="strong",
    )
    call = thrift.begin(Request(route=route))
    assert (call.tier, call.model) == ("cheap", MODEL)
    call.finish(answered())
    (row,) = thrift.ledger.calls()
    # gpt-4o at $2.50 and $10 a million would have been 1000 x 2500 + 200 x 10000 nano-dollars
    assert (row.baseline_model, row.routing_saved_nano_usd) == ("gpt-4o", 4_500_000 - 270_000)


def test_an_answer_that_is_not_good_enough_is_billed_to_the_call(thrift: Thrift, recorder: Recorder):
    models = {"cheap": (MODEL, "openai"), "strong": ("gpt-4o", "openai")}
    tiers = Tiers(("cheap", "strong"))
    route = RouteUse(CallablePolicy(lambda request: "cheap"), tiers, RouteRequest("Hello"), models, "strong")
    call = thrift.begin(bounded(route=route))
    call.attempt("strong", "gpt-4o", "openai", reason="escalation", rejected=answered("maybe"))
    call.finish(answered("yes"))
    assert [step[0] for step in recorder.steps] == ["hold", "hold", "settle", "settle"]
    first, second = sorted(thrift.ledger.calls(), key=lambda row: row.attempt)
    assert (first.model, first.error, second.model, second.attempt_reason) == (MODEL, None, "gpt-4o", "escalation")
    assert first.cost_nano_usd == 270_000
    assert first.call_id == second.call_id
    (row,) = thrift.report(by="feature").to_dicts()
    assert (row["requests"], row["attempts"]) == (1, 2)
    # The strong model would have cost as much as its answer did: what was paid for the rejected one was lost.
    assert thrift.savings().routing_saved_usd == Decimal("-0.00027")


def test_an_answer_is_kept_if_no_budget_has_room_for_another(thrift: Thrift):
    thrift.budgets.add(Budget(limit_usd=0.001, window="day"))
    models = {"cheap": (MODEL, "openai"), "strong": ("gpt-4o", "openai")}
    route = RouteUse(CallablePolicy(lambda request: "cheap"), Tiers(("cheap", "strong")), RouteRequest("Hello"), models, "strong")
    call = thrift.begin(Request(route=route, outgoing=lambda tier: Outgoing(1_000), max_output_tokens=lambda tier: 200))
    with pytest.raises(BudgetExceededError):
        call.attempt("strong", "gpt-4o", "openai", reason="escalation", rejected=answered("maybe"))
    assert (call.tier, call.model, call.attempts) == ("cheap", MODEL, 1)
    call.finish(answered("maybe"))
    (row,) = thrift.ledger.calls()
    assert (row.cost_nano_usd, row.error) == (270_000, None)
    (status,) = thrift.budgets.status()
    assert (status["spent"], status["reserved"]) == (Decimal("0.00027"), 0)


def test_observing_serves_reroutes_and_refuses_nothing(thrift: Thrift, monkeypatch: pytest.MonkeyPatch):
    thrift.begin(Request(MODEL, cache=cached())).finish(answered())
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    refusing = use(thrift, Recorder(refuse=True))
    call = thrift.begin(bounded(cache=cached()))
    assert call.hit is None
    call.finish(answered())
    assert refusing.steps == []
    assert thrift.savings().observed_cache_usd == Decimal("0.00027")
    assert thrift.report().total["cache_hits"] == 0


def test_nothing_of_ours_breaks_a_call_that_was_answered(thrift: Thrift, caplog: pytest.LogCaptureFixture):
    def boom() -> Usage:
        raise RuntimeError("sk-secret")

    thrift.begin(Request(MODEL)).finish(Response(estimate=boom))
    assert thrift.health()["failures"] == {"call": 1}
    assert thrift.health()["status"] == "degraded"
    assert "sk-secret" not in caplog.text


def test_a_call_whose_cost_cannot_be_told_counts_as_what_was_set_aside(thrift: Thrift, recorder: Recorder):
    def boom() -> Usage:
        raise RuntimeError("no tokenizer")

    thrift.begin(bounded()).finish(Response(estimate=boom))
    thrift.begin(bounded()).fail(GeneratorExit(), Response(estimate=boom))
    assert recorder.steps[1::2] == [("settle unanswered", None, 0), ("settle unanswered", None, 0)]


@pytest.mark.parametrize(("capture", "text"), [("text", "the prompt"), ("features", None)])
def test_what_is_stored_of_a_prompt(tmp_path, capture, text):
    with Thrift(tmp_path / "t.db", capture=capture, redact=lambda text: text.replace("prompt", "***")) as thrift:
        features = PromptFeatures("abcd", 10, 0, 1, text=None if text is None else lambda: text)
        thrift.begin(Request(MODEL, prompt=features)).finish(answered(text=lambda: "the answer"))
        (row,) = thrift.ledger.calls()
        assert (row.prompt_hash, row.prompt_chars) == ("abcd", 10)
        thrift.flush()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert (b"the ***" in stored, b"the answer" in stored) == (text is not None, text is not None)
    assert b"the prompt" not in stored
