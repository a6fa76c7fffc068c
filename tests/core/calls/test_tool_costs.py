"""`@thrift.costs`: what functions cost, of every kind of function."""

from __future__ import annotations

import asyncio
import inspect
from decimal import Decimal

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, attribute
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


def test_what_cannot_be_meant_is_refused(thrift):
    with pytest.raises(ConfigurationError, match="negative"):
        thrift.costs(usd=-1)
    with pytest.raises(ConfigurationError, match="is a generator"):

        @thrift.costs(usd=len)
        def pages():
            yield 1
