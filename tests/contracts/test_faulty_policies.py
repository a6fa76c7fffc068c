"""A policy may be anybody's code: whatever it gets wrong, the call goes to an allowed model, once."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift
from llmthrift_core.errors import NoModelQualifiesError
from llmthrift_core.routing import (
    Bounded,
    Bounds,
    Capabilities,
    Profile,
    Profiles,
    Review,
    RouteDecision,
    RouteRequest,
    RoutingPolicy,
    Tiers,
)
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import AnyDoor, Door, LlamaIndexDoor, client, llm

pytestmark = pytest.mark.loopback
SECRET = "my card is 4111 1111"
MODELS = {"weak": "gpt-4o-mini", "middle": "gpt-4.1", "strong": "gpt-4o"}
HOW = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])


class Policy(RoutingPolicy):
    """Chooses the cheapest tier."""

    version: Any = "v1"  # type: ignore[assignment]

    def decide(self, request: RouteRequest, tiers: Tiers) -> Any:
        return RouteDecision(tiers.names[0], "the cheapest")


class Fails(Policy):
    def decide(self, request: RouteRequest, tiers: Tiers) -> Any:
        raise KeyError(request.question)


class Says(Policy):
    """Gives something that is no decision of an allowed tier."""

    def __init__(self, said: Any) -> None:
        self._said = said

    def decide(self, request: RouteRequest, tiers: Tiers) -> Any:
        return self._said


class Reviews(Policy):
    reviews = True

    def __init__(self, said: Callable[[str], Any]) -> None:
        self._said = said

    def review(self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Any = None) -> Any:
        return self._said(tier)


class Versioned(Policy):
    def __init__(self, version: Any) -> None:
        self.version = version


class Unversioned(Policy):
    """Loses its version once a router has it."""

    def __init__(self) -> None:
        self._asked = 0

    @property
    def version(self) -> Any:  # type: ignore[override]
        self._asked += 1
        if self._asked > 1:
            raise RuntimeError(SECRET)
        return "v1"


class Allows(Policy):
    """Chooses the strongest tier that it allows itself."""

    def __init__(self, allows: Callable[[Tiers], Any]) -> None:
        self._allows = allows

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Any:
        return self._allows(tiers)

    def decide(self, request: RouteRequest, tiers: Tiers) -> Any:
        return RouteDecision("strong", "the strongest")


def in_langchain(thrift: Thrift, provider: LoopbackProvider, policy: Any, **options: Any) -> Door:
    models = {tier: client(provider).model_copy(update={"model_name": name}) for tier, name in MODELS.items()}
    return Door(lc.ChatRouter(thrift, models=models, policy=policy, cache=True, **options))


def in_llamaindex(thrift: Thrift, provider: LoopbackProvider, policy: Any, **options: Any) -> LlamaIndexDoor:
    models = {tier: llm(provider).model_copy(update={"model": name}) for tier, name in MODELS.items()}
    return LlamaIndexDoor(li.RouterLLM(thrift, models=models, policy=policy, **options))


Make = Callable[..., AnyDoor]
ROUTERS = pytest.mark.parametrize("router", [in_langchain, in_llamaindex])


def called(provider: LoopbackProvider) -> list[str]:
    return [next(tier for tier, name in MODELS.items() if name == each.model) for each in provider.usage_log]


def assert_billed_in_full(thrift: Thrift, provider: LoopbackProvider) -> None:
    thrift.flush()
    rows = list(thrift.ledger.calls())
    assert sum(row.input_tokens for row in rows) == sum(each.input_tokens for each in provider.usage_log)
    assert sum(row.output_tokens for row in rows) == sum(each.output_tokens for each in provider.usage_log)
    assert len(rows) == len(provider.usage_log)


@ROUTERS
@HOW
@pytest.mark.parametrize(
    "policy",
    [
        Fails(),
        Says("weak"),
        Says(None),
        Says(RouteDecision("banana", "why not")),
        Says(RouteDecision("strong", "above the caller's maximum")),
        Says(RouteDecision(["weak"], "no name")),  # type: ignore[arg-type]
        Allows(lambda tiers: Tiers(tuple(MODELS))),
    ],
    ids=["fails", "no decision", "nothing", "unknown", "forbidden", "unhashable", "allows more than is allowed"],
)
def test_a_wrong_decision_is_replaced_by_the_strongest_allowed_tier(thrift, provider, caplog, router: Make, policy, how):
    with caplog.at_level(logging.WARNING, "llmthrift"):
        assert router(thrift, provider, policy, max_tier="middle").ask(SECRET, how)
    assert called(provider) == ["middle"]
    assert_billed_in_full(thrift, provider)
    (row,) = thrift.ledger.calls()
    assert row.tier == "middle"
    assert "the strongest allowed" in row.route_reason
    assert thrift.health()["failures"] == {"routing policy": 1}
    assert SECRET not in caplog.text + row.route_reason + str(row.rejected)


@ROUTERS
@HOW
@pytest.mark.parametrize(
    "said",
    [
        lambda tier: 1 / 0,
        lambda tier: "banana",
        lambda tier: Review(0.1, "strong"),
        lambda tier: Review(0.1, RouteDecision("banana", "why not")),
        lambda tier: Review(0.1, RouteDecision("strong", "above the caller's maximum")),
        lambda tier: Review(0.1, RouteDecision(tier, "once more")),
    ],
    ids=["fails", "no review", "no decision", "unknown", "forbidden", "the same again"],
)
def test_an_answer_is_kept_where_its_review_is_wrong(thrift, provider, router: Make, said, how):
    assert router(thrift, provider, Reviews(said), max_tier="middle").ask(SECRET, how)
    assert called(provider) == ["weak"]
    assert_billed_in_full(thrift, provider)
    (row,) = thrift.ledger.calls()
    assert (row.error, bool(row.escalated)) == (None, False)
    assert thrift.health()["failures"] == {"routing policy": 1}


class FailsToRead(Policy):
    """Fails inside of another library, with what it was asked in the message, and for a reason of its own."""

    def decide(self, request: RouteRequest, tiers: Tiers) -> Any:
        if "number" in request.question:
            return json.loads("{" + request.question)
        raise LookupError(f"no price list for EMEA: {request.question}")


@ROUTERS
def test_a_policy_that_fails_is_logged_once_with_its_message_and_its_place(thrift, provider, caplog, router: Make):
    door = router(thrift, provider, FailsToRead())
    with caplog.at_level(logging.ERROR, "llmthrift"):
        for question in (SECRET, f"{SECRET}?", f"the number of {SECRET}"):
            door.ask(question)
    told = [record.getMessage() for record in caplog.records if "routing policy" in record.getMessage()]
    assert len(told) == 2  # kinds of failures
    decide = FailsToRead.decide.__code__
    assert re.search(rf"LookupError: no price list for EMEA: .*at {re.escape(__file__)}:{decide.co_firstlineno + 3} \(1 so far\)", told[0])
    assert re.search(rf"JSONDecodeError: .*at {re.escape(__file__)}:{decide.co_firstlineno + 2}, raised at .*decoder.py", told[1])
    assert "4111" not in caplog.text
    assert thrift.health()["failures"] == {"routing policy": 3}


@ROUTERS
@HOW
def test_a_review_that_is_never_content_asks_each_model_once(thrift, provider, router: Make, how):
    turns = {"weak": "strong", "strong": "middle", "middle": "weak"}
    assert router(thrift, provider, Reviews(lambda tier: Review(0.1, RouteDecision(turns[tier], "on")))).ask("Hello?", how)
    assert called(provider) == ["weak"] if how in ("stream", "astream") else ["weak", "strong", "middle"]
    assert_billed_in_full(thrift, provider)


@ROUTERS
@pytest.mark.parametrize("policy", [Versioned(7), Versioned(None), Unversioned], ids=["number", "none", "fails"])
def test_a_policy_whose_version_is_no_text_is_used_without_a_cache(thrift, provider, router: Make, policy):
    door = router(thrift, provider, policy() if policy is Unversioned else policy)
    assert door.ask("Hello?")
    assert door.ask("Hello?")
    assert called(provider) == ["weak", "weak"]
    assert_billed_in_full(thrift, provider)
    assert [row.config_version for row in thrift.ledger.calls()] == [None, None]


@ROUTERS
@pytest.mark.parametrize("allows", [lambda tiers: 1 / 0, lambda tiers: None, lambda tiers: Tiers(())], ids=["fails", "nothing", "none"])
def test_bounds_that_cannot_be_told_refuse(thrift, provider, router: Make, allows):
    with pytest.raises(NoModelQualifiesError, match="Allows"):
        router(thrift, provider, Allows(allows)).ask(SECRET)
    assert provider.requests == []


@ROUTERS
@HOW
@pytest.mark.parametrize(
    "policy",
    [
        Fails(),
        Bounded(Policy(), Bounds({"strong": Capabilities(context_tokens=1)})),
        Bounded(Policy(), Bounds({tier: Capabilities(context_tokens=1) for tier in MODELS})),
        Profiles({"weak": Profile(quality=0.1)}, required_quality=0.9),
        Allows(lambda tiers: 1 / 0),
    ],
    ids=["fails", "bounds without the baseline", "bounds without a tier", "refuses", "bounds that fail"],
)
def test_observing_refuses_and_reroutes_nothing(thrift, provider, monkeypatch, router: Make, policy, how):
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    assert router(thrift, provider, policy).ask("Hello?", how)
    assert called(provider) == ["strong"]
    assert_billed_in_full(thrift, provider)


class Escalates(Policy):
    reviews = True
    holds_streams = True

    def review(self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Any = None) -> Review | None:
        return Review(0.1, RouteDecision("strong", "not good enough")) if tier == "weak" else None


@ROUTERS
@HOW
@pytest.mark.parametrize(("status", "kept"), [(503, True), (429, True), (401, False)])
def test_an_answer_that_was_rejected_is_kept_where_no_better_model_can_be_had(thrift, provider, router: Make, how, status, kept):
    door = router(thrift, provider, Escalates())
    expected = door.ask("Hello?", max_tier="weak")
    provider.reset()
    provider.fail_next(status=status, model=MODELS["strong"])
    provider.fail_next(status=status, model=MODELS["middle"])
    if kept:
        assert door.ask("Hello?", how) == expected
    else:
        with pytest.raises(Exception, match=str(status)):
            door.ask("Hello?", how)
    assert called(provider) == ["weak"]
    thrift.flush()
    rows = sorted((row for row in thrift.ledger.calls() if row.stream or row.attempt > 1 or row.escalated), key=lambda row: row.attempt)
    assert [row.error is None for row in rows] == [True] + [False] * (len(provider.requests) - 1)
    assert (rows[0].tier, rows[0].output_tokens) == ("weak", provider.usage_log[0].output_tokens)
    assert ("the answer of weak is kept" in rows[-1].route_reason) is kept
    assert door.ask("Hello?", how)  # nothing was stored of what was not good enough
    assert called(provider)[1:] == ["weak", "strong"]
