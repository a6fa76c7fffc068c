"""Reserve, extend, settle, release, expire: the same in memory, on SQLite, PostgreSQL and Valkey."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.budgets import Budgets
from llmthrift_core.budgets.sql_store import SqlBudgets
from llmthrift_core.budgets.valkey_store import ValkeyBudgets
from llmthrift_core.errors import BudgetError, ConfigurationError, HoldEndedError, StorageError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import budget_holds, budget_windows
from llmthrift_core.storage.valkey import ValkeyServer

ADA = {"user": "ada"}
STEPS = ["reserve", "settle", "release", "extend", "wait"]


def only(budgets: Budgets, **scope: str) -> dict[str, Any]:
    (row,) = budgets.status(scope or None)
    return row


def test_what_is_settled_is_spent_and_the_rest_comes_back(budgets):
    budgets.add(Budget(limit_usd=10, window="day", per="user"))
    with budgets.reserve(estimate_usd=4, scope=ADA) as hold:
        row = only(budgets)
        assert (row["spent"], row["reserved"], row["remaining"]) == (0, 4, 6)
        hold.settle(cost_usd="2.50")
    row = only(budgets)
    assert (row["name"], row["scope"], row["unit"]) == ("usd per user a day", ADA, "usd")
    assert (row["limit"], row["spent"], row["reserved"], row["remaining"]) == (10, Decimal("2.5"), 0, Decimal("7.5"))
    assert row["window_start"].isoformat() == "2026-03-11T00:00:00+00:00"
    assert row["resets_at"].isoformat() == "2026-03-12T00:00:00+00:00"


def test_a_refusal_says_everything(budgets):
    budgets.add(Budget(limit_usd=10, window="day", per="user"))
    budgets.reserve(estimate_usd=3, scope=ADA).settle(cost_usd=3)
    held = budgets.reserve(estimate_usd=5, scope=ADA)
    with pytest.raises(BudgetExceededError) as refused:
        budgets.reserve(estimate_usd="2.01", scope=ADA)
    error = refused.value
    assert (error.limit_usd, error.spent_usd, error.reserved_usd, error.requested_usd) == (10, 3, 5, Decimal("2.01"))
    assert (error.scope, error.limit_tokens, error.on_exceed) == (ADA, None, "block")
    assert error.resets_at.isoformat() == "2026-03-12T00:00:00+00:00"
    for part in ("usd per user a day", "user=ada", "$3", "$5", "$2.01", "$10", "2026-03-12 00:00 UTC"):
        assert part in str(error)
    held.release()
    budgets.reserve(estimate_usd=7, scope=ADA).settle(cost_usd=7)


def test_somebody_else_is_not_refused(budgets):
    budgets.add(Budget(limit_usd=1, per="user"))
    budgets.reserve(estimate_usd=1, scope=ADA)
    budgets.reserve(estimate_usd=1, scope={"user": "ben"})
    budgets.reserve(estimate_usd=1, scope={})  # nobody in particular has one together
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_usd=1, scope={"feature": "chat"})


def test_the_three_tiers_together_all_or_nothing(budgets):
    budgets.add(Budget(limit_tokens=32_000, window="request"))
    budgets.add(Budget(limit_tokens=500_000, window="day", per="user"))
    budgets.add(Budget(limit_tokens=10_000_000, window="day", per="feature"))
    scope = {"user": "ada", "feature": "chat"}
    with pytest.raises(BudgetExceededError) as refused:
        budgets.reserve(estimate_tokens=32_001, scope=scope)
    assert (refused.value.limit_tokens, refused.value.requested_tokens) == (32_000, 32_001)
    for _ in range(15):
        budgets.reserve(estimate_tokens=32_000, scope=scope).settle(cost_usd=0, tokens=32_000)
    with pytest.raises(BudgetExceededError) as refused:
        budgets.reserve(estimate_tokens=32_000, scope=scope)
    assert (refused.value.limit_tokens, refused.value.spent_tokens) == (500_000, 480_000)
    used = {row["name"]: (row["spent"], row["reserved"]) for row in budgets.status()}
    assert used["tokens per feature a day"] == used["tokens per user a day"] == (480_000, 0)


def test_requests_are_counted_too(budgets):
    budgets.add(Budget(limit_requests=2, window="minute"))
    budgets.reserve(scope={}).settle(cost_usd=0)
    budgets.reserve(scope={})
    with pytest.raises(BudgetExceededError) as refused:
        budgets.reserve(scope={})
    assert (refused.value.limit_requests, refused.value.spent_requests, refused.value.reserved_requests) == (2, 1, 1)


def test_only_what_matches_is_counted(budgets):
    budgets.add(Budget(limit_usd=1, match={"feature": "chat", "team": "web"}))
    for scope in ({"feature": "chat"}, {"feature": "search", "team": "web"}, {}):
        budgets.reserve(estimate_usd=100, scope=scope)
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_usd=2, scope={"feature": "chat", "team": "web"})


def test_a_user_is_forgotten_and_the_amounts_stay_where_they_are(budgets):
    budgets.add(Budget(limit_usd=10, window="day", per=("user", "feature"), name="b"))
    budgets.add(Budget(limit_usd=10, window="day", per="feature", name="other"))
    ada, bob = {"user": "ada", "feature": "chat"}, {"user": "bob", "feature": "chat"}
    budgets.reserve(estimate_usd=1, scope=ada).settle(cost_usd=1)
    open_hold = budgets.reserve(estimate_usd=2, scope=ada)
    expired = budgets.reserve(estimate_usd=3, scope=bob)
    assert budgets.erase(user="ada") == 1
    assert budgets.erase(user="ada") == budgets.erase(user="nobody") == 0
    open_hold.settle(cost_usd=2)
    expired.settle(cost_usd=3)
    rows = {(row["name"], row["scope"].get("user")): row for row in budgets.status()}
    assert (rows["b", "bob"]["spent"], rows["other", None]["spent"]) == (3, 6)
    (name,) = {user for _, user in rows} - {"bob", None}
    assert name.startswith("erased-")
    assert (rows["b", name]["spent"], rows["b", name]["reserved"], rows["b", name]["scope"]["feature"]) == (3, 0, "chat")


def test_what_only_a_user_had_is_forgotten_where_no_user_is_named(budgets):
    budgets.add(Budget(limit_usd=10, window="day", per=("session", "feature"), name="b"))
    budgets.add(Budget(limit_usd=10, window="day", per=("user", "session"), name="both"))
    for number, session in enumerate(["s1", "s2", "shared"], 1):
        for user in ("ada", "ada") if session != "shared" else ("ada", "bob"):
            budgets.reserve(estimate_usd=1, scope={"user": user, "session": session, "feature": "s1"}).settle(cost_usd=number)
    open_hold = budgets.reserve(estimate_usd=5, scope={"session": "s1", "feature": "s1"})
    assert budgets.erase(user="ada", names={"session": {"s1", "s2"}}) == 6
    open_hold.settle(cost_usd=5)
    rows = budgets.status()
    assert "ada" not in {value for row in rows for value in row["scope"].values()}
    assert {row["scope"]["session"] for row in rows} & {"s1", "s2", "shared"} == {"shared"}
    assert sorted((row["name"], row["spent"], row["reserved"]) for row in rows) == [
        ("b", 4, 0),  # the two sessions are still two
        ("b", 6, 0),
        ("b", 7, 0),
        ("both", 2, 0),
        ("both", 3, 0),
        ("both", 3, 0),
        ("both", 4, 0),
        ("both", 5, 0),
    ]
    assert {row["scope"]["feature"] for row in rows if row["name"] == "b"} == {"s1"}


def test_the_scope_defaults_to_the_surrounding_attribution(budgets):
    budgets.add(Budget(limit_usd=1, per=("user", "team")))
    with attribute(user="ada", tags={"team": "web"}):
        budgets.reserve(estimate_usd=1)
    assert only(budgets)["scope"] == {"user": "ada", "team": "web"}


def test_settling_and_releasing_count_once(budgets):
    budgets.add(Budget(limit_usd=10))
    hold = budgets.reserve(estimate_usd=5, scope={})
    hold.settle(cost_usd=4)
    hold.settle(cost_usd=4)
    hold.release()
    released = budgets.reserve(estimate_usd=5, scope={})
    released.release()
    released.settle(cost_usd=5)
    assert (only(budgets)["spent"], only(budgets)["reserved"]) == (4, 0)


def test_a_settlement_above_its_hold_is_an_overrun_and_reported(budgets):
    budgets.add(Budget(limit_usd=10))
    budgets.reserve(estimate_usd=5, scope={}).settle(cost_usd=12)
    row = only(budgets)
    assert (row["spent"], row["overrun"], row["remaining"]) == (12, 7, 0)
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_usd="0.000000001", scope={})
    budgets.reserve(estimate_usd=0, scope={})  # what costs nothing passes


def test_an_unknown_cost_counts_as_what_was_held(budgets):
    budgets.add(Budget(limit_usd=10))
    budgets.reserve(estimate_usd=5, scope={}).settle(cost_usd=None)
    assert only(budgets)["spent"] == 5


def test_a_hold_that_nobody_settles_expires_and_its_money_comes_back(budgets, clock):
    budgets.add(Budget(limit_usd=10))
    forgotten = budgets.reserve(estimate_usd=10, scope={}, ttl_seconds=60)
    clock.now += 59
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_usd=1, scope={})
    clock.now += 2
    budgets.reserve(estimate_usd=1, scope={}).settle(cost_usd=1)
    forgotten.settle(cost_usd=3)  # late, and still true
    forgotten.settle(cost_usd=3)
    assert (only(budgets)["spent"], only(budgets)["reserved"]) == (4, 0)


def test_a_late_settlement_lands_in_the_window_it_was_held_in(budgets, clock):
    budgets.add(Budget(limit_usd=10, window="day"))
    hold = budgets.reserve(estimate_usd=5, scope={}, ttl_seconds=3 * 86_400)
    clock.now += 86_400
    hold.settle(cost_usd=5)
    budgets.reserve(estimate_usd=10, scope={}).settle(cost_usd=10)
    assert only(budgets)["spent"] == 10
    clock.now -= 86_400
    assert only(budgets)["spent"] == 5


def test_extending_grows_and_renews(budgets, clock):
    budgets.add(Budget(limit_usd=10, limit_tokens=1000))
    hold = budgets.reserve(estimate_usd=2, estimate_tokens=100, scope={}, ttl_seconds=60)
    clock.now += 50
    hold.extend(usd=3, tokens=100)
    clock.now += 50
    budgets.release_expired()
    assert {row["unit"]: row["reserved"] for row in budgets.status()} == {"usd": 5, "tokens": 200}
    with pytest.raises(BudgetExceededError):
        hold.extend(usd=6)
    assert {row["unit"]: row["reserved"] for row in budgets.status()} == {"usd": 5, "tokens": 200}
    clock.now += 100
    budgets.release_expired()
    hold.extend(usd=1)  # expired: set aside again as a whole
    assert {row["unit"]: row["reserved"] for row in budgets.status()} == {"usd": 6, "tokens": 200}
    hold.settle(cost_usd=1)
    with pytest.raises(HoldEndedError):
        hold.extend(usd=1)


def test_extending_beyond_what_one_request_may_take(budgets):
    budgets.add(Budget(limit_tokens=1000, window="request"))
    hold = budgets.reserve(estimate_tokens=600, scope={})
    hold.extend(tokens=400)
    with pytest.raises(BudgetExceededError):
        hold.extend(tokens=1)


def test_limits_change_at_once_even_below_what_is_spent(store, open_budgets):
    here, there = open_budgets(store), open_budgets(store)
    here.add(Budget(limit_usd=10, name="b"))
    there.reserve(estimate_usd=8, scope={}).settle(cost_usd=8)
    here.add(Budget(limit_usd=5, name="b"))
    with pytest.raises(BudgetExceededError) as refused:
        there.reserve(estimate_usd=1, scope={})
    assert (refused.value.limit_usd, refused.value.spent_usd) == (5, 8)
    assert only(there)["remaining"] == 0
    here.add(Budget(limit_usd=9, name="b"))
    there.reserve(estimate_usd=1, scope={})
    assert here.remove("b")
    assert not here.remove("b")
    assert here.status() == []


def test_warning_budgets_refuse_nothing_and_count(budgets):
    budgets.add(Budget(limit_usd=1, on_exceed="warn"))
    budgets.reserve(estimate_usd=5, scope={}).settle(cost_usd=5)
    assert only(budgets)["spent"] == 5


def test_queueing_waits_for_room_and_not_for_ever(budgets):
    budgets.add(Budget(limit_usd=10, on_exceed="queue", max_wait_seconds=5))
    hold = budgets.reserve(estimate_usd=8, scope={})
    timer = threading.Timer(0.2, lambda: hold.settle(cost_usd=1))
    timer.start()
    budgets.reserve(estimate_usd=8, scope={}).settle(cost_usd=1)
    timer.join()
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_usd=11, scope={})  # would never fit: refused at once
    budgets.add(Budget(limit_usd=10, on_exceed="queue", max_wait_seconds=0.1, name="usd"))
    budgets.reserve(estimate_usd=8, scope={})
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_usd=8, scope={})


def test_alerts_are_told_once_per_window_and_the_highest_only(budgets, clock):
    told: list[Any] = []
    budgets.on_alert(told.append)
    budgets.on_alert(lambda alert: 1 / 0)  # a listener that fails harms nobody
    budgets.add(Budget(limit_usd=10, window="day", per="user"))
    for cost in (7, "0.9", "0.1", "0.5", 1, "0.1"):
        budgets.reserve(estimate_usd=cost, scope=ADA).settle(cost_usd=cost)
    assert [(alert.share, alert.spent, alert.unit, alert.scope) for alert in told] == [
        (0.8, 8, "usd", ADA),
        (0.95, Decimal("9.5"), "usd", ADA),
    ]
    clock.now += 86_400
    budgets.reserve(estimate_usd=10, scope=ADA).settle(cost_usd=10)
    assert [alert.share for alert in told] == [0.8, 0.95, 0.95]


@pytest.mark.parametrize("name", ['quote\'d "name"', "line\nbreak", "naïve – ünïcode 🙂", "a; DROP TABLE llmthrift_budgets"])
def test_odd_names(budgets, name):
    budgets.add(Budget(limit_usd=1, name=name, per="user"))
    budgets.reserve(estimate_usd=1, scope={"user": name}).settle(cost_usd=1)
    assert only(budgets)["scope"] == {"user": name}
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_usd=1, scope={"user": name})


@pytest.mark.parametrize(
    "estimate",
    [{"estimate_usd": -1}, {"estimate_usd": "NaN"}, {"estimate_usd": float("inf")}, {"estimate_tokens": -1}, {"estimate_tokens": "many"},
     {"estimate_tokens": 10**30}, {"estimate_usd": 10**20}, {"ttl_seconds": 0}, {"ttl_seconds": float("nan")}],
    ids=str,
)  # fmt: skip
def test_estimates_that_make_no_sense_are_refused_and_hold_nothing(budgets, estimate):
    budgets.add(Budget(limit_usd=10, limit_tokens=10))
    with pytest.raises(ConfigurationError):
        budgets.reserve(**estimate, scope={})
    assert all(row["reserved"] == 0 for row in budgets.status())


def test_threads_never_overspend(budgets):
    budgets.add(Budget(limit_usd=1, window="day"))

    def spend(_: int) -> int:
        try:
            budgets.reserve(estimate_usd="0.01", scope={}).settle(cost_usd="0.01")
        except BudgetExceededError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        granted = sum(pool.map(spend, range(200)))
    assert granted == 100
    assert only(budgets)["spent"] == 1


def _do(budgets: Budgets, holds: list[Any], step: str, index: int, tokens: int) -> str:
    try:
        if step == "reserve":
            holds.append(budgets.reserve(estimate_tokens=tokens, scope={"user": str(index)}, ttl_seconds=100))
        elif index < len(holds):
            if step == "settle":
                holds[index].settle(cost_usd=0, tokens=tokens)
            elif step == "release":
                holds[index].release()
            elif step == "extend":
                holds[index].extend(tokens=tokens)
    except BudgetError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 4), st.integers(0, 600)), max_size=40))
def test_spent_and_reserved_stay_within_the_limit_whatever_happens_and_every_store_agrees(steps, valkey_server):
    now = [1_800_000_000.0]
    with Database.open(":memory:") as database, ValkeyServer(valkey_server) as server:
        server.ask("FLUSHALL")
        both: list[Budgets] = []
        for store in (SqlBudgets(database), ValkeyBudgets(server)):
            ids = itertools.count()
            both.append(Budgets(store, PriceCatalog(), clock=lambda: now[0], new_id=lambda ids=ids: str(next(ids))))
        for budgets in both:
            budgets.add(Budget(limit_tokens=1000, name="all"))
            budgets.add(Budget(limit_tokens=700, per="user", name="each"))
            budgets.add(Budget(limit_tokens=550, window="request", name="one"))
            budgets.add(Budget(limit_tokens=10, on_exceed="warn", name="told"))
        holds: tuple[list[Any], list[Any]] = ([], [])
        for step, index, tokens in steps:
            if step == "wait":
                now[0] += tokens / 4
            outcomes = [_do(budgets, held, step, index, tokens) for budgets, held in zip(both, holds, strict=True)]
            rows, others = (budgets.status() for budgets in both)
            assert outcomes[0] == outcomes[1]
            assert rows == others
            assert both[0].holds() == both[1].holds()
            for row in rows:
                assert row["spent"] >= 0
                assert row["reserved"] >= 0
                assert row["on_exceed"] == "warn" or row["spent"] + row["reserved"] <= row["limit"] + row["overrun"]


def test_amounts_are_exact_beyond_what_a_float_holds(budgets):
    budgets.add(Budget(limit_tokens=2**60 + 1))
    half = budgets.reserve(estimate_tokens=2**59, scope={})
    budgets.reserve(estimate_tokens=2**59, scope={})
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_tokens=2, scope={})
    budgets.reserve(estimate_tokens=1, scope={})
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_tokens=1, scope={})
    half.settle(cost_usd=0, tokens=2**59 - 1)
    assert (only(budgets)["spent"], only(budgets)["remaining"]) == (2**59 - 1, 1)


def test_the_status_of_one_spender(budgets):
    budgets.add(Budget(limit_usd=10, per=["user", "feature"], name="both"))
    budgets.add(Budget(limit_usd=10, per="user", name="user"))
    for user in ("ada", "bob"):
        budgets.reserve(estimate_usd=1, scope={"user": user, "feature": "chat"})
    assert [row["scope"] for row in budgets.status({"user": "bob"})] == [{"feature": "chat", "user": "bob"}, {"user": "bob"}]
    assert [row["name"] for row in budgets.status({"user": "ada", "feature": "chat"})] == ["both", "user"]
    assert budgets.status({"user": "eve", "feature": "chat"}) == []


def test_a_removed_budget_forgets_what_was_spent(budgets):
    budgets.add(Budget(limit_usd=10, per="user", name="b"))
    hold = budgets.reserve(estimate_usd=9, scope=ADA)
    budgets.remove("b")
    budgets.add(Budget(limit_usd=10, per="user", name="b"))
    assert budgets.status(ADA) == []
    hold.settle(cost_usd=9)  # of a window that is gone
    assert budgets.status(ADA) == []
    budgets.reserve(estimate_usd=10, scope=ADA)


def test_what_nobody_can_ask_for_any_more_is_forgotten(file_database, open_budgets, clock):
    store = SqlBudgets(file_database)
    budgets = open_budgets(store)
    budgets.add(Budget(limit_usd=10, window="minute"))
    for _ in range(3):
        budgets.reserve(estimate_usd=1, scope={}).settle(cost_usd=1)
        clock.now += 60
    late = budgets.reserve(estimate_usd=1, scope={}, ttl_seconds=7 * 86_400)
    clock.now += 7 * 86_400
    store.forget(int(clock.now * 1e6))
    count = Statement(select(func.count()).select_from(budget_windows)), Statement(select(func.count()).select_from(budget_holds))
    assert [file_database.fetch_one(each) for each in count] == [(4,), (1,)]
    late.settle(cost_usd=1)
    clock.now += 2 * 86_400
    store.forget(int(clock.now * 1e6))
    assert [file_database.fetch_one(each) for each in count] == [(0,), (0,)]


def test_a_store_that_disappears_refuses_unless_told_otherwise(tmp_path, open_budgets):
    database = Database.open(tmp_path / "b.db")
    budgets = open_budgets(SqlBudgets(database))
    budgets.add(Budget(limit_usd=10, name="strict", match={"feature": "strict"}))
    budgets.add(Budget(limit_usd=10, name="loose", match={"feature": "loose"}, on_store_error="allow"))
    budgets.reserve(estimate_usd=1, scope={"feature": "strict"})
    database.close()
    with pytest.raises(StorageError):
        budgets.reserve(estimate_usd=1, scope={"feature": "strict"})
    assert budgets.reserve(estimate_usd=1, scope={"feature": "loose"}).id is None
    assert budgets.reserve(estimate_usd=1, scope={"feature": "other"}).id is None
