"""Adaptive routing follows what the ledger's answers turned out to be worth, and explores within its dollars."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import attribution_of
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.routing import Adaptive, RouteDecision, RouteRequest, Sticky, Tiers
from tests.core.clock import Clock
from tests.processes import FORK_SERVER

MODELS = {"small": "gpt-4.1-nano", "medium": "gpt-4.1-mini", "large": "gpt-4.1"}
TIERS = Tiers(tuple(MODELS))
USAGE = Usage(input_tokens=1_000, output_tokens=100)  # $0.00014, $0.00056 and $0.0028
USD = {"small": 0.00014, "medium": 0.00056, "large": 0.0028}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def thrift(clock: Clock) -> Iterator[Thrift]:
    with Thrift(":memory:", clock=clock) as opened:
        yield opened


def judge(thrift: Thrift, model: str, quality: float, count: int, **attribution: object) -> list[str]:
    """So many judged calls, of which `quality` are right, spread evenly."""
    ids = []
    for number in range(count):
        ids.append(thrift.ledger.record(model, USAGE, **attribution))
        right = math.floor((number + 1) * quality + 1e-9) > math.floor(number * quality + 1e-9)
        thrift.ledger.feedback(ids[-1], quality=float(right))
    return ids


def at(site: str | None = None) -> RouteRequest:
    return RouteRequest("x", attribution=attribution_of(call_site=site))


def tiers_of(policy: Adaptive, count: int, site: str | None = None) -> list[str]:
    return [policy.decide(at(site), TIERS).tier for _ in range(count)]


def test_the_best_worth_wins(thrift: Thrift) -> None:
    for tier, quality in (("small", 0.6), ("medium", 0.9), ("large", 0.94)):
        judge(thrift, MODELS[tier], quality, 400)
    decision = Adaptive(thrift, MODELS).decide(at(), TIERS)
    assert decision.tier == "medium"
    # One standard error of (0.9 * 400 + 2) / 404 is taken off, and a fifth of 0.1.
    middle = 362 / 404
    assert decision.score == pytest.approx(middle - math.sqrt(middle * (1 - middle) / 404) - 0.1 * 0.2)
    assert decision.qualities == pytest.approx({"small": 0.6, "medium": 0.9, "large": 0.94})
    assert decision.expected_cost_usd == pytest.approx(USD["medium"])
    assert not decision.explored
    assert Adaptive(thrift, MODELS, cost_weight=0).decide(at(), TIERS).tier == "large"
    assert Adaptive(thrift, MODELS, quality_weight=0).decide(at(), TIERS).tier == "small"
    assert Adaptive(thrift, MODELS, cost_weight=0).decide(at(), TIERS.at_most("small")).tier == "small"


def test_without_judged_answers_it_is_the_strongest_and_explores_nothing(thrift: Thrift) -> None:
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=100, explore_share=1.0)
    assert set(tiers_of(policy, 50)) == {"large"}
    judge(thrift, MODELS["small"], 1.0, 19)
    decision = Adaptive(thrift, MODELS).decide(at(), TIERS)
    assert (decision.tier, decision.reason) == ("large", "the strongest; too few judged answers")


def test_a_call_site_is_judged_by_itself_where_it_can_be(thrift: Thrift) -> None:
    for _ in range(20):
        judge(thrift, MODELS["small"], 0.3, 10, call_site="plan")
        judge(thrift, MODELS["small"], 1.0, 2, call_site="triage")
    judge(thrift, MODELS["small"], 1.0, 3, call_site="new")
    judge(thrift, MODELS["large"], 0.95, 400, call_site="plan")
    policy = Adaptive(thrift, MODELS)
    assert [policy.decide(at(site), TIERS).tier for site in ("triage", "plan", "new", "unheard of", None)] == ["small"] + ["large"] * 4


def test_dated_releases_and_hits_count_and_what_is_not_an_answer_of_the_model_does_not(thrift: Thrift) -> None:
    judge(thrift, "gpt-4.1-nano-2025-04-14", 1.0, 30)
    judge(thrift, "gpt-4.1-nano", 1.0, 10, cache="exact")
    judge(thrift, "gpt-4.1-nano", 0.0, 50, cache="semantic")
    judge(thrift, "gpt-4.1-nano", 0.0, 50, request_type="evaluation")
    judge(thrift, "gpt-4.1-nano", 0.0, 50, request_type="routing")
    judge(thrift, "gpt-4.1-mini", 0.0, 50)
    score = Adaptive(thrift, MODELS).scores.score("small", None)
    assert score is not None
    assert (score.quality, score.judged) == (1.0, pytest.approx(40))
    assert score.cost_usd == pytest.approx(USD["small"])


def test_contradictions_meet_in_the_middle_and_unknown_calls_are_nothing(thrift: Thrift) -> None:
    for request_id in judge(thrift, MODELS["small"], 1.0, 30):
        thrift.ledger.feedback(request_id, quality=0.0, source="judge:strict")
        thrift.ledger.feedback(request_id, quality=0.5, source="judge:strict")  # on second thoughts
    for number in range(100):
        thrift.ledger.feedback(f"no such call {number}", quality=1.0)
    for quality in (math.nan, math.inf, -0.1, 1.1):
        with pytest.raises(ConfigurationError):
            thrift.ledger.feedback("any", quality=quality)
    score = Adaptive(thrift, MODELS).scores.score("small", None)
    assert score is not None
    assert (score.quality, score.judged) == (pytest.approx(0.75), pytest.approx(30))


def test_scores_are_the_same_on_every_database(any_url: str) -> None:
    with Thrift(any_url) as thrift:
        ids = judge(thrift, MODELS["small"], 0.5, 30, call_site="chat")
        scores = Adaptive(thrift, MODELS).scores
        for request_id in ids[:15]:
            thrift.ledger.feedback(request_id, quality=1.0)
        scores.refresh()
        found = scores.score("small", "chat")
        assert found is not None
        # Every other answer was wrong; of the first fifteen all are right now.
        assert (found.quality, found.judged, found.cost_usd) == pytest.approx((23 / 30, 30, USD["small"]), rel=0.02)


def test_what_is_judged_later_is_read_in_the_background(thrift: Thrift, clock: Clock) -> None:
    policy = Adaptive(thrift, MODELS, refresh_seconds=60)
    ids = judge(thrift, MODELS["small"], 1.0, 40)
    assert policy.decide(at(), TIERS).tier == "large"
    clock.now += 61
    policy.decide(at(), TIERS)  # finds the scores old, and does not wait
    for thread in threading.enumerate():
        if thread.name == "llmthrift-scores":
            thread.join(30)
    assert policy.decide(at(), TIERS).tier == "small"
    for request_id in ids:  # corrections, later
        thrift.ledger.feedback(request_id, quality=0.0)
    policy.scores.refresh()
    assert policy.decide(at(), TIERS).tier == "large"
    score = policy.scores.score("small", None)
    assert score is not None
    assert (score.quality, score.judged) == (0.0, pytest.approx(40, rel=0.01))


def test_a_model_that_got_worse_at_one_site_is_left_there_and_taken_back(thrift: Thrift, clock: Clock) -> None:
    for site in ("chat", "triage"):
        judge(thrift, MODELS["small"], 0.95, 300, call_site=site)
        judge(thrift, MODELS["large"], 0.95, 100, call_site=site)
    policy = Adaptive(thrift, MODELS)
    assert tiers_of(policy, 1, "chat") == tiers_of(policy, 1, "triage") == ["small"]
    clock.now += 3_600
    judge(thrift, MODELS["small"], 0.3, 40, call_site="chat")
    policy.scores.refresh()
    assert (tiers_of(policy, 1, "chat"), tiers_of(policy, 1, "triage")) == (["large"], ["small"])
    assert thrift.health()["routing"][0]["changes"] >= 1
    clock.now += 3_600
    judge(thrift, MODELS["small"], 0.95, 60, call_site="chat")
    policy.scores.refresh()
    assert tiers_of(policy, 1, "chat") == ["small"]


def test_the_tier_that_could_be_worth_most_is_explored_within_the_days_dollars(thrift: Thrift, clock: Clock) -> None:
    judge(thrift, MODELS["large"], 0.9, 400)
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=0.0014, explore_share=1.0)
    for _ in range(2):
        decisions = [policy.decide(at(), TIERS) for _ in range(50)]
        # Nothing is known of either cheap tier, and the small one costs less: its price for calls like the large one's.
        assert [decision.tier for decision in decisions].count("small") == 10
        assert [decision.explored for decision in decisions].count(True) == 10
        assert decisions[0].reason.startswith("explored: could be worth 0.99")
        clock.now += 86_400
    assert thrift.health()["routing"][0]["explored"] == 20
    assert float(thrift.health()["routing"][0]["explored_usd"]) == pytest.approx(20 * USD["small"])


def test_a_tier_that_cannot_be_better_is_not_explored_until_it_was_not_tried_for_long(thrift: Thrift, clock: Clock) -> None:
    judge(thrift, MODELS["large"], 0.95, 400)
    for tier in ("small", "medium"):
        judge(thrift, MODELS[tier], 0.4, 100)
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=1.0, refresh_seconds=1e6)
    assert set(tiers_of(policy, 50)) == {"large"}
    clock.now += 20 * 86_400
    assert set(tiers_of(policy, 50)) == {"small"}


def test_a_tier_whose_cost_is_not_known_or_more_than_a_days_amount_is_not_explored(thrift: Thrift) -> None:
    judge(thrift, MODELS["large"], 0.9, 400)
    unpriced = Adaptive(thrift, {**MODELS, "small": "our-own-model"}, explore_usd_per_day=1, explore_share=1.0)
    assert set(tiers_of(unpriced, 20)) == {"medium"}
    poor = Adaptive(thrift, MODELS, explore_usd_per_day=0.0001, explore_share=1.0, name="poor")
    assert set(tiers_of(poor, 20)) == {"large"}


def _explore(path: str, found: Any) -> None:
    with Thrift(path) as thrift:
        policy = Adaptive(thrift, MODELS, explore_usd_per_day=100 * USD["small"], explore_share=1.0)
        found.put(sum(policy.decide(at(), TIERS).explored for _ in range(90)))


def test_two_processes_share_one_amount(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    with Thrift(path) as thrift:
        judge(thrift, MODELS["large"], 0.9, 100)
    found = FORK_SERVER.Queue()
    processes = [FORK_SERVER.Process(target=_explore, args=(path, found)) for _ in range(2)]
    for process in processes:
        process.start()
    counts = [found.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    assert sum(counts) == 100
    with Thrift(path) as thrift:
        (row,) = [row for row in thrift.budgets.status() if row["name"] == "exploration"]
        assert (row["spent"], row["remaining"]) == (row["limit"], 0)


def test_calls_that_do_not_explore_ask_no_database(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(thrift, MODELS["large"], 0.9, 100)
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=0.0)
    other = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=1e-12)
    with monkeypatch.context() as patched:
        patched.setattr(type(thrift.database), "_backend", lambda self: pytest.fail("the database was asked"))
        assert set(tiers_of(policy, 100) + tiers_of(other, 100)) == {"large"}
    assert (policy.waits, other.waits) == (False, True)


def test_a_database_that_fails_leaves_what_is_known(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    thrift = Thrift(tmp_path / "ledger.db", clock=clock)
    judge(thrift, MODELS["small"], 0.95, 100)
    judge(thrift, MODELS["large"], 0.95, 100)
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=1.0)
    with thrift.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE llmthrift_feedback")
        connection.exec_driver_sql("DROP TABLE llmthrift_budgets")
    thrift.ledger.record("gpt-4.1", USAGE)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            policy.scores.refresh()
        assert set(tiers_of(policy, 20)) == {"small"}
    assert policy.health()["errors"] == 3
    assert caplog.text.count("routing scores failed") == 1
    thrift.close()
    assert tiers_of(policy, 1) == ["small"]


def test_where_the_amount_cannot_be_asked_nothing_is_explored(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(thrift, MODELS["large"], 0.9, 100)
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=1.0)
    thrift.budgets.remove("exploration")
    assert set(tiers_of(policy, 20)) == {"large"}
    assert thrift.health()["failures"] == {"exploration": 1}


def test_observing_explores_nothing(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(thrift, MODELS["large"], 0.9, 100)
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=1.0)
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    assert set(tiers_of(policy, 20)) == {"large"}


def test_disabled_it_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    thrift = Thrift(tmp_path / "ledger.db")
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=1.0)
    assert policy.decide(at(), TIERS).tier == "large"
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_reads_and_explores_for_itself(tmp_path: Path) -> None:
    with Thrift(tmp_path / "ledger.db") as thrift:
        judge(thrift, MODELS["large"], 0.9, 100)
        policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=0.5)
        policy.scores._refreshing._reading.acquire()  # as a thread that reads at that moment
        child = os.fork()
        if child == 0:
            judge(thrift, MODELS["small"], 1.0, 50)
            policy.scores.refresh()
            score = policy.scores.score("small", None)
            os._exit(0 if score is not None and score.quality == 1.0 and policy.health()["explored"] == 0 else 1)
        policy.scores._refreshing._reading.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_session_that_keeps_its_model_has_not_explored(thrift: Thrift) -> None:
    judge(thrift, MODELS["large"], 0.9, 100)
    exploring = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=1.0)
    sticky = Sticky(exploring, MODELS, catalog=thrift.prices)
    request = RouteRequest("And then? " * 2_000, history_messages=5, input_chars=200_000, attribution=attribution_of(session="s"))
    sticky._sessions[None, "s", None] = "large", sticky._clock()
    decision = sticky.decide(request, TIERS)
    assert isinstance(decision, RouteDecision)
    assert decision.explored is (decision.tier != "large")


def test_a_policy_for_other_tiers_says_so_once(thrift: Thrift, caplog: pytest.LogCaptureFixture) -> None:
    policy = Adaptive(thrift, MODELS)
    assert [policy.decide(at(), Tiers(("simple", "complex"))).tier for _ in range(3)] == ["complex"] * 3
    assert caplog.text.count("none of simple, complex") == 1


def test_the_seed_decides_when_to_explore(thrift: Thrift) -> None:
    judge(thrift, MODELS["large"], 0.9, 100)

    def run(seed: int) -> list[str]:
        return tiers_of(Adaptive(thrift, MODELS, explore_usd_per_day=100, explore_share=0.3, seed=seed), 60)

    assert run(1) == run(1) != run(2)


def test_versions_tell_options_apart(thrift: Thrift) -> None:
    made = [Adaptive(thrift, MODELS, **options).version for options in ({}, {}, {"cost_weight": 0.2}, {"half_life_days": 1})]
    assert made[0] == made[1]
    assert len(set(made)) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"quality_weight": -1},
        {"cost_weight": math.nan},
        {"explore_usd_per_day": math.inf},
        {"explore_share": 1.1},
        {"half_life_days": 0},
        {"refresh_seconds": True},
        {"models": {}},
        {"models": {"small": 3}},
        {"models": "gpt-4.1"},
    ],
)
def test_what_makes_no_sense_is_refused(thrift: Thrift, options) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Adaptive(thrift, **{"models": MODELS, **options})


def test_of_one_model_in_two_tiers_only_routed_answers_count(thrift: Thrift) -> None:
    two = {"terse": "gpt-4.1", "thorough": "gpt-4.1"}
    judge(thrift, "gpt-4.1", 0.9, 50)
    assert Adaptive(thrift, two).scores.score("terse", None) is None
    for number in range(50):
        record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=thrift.now_us(), model="gpt-4.1")
        record.tier = "terse"
        thrift.ledger.append(record)
        thrift.ledger.feedback(f"r{number}", quality=1.0)
    scores = Adaptive(thrift, two).scores
    assert scores.score("terse", None).judged == pytest.approx(50)
    assert scores.score("thorough", None) is None


def test_a_closed_thrift_is_refused_where_it_must_keep_a_budget(tmp_path: Path) -> None:
    thrift = Thrift(tmp_path / "ledger.db")
    thrift.close()
    with pytest.raises(StorageError):
        Adaptive(thrift, MODELS, explore_usd_per_day=1)


@settings(max_examples=40)  # each opens a database
@given(
    rows=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 60)), min_size=3, max_size=3),
    share=st.floats(0, 1),
    most=st.sampled_from(TIERS.names),
    weights=st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)),
)
def test_every_decision_is_an_allowed_tier(rows, share, most, weights) -> None:
    with Thrift(":memory:") as thrift:
        for model, (quality, count) in zip(MODELS.values(), rows, strict=True):
            judge(thrift, model, quality, count)
        allowed = TIERS.at_most(most)
        options = {"quality_weight": weights[0], "cost_weight": weights[1]}
        policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=share, seed=0, **options)
        decision = policy.decide(at(), allowed)
        assert decision.tier in allowed.names
        assert len(decision.rejected) == len(allowed.names) - 1


def test_a_clock_that_is_set_back_stops_no_exploring(thrift: Thrift, clock: Clock) -> None:
    judge(thrift, MODELS["large"], 0.9, 400)
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=0.0014, explore_share=1.0)
    assert [policy.decide(at(), TIERS).explored for _ in range(40)].count(True) == 10
    clock.now -= 2 * 86_400  # a day of its own, with its own amount
    assert [policy.decide(at(), TIERS).explored for _ in range(40)].count(True) == 10
