"""`@thrift.costs`: what functions cost, of every kind of function."""

from __future__ import annotations

import asyncio
import inspect
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, attribute
from llmthrift_core.calls.refusals import NOT_DONE
from llmthrift_core.errors import ConfigurationError


@pytest.fixture
def thrift():
    with Thrift(":memory:") as opened:
        yield opened


def other_costs(thrift: Thrift) -> Decimal:
    return thrift.report().total["other_cost_usd"]


def test_each_call_is_recorded_under_the_functions_name(thrift):
    @thrift.costs(usd="0.005")
    def search(query: str, *, limit: int = 3) -> str:
        """Search."""
        return query * limit

    with attribute(feature="research", run="r1"):
        assert [search("a"), search("b", limit=2)] == ["aaa", "bb"]
    assert (search.__name__, search.__doc__, str(inspect.signature(search))) == (
        "search",
        "Search.",
        "(query: 'str', *, limit: 'int' = 3) -> 'str'",
    )
    (row,) = thrift.report(by="feature").to_dicts()
    assert (row["feature"], row["other_cost_usd"]) == ("research", Decimal("0.010"))


def test_asynchronous_functions_and_generators_are_recorded_too(thrift):
    @thrift.costs(usd="0.1")
    async def fetch() -> int:
        return 1

    @thrift.costs(usd="0.01")
    def pages():
        yield from (1, 2)
        return "end"

    @thrift.costs(usd="0.001")
    async def rows():
        yield 1
        yield 2

    async def work() -> list[int]:
        return [await fetch(), *[row async for row in rows()]]

    assert asyncio.run(work()) == [1, 1, 2]
    assert list(pages()) == [1, 2]
    pages()  # nobody reads it: nothing was fetched
    assert other_costs(thrift) == Decimal("0.111")


def test_dollars_may_depend_on_the_result(thrift):
    @thrift.costs(usd=lambda found: Decimal("0.002") * len(found) if found else None)
    def search(count: int) -> list[int]:
        return list(range(count))

    search(3), search(0)
    assert other_costs(thrift) == Decimal("0.006")
    assert len(thrift.report(by="feature").to_dicts()) == 1


@pytest.mark.parametrize(("on_error", "usd"), [(False, 0), (True, Decimal("0.5"))])
def test_what_raised_costs_only_where_it_is_said_so(thrift, on_error, usd):
    @thrift.costs(usd="0.5", on_error=on_error)
    def fail() -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        fail()
    assert (other_costs(thrift) or 0) == usd


def test_budgets_of_a_run_count_it(thrift):
    thrift.budgets.add(Budget(limit_usd=1, per="run"))

    @thrift.costs(usd="0.7")
    def search() -> None: ...

    with attribute(run="r1"):
        search()
        with pytest.raises(BudgetExceededError):
            thrift.budgets.reserve(estimate_usd="0.4")
    with attribute(run="r2"):
        thrift.budgets.reserve(estimate_usd="0.4").release()


class Kinds:
    """A function of each kind that costs 0.7 dollars, and whether it was called."""

    def __init__(self, thrift: Thrift, **options: Any) -> None:
        self.called = 0
        costs = thrift.costs(usd="0.7", kind="search", **options)

        @costs
        def plain() -> list[str]:
            self.called += 1
            return ["found"]

        @costs
        async def coroutine() -> list[str]:
            self.called += 1
            return ["found"]

        @costs
        def generator():
            self.called += 1
            yield "found"

        @costs
        async def async_generator():
            self.called += 1
            yield "found"

        async def read() -> list[str]:
            return [each async for each in async_generator()]

        self.all = {
            "plain": plain,
            "coroutine": lambda: asyncio.run(coroutine()),
            "generator": lambda: list(generator()),
            "async_generator": lambda: asyncio.run(read()),
        }


KINDS = pytest.mark.parametrize("kind", ["plain", "coroutine", "generator", "async_generator"])


