"""Attempts of one call are grouped, whichever door sees them, under whatever repeats the call."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core import Budget, Thrift
from llmthrift_langchain import ThriftCallbackHandler, thrift_callbacks, thrifty

pytestmark = pytest.mark.loopback


def rows(thrift: Thrift) -> list[Any]:
    thrift.flush()
    return sorted(thrift.ledger.calls(), key=lambda row: row.at_us)


async def _repeated(model: Any, how: str, *, asynchronously: bool) -> Any:
    """The model with its next-best, under `with_retry` or `with_fallbacks`, called once."""
    repeated = (
        model("gpt-4o-mini").with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
        if how == "retry"
        else model("gpt-4o-mini").with_fallbacks([model("gpt-4o-mini", temperature=0.5), model("gpt-4o")])
    )
    return await repeated.ainvoke("Hello") if asynchronously else repeated.invoke("Hello")


@pytest.mark.parametrize("asynchronously", [False, True])
@pytest.mark.parametrize(("how", "reasons"), [("retry", [None, "retry", "retry"]), ("fallbacks", [None, "retry", "fallback"])])
@pytest.mark.parametrize("door", ["constructor", "constructors", "thrifty", "thrifty in a handler"])
async def test_a_door_that_is_told_of_no_run_around_it_groups_attempts_too(
    thrift, client, provider, door: str, how: str, reasons: list[str | None], asynchronously: bool
):
    provider.fail_next(status=503, times=2)
    shared = ThriftCallbackHandler(thrift)

    def model(name: str, **options: Any) -> Any:
        if door.startswith("thrifty"):
            return thrifty(client(name, **options), thrift)
        return client(name, **options, callbacks=[shared if door == "constructor" else ThriftCallbackHandler(thrift)])

    with thrift_callbacks(thrift) if door == "thrifty in a handler" else nullcontext():
        await _repeated(model, how, asynchronously=asynchronously)
    found = rows(thrift)
    assert [(row.attempt, row.attempt_reason, row.error is None) for row in found] == [
        (number, reason, number == 3) for number, reason in enumerate(reasons, 1)
    ]
    assert len({row.call_id for row in found}) == len({row.trace_id for row in found}) == 1
    total = thrift.report(by="run").total
    assert (total["requests"], total["attempts"], total["retries"] + total["fallbacks"], total["errors"]) == (1, 3, 2, 2)


def test_each_of_two_databases_groups_the_attempts_by_itself(thrift, client, provider, tmp_path: Path):
    with Thrift(tmp_path / "other.db") as other:
        handlers = [ThriftCallbackHandler(thrift), ThriftCallbackHandler(other), ThriftCallbackHandler(other)]
        provider.fail_next(status=503, times=2)
        client(callbacks=handlers).with_retry(stop_after_attempt=3, wait_exponential_jitter=False).invoke("Hello")
        for each in (thrift, other):
            found = rows(each)
            assert [(row.attempt, row.attempt_reason) for row in found] == [(1, None), (2, "retry"), (3, "retry")]
            assert len({row.call_id for row in found}) == 1


def test_what_a_budget_refuses_is_no_attempt_and_what_follows_is_still_the_next(thrift, client, provider):
    thrift.budgets.add(Budget(limit_requests=1, match={"model": "gpt-4o-mini"}))
    provider.fail_next(status=503)
    models = [thrifty(client(name, max_tokens=10), thrift) for name in ("gpt-4o-mini", "gpt-4o-mini", "gpt-4o")]
    models[0].with_fallbacks(models[1:]).invoke("Hello")
    found = rows(thrift)
    assert [(row.attempt, row.attempt_reason) for row in found] == [(1, None), (2, "fallback")]
    assert len({row.call_id for row in found}) == 1
