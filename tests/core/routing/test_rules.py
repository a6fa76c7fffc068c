"""Rules are asked by priority, compose, and cannot break a call."""

from __future__ import annotations

import logging

import pytest

from llmthrift_core.attribution import attribution_of
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import (
    CallablePolicy,
    Complexity,
    RouteRequest,
    Rule,
    Rules,
    Tiers,
    as_policy,
    contains,
    feature_is,
    has_images,
    has_tools,
    longer_than,
    matches,
    request_type_is,
    structured_output,
    tag_is,
    user_in,
)

TIERS = Tiers(("small", "medium", "large"))
WHO = attribution_of({"team": "web"}, user="ada", feature="chat", request_type="triage")


@pytest.mark.parametrize(
    ("predicate", "request_", "expected"),
    [
        (contains("sql", "join"), RouteRequest("Write SQL, please"), True),
        (contains("sql"), RouteRequest("mysqlite"), False),
        (contains("c++"), RouteRequest("Learn C++ today"), True),
        (matches(r"order \d+"), RouteRequest("Where is ORDER 123?"), True),
        (longer_than(words=3), RouteRequest("one two three"), False),
        (longer_than(words=3), RouteRequest("one two three four"), True),
        (longer_than(chars=5), RouteRequest("123456"), True),
        (has_tools(), RouteRequest("x", has_tools=True), True),
        (has_images(), RouteRequest("x", has_images=True), True),
        (structured_output(), RouteRequest("x", structured=True), True),
        (feature_is("chat", "search"), RouteRequest("x", attribution=WHO), True),
        (feature_is("search"), RouteRequest("x", attribution=WHO), False),
        (user_in("ada"), RouteRequest("x", attribution=WHO), True),
        (request_type_is("triage"), RouteRequest("x", attribution=WHO), True),
        (tag_is("team", "web"), RouteRequest("x", attribution=WHO), True),
        (tag_is("team", "ops"), RouteRequest("x", attribution=WHO), False),
        (contains("a") & contains("b"), RouteRequest("a b"), True),
        (contains("a") & contains("b"), RouteRequest("a"), False),
        (contains("a") | contains("b"), RouteRequest("b"), True),
        (~contains("a"), RouteRequest("b"), True),
    ],
    ids=lambda value: repr(value) if hasattr(value, "name") else "",
)
def test_predicates(predicate, request_, expected):
    assert predicate(request_) is expected


def test_the_highest_priority_that_matches_decides():
    rules = Rules([Rule("any", lambda request: True, use="small"), Rule("first", contains("x"), use="large", priority=5)])
    assert rules.decide(RouteRequest("x"), TIERS).tier == "large"
    decision = rules.decide(RouteRequest("y"), TIERS)
    assert (decision.tier, decision.reason) == ("small", "rule 'any'")


def test_a_rule_beyond_the_callers_maximum_is_passed_over():
    rules = Rules([Rule("strong", contains("x"), use="large")], default="medium")
    decision = rules.decide(RouteRequest("x"), TIERS.at_most("medium"))
    assert decision.tier == "medium"
    assert "maximum tier forbids" in decision.rejected[0][1]


def test_what_rules_rejected_is_kept_beside_what_the_default_rejects():
    rules = Rules([Rule("strong", contains("thanks"), use="large")], default=Complexity())
    decision = rules.decide(RouteRequest("Thanks!"), TIERS.at_most("medium"))
    assert decision.tier == "small"
    assert [name for name, _ in decision.rejected] == ["large", "medium"]


def test_without_a_match_the_default_decides_else_the_strongest():
    assert Rules([]).decide(RouteRequest("x"), TIERS).tier == "large"
    assert Rules([], default="small").decide(RouteRequest("x"), TIERS).tier == "small"
    assert Rules([], default="gone").decide(RouteRequest("x"), TIERS).tier == "large"
    assert Rules([], default=Complexity()).decide(RouteRequest("Thanks!"), TIERS).tier == "small"


def test_a_rule_that_raises_is_passed_over_and_said_once(caplog):
    def boom(request: RouteRequest) -> bool:
        raise KeyError(request.question)

    rules = Rules([Rule("boom", boom, use="small")], default="medium")
    with caplog.at_level(logging.WARNING, "llmthrift"):
        assert [rules.decide(RouteRequest("a secret question"), TIERS).tier for _ in range(3)] == ["medium"] * 3
    assert caplog.text.count("rule 'boom'") == 1
    assert "KeyError" in caplog.text
    assert f"{__file__}:" in caplog.text
    assert "secret" not in caplog.text  # what was asked is nowhere logged


def test_the_version_tells_configurations_apart():
    def version(**options: object) -> str:
        return Rules([Rule("a", contains("x"), **{"use": "small", **options})]).version  # type: ignore[arg-type]

    assert version() == version()
    assert len({version(), version(use="large"), version(priority=1), Rules([Rule("a", contains("y"), use="small")]).version}) == 4


def test_names_must_differ():
    with pytest.raises(ConfigurationError, match="rule names must differ: a, a"):
        Rules([Rule("a", contains("x"), use="small"), Rule("a", contains("y"), use="small")])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: contains(), "at least one word"),
        (lambda: matches("("), "not a regular expression"),
        (lambda: longer_than(), "either chars= or words="),
        (lambda: longer_than(chars=1, words=1), "either chars= or words="),
    ],
)
def test_predicates_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_whatever_a_user_may_give_becomes_a_policy():
    rule = Rule("a", contains("x"), use="small")
    assert isinstance(as_policy(None), Complexity)
    assert isinstance(as_policy(rule), Rules)
    assert isinstance(as_policy([rule]), Rules)
    assert isinstance(as_policy(lambda request: "small"), CallablePolicy)
    policy = Complexity()
    assert as_policy(policy) is policy
    for wrong in (3, [], ["small"], "small"):
        with pytest.raises(ConfigurationError, match="policy must be"):
            as_policy(wrong)


def test_a_coroutine_function_is_refused():
    async def choose(request: RouteRequest) -> str:
        return "small"

    with pytest.raises(ConfigurationError, match="must not be async"):
        as_policy(choose)


def test_what_a_function_gets_wrong_goes_to_the_strongest_allowed(caplog):
    allowed = TIERS.at_most("medium")
    assert as_policy(lambda request: "large").decide(RouteRequest("x"), allowed).tier == "medium"
    assert as_policy(lambda request: 1 / 0).decide(RouteRequest("x"), allowed).tier == "medium"
    assert as_policy(lambda request: "small").decide(RouteRequest("x"), allowed).tier == "small"


def test_a_default_that_decides_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not int"):
        Rules([], default=7)
