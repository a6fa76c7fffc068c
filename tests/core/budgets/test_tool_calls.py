"""Budgets of tool calls: counted by themselves, in every store."""

from __future__ import annotations

import pytest

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.budgets.scopes import scope_of
from llmthrift_core.errors import ConfigurationError

ONE, OTHER = scope_of({"run": "one"}), scope_of({"run": "other"})


def test_the_tool_calls_of_a_run_are_counted_until_there_is_no_room(budgets):
    budgets.add(Budget(limit_tool_calls=3, per="run"))
    budgets.take_tool_calls(ONE, 2)
    with pytest.raises(BudgetExceededError, match="made 2, asked for 2 more of 3 tool calls") as refused:
        budgets.take_tool_calls(ONE, 2)
    budgets.take_tool_calls(ONE, 1)
    budgets.take_tool_calls(OTHER, 3)
    figures = refused.value.limit_tool_calls, refused.value.spent_tool_calls, refused.value.requested_tool_calls
    assert (figures, refused.value.budget, refused.value.scope) == ((3, 2, 2), "tool calls per run", {"run": "one"})
    rows = {row["scope"]["run"]: (row["unit"], row["limit"], row["spent"], row["reserved"]) for row in budgets.status()}
    assert rows == {"one": ("tool_calls", 3, 3, 0), "other": ("tool_calls", 3, 3, 0)}


def test_a_budget_of_tool_calls_counts_no_model_calls_and_the_other_way_round(budgets):
    budgets.add(Budget(limit_tool_calls=1, name="tools"))
    budgets.add(Budget(limit_requests=2, name="calls"))
    for _ in range(2):
        budgets.reserve(scope={}).settle(cost_usd=0)
    budgets.take_tool_calls(ONE, 1)
    with pytest.raises(BudgetExceededError, match="'calls'"):
        budgets.reserve(scope={})
    with pytest.raises(BudgetExceededError, match="'tools'"):
        budgets.take_tool_calls(ONE, 1)


def test_a_budget_that_only_warns_refuses_no_tool_call(budgets, caplog):
    budgets.add(Budget(limit_tool_calls=2, on_exceed="warn"))
    budgets.take_tool_calls(ONE, 5)
    assert budgets.status()[0]["spent"] == 5
    assert "has reached 95% of its limit" in caplog.text


def test_it_is_kept_as_it_was_given(budgets):
    given = budgets.add(Budget(limit_tool_calls=7, window="day", per="user", match={"feature": "chat"}))
    assert budgets.all() == (given,)
    assert given.limit_requests is None


def test_it_stands_alone():
    with pytest.raises(ConfigurationError, match="make a second budget for limit_usd"):
        Budget(limit_usd=1, limit_tool_calls=3)
    with pytest.raises(ConfigurationError, match="limit_tool_calls must be a whole number from 0, not -1"):
        Budget(limit_tool_calls=-1)