@KINDS
def test_what_does_not_fit_is_refused_before_it_is_called(thrift, kind):
    thrift.budgets.add(Budget(limit_usd=1, per="user", name="ada's"))
    kinds = Kinds(thrift)
    with attribute(user="ada"):
        assert kinds.all[kind]() == ["found"]
        with pytest.raises(BudgetExceededError) as caught:
            kinds.all[kind]()
    assert (caught.value.budget, caught.value.requested_usd, caught.value.spent_usd) == ("ada's", Decimal("0.7"), Decimal("0.7"))
    assert (kinds.called, other_costs(thrift), thrift.budgets.holds()) == (1, Decimal("0.7"), [])


@KINDS
def test_a_refusal_can_be_answered(thrift, kind):
    thrift.budgets.add(Budget(limit_usd="0.1"))
    kinds = Kinds(thrift, on_budget="answer")
    assert kinds.all[kind]() in (NOT_DONE, [NOT_DONE])
    assert (kinds.called, other_costs(thrift), thrift.budgets.holds()) == (0, 0, [])


@KINDS
def test_observing_refuses_and_holds_nothing(thrift, kind, monkeypatch):
    thrift.budgets.add(Budget(limit_usd="0.1"))
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    kinds = Kinds(thrift)
    assert kinds.all[kind]() == ["found"]
    assert (other_costs(thrift), thrift.budgets.status()[0]["spent"]) == (Decimal("0.7"), 0)


def test_limits_of_calls_are_not_of_tools(thrift):
    thrift.budgets.add(Budget(limit_usd="0.1", window="request"))
    thrift.budgets.add(Budget(limit_requests=0, name="calls"))
    thrift.budgets.add(Budget(limit_tokens=0, name="tokens"))
    thrift.budgets.add(Budget(limit_usd="0.1", name="told", on_exceed="warn"))
    assert Kinds(thrift).all["plain"]() == ["found"]
    assert {row["name"]: row["spent"] for row in thrift.budgets.status() if row["name"] in ("calls", "tokens")} == {"calls": 0, "tokens": 0}


@pytest.mark.parametrize("is_async", [False, True])
def test_what_was_set_aside_comes_back_where_it_raised(thrift, is_async):
    thrift.budgets.add(Budget(limit_usd=1))

    @thrift.costs(usd="0.7")
    def fail() -> None:
        assert len(thrift.budgets.holds()) == 1
        raise KeyError("no")

    @thrift.costs(usd="0.7")
    async def afail() -> None:
        raise KeyError("no")

    for _ in range(3):
        with pytest.raises(KeyError):
            asyncio.run(afail()) if is_async else fail()
    assert (thrift.budgets.holds(), thrift.budgets.status()[0]["spent"]) == ([], 0)


def test_the_most_of_a_cost_that_the_result_tells_is_set_aside(thrift):
    thrift.budgets.add(Budget(limit_usd=1))

    @thrift.costs(usd=lambda found: found, up_to_usd="0.6")
    def search(dollars: Any) -> Any:
        return dollars

    assert [search("0.3"), search(None), search("0")] == ["0.3", None, "0"]
    assert (thrift.budgets.status()[0]["spent"], thrift.budgets.holds()) == (Decimal("0.3"), [])
    search("0.2")
    with pytest.raises(BudgetExceededError):
        search("0.1")  # 0.6 does not fit
    assert (other_costs(thrift), thrift.budgets.holds()) == (Decimal("0.5"), [])


def test_a_usd_that_cannot_be_used_keeps_nothing_held(thrift):
    thrift.budgets.add(Budget(limit_usd=1))

    @thrift.costs(usd=lambda found: "much", up_to_usd="0.6")
    def search() -> None: ...

    with pytest.raises(ConfigurationError):
        search()
    assert thrift.budgets.holds() == []


def test_what_cannot_be_meant_is_refused(thrift):
    with pytest.raises(ConfigurationError, match="negative"):
        thrift.costs(usd=-1)
    with pytest.raises(ConfigurationError, match="up_to_usd must not be negative"):
        thrift.costs(usd=len, up_to_usd=-1)
    with pytest.raises(ConfigurationError, match="a function of the result"):
        thrift.costs(usd=1, up_to_usd=2)
    with pytest.raises(ConfigurationError, match="on_budget"):
        thrift.costs(usd=1, on_budget="end")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="is a generator"):

        @thrift.costs(usd=len)
        def pages():
            yield 1
