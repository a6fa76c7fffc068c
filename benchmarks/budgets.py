"""Budgets under contention: many processes reserve and settle on one budget; check-then-spend and litellm's BudgetManager beside it.

    python -m benchmarks.budgets [--processes 8] [--pairs 1000] [--room 0.5]

Overspend is what was granted above the limit. Every subject gets room for half of what is asked for, so that half of the pairs are
refusals; with `--room 1` none is.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import table
from benchmarks.servers import postgresql, valkey
from llmthrift_core import Budget, BudgetExceededError, Thrift

TOKENS = 10


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it tries the network
    options = argparse.ArgumentParser()
    options.add_argument("--processes", type=int, default=8)
    options.add_argument("--pairs", type=int, default=1_000)
    options.add_argument("--room", type=float, default=0.5)
    given = options.parse_args()
    limit = int(given.processes * given.pairs * TOKENS * given.room)
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        rows.append(_contention("llmthrift, SQLite", _by_llmthrift, f"{folder}/budgets.db", limit, given))
        with postgresql() as url:
            if url is not None:
                rows.append(_contention("llmthrift, PostgreSQL", _by_llmthrift, url, limit, given))
        with valkey() as url:
            if url is not None:
                rows.append(_contention("llmthrift, Valkey", _by_llmthrift, url, limit, given))
        rows.append(_contention("check, then spend (SQLite)", _check_then_spend, f"{folder}/check.db", limit, given))
        rows.append(_contention("litellm BudgetManager", _by_litellm, f"{folder}/litellm", limit, given))
        print(
            table(
                f"{given.processes} processes x {given.pairs:,} reserve and settle on one budget, limit {limit:,} tokens",
                ("", "granted", "overspend", "errors", "pairs/s", "p50", "p99"),
                [row for row in rows if row is not None],
            )
        )
        print(table("One process alone, SQLite, reserve and settle", ("budgets that apply", "p50", "p99"), _alone(folder)))


def _contention(name: str, work: Callable[..., None], url: str, limit: int, given: argparse.Namespace) -> tuple[str, ...] | None:
    context, began = multiprocessing.get_context("spawn"), time.monotonic()
    if work is _by_llmthrift:
        with Thrift(**_place(url)) as thrift:
            thrift.budgets.add(Budget(limit_tokens=limit, name="all"))
    elif work is _check_then_spend:
        with sqlite3.connect(url) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE budget (spent INTEGER)")
            connection.execute("INSERT INTO budget VALUES (0)")
        connection.close()
    else:
        try:
            import litellm.budget_manager  # noqa: F401
        except Exception as error:
            print(f"{name} is not measured: {type(error).__name__}")
            return None
        Path(url).mkdir()
    barrier, results = context.Barrier(given.processes), context.Queue()
    processes = [context.Process(target=work, args=(url, limit, given.pairs, barrier, results)) for _ in range(given.processes)]
    for process in processes:
        process.start()
    gathered = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    granted = sum(each["granted"] for each in gathered)
    errors = sum(each["errors"] for each in gathered)
    taken = sorted(seconds for each in gathered for seconds in each["taken"])
    wall = max(each["ended"] for each in gathered) - min(each["started"] for each in gathered)
    # Most of a step may be the start of its processes, above all where they import litellm.
    print(f"{name}: {time.monotonic() - began:.0f} s, {wall:.0f} of them on pairs", file=sys.stderr, flush=True)
    return (
        name,
        f"{granted:,}",
        f"{max(granted - limit, 0):,}",
        f"{errors:,}",
        f"{given.processes * given.pairs / wall:,.0f}",
        f"{statistics.median(taken) * 1e6:,.0f} us",
        f"{taken[int(len(taken) * 0.99)] * 1e3:,.1f} ms",
    )


def _run(pairs: int, barrier: Any, results: Any, pair: Callable[[], bool]) -> None:
    granted = errors = 0
    taken = []
    barrier.wait(120)
    started = time.time()
    for _ in range(pairs):
        begun = time.perf_counter()
        try:
            granted += TOKENS if pair() else 0
        except Exception:
            errors += 1
        taken.append(time.perf_counter() - begun)
    results.put({"granted": granted, "errors": errors, "taken": taken, "started": started, "ended": time.time()})


def _by_llmthrift(url: str, limit: int, pairs: int, barrier: Any, results: Any) -> None:
    with Thrift(**_place(url), busy_timeout_seconds=30) as thrift:
        budgets = thrift.budgets

        def pair() -> bool:
            try:
                hold = budgets.reserve(estimate_tokens=TOKENS, scope={})
            except BudgetExceededError:
                return False
            hold.settle(cost_usd=0, tokens=TOKENS)
            return True

        _run(pairs, barrier, results, pair)


def _place(url: str) -> dict[str, str]:
    return {"url": ":memory:", "valkey_url": url} if url.startswith("unix:") else {"url": url}


def _check_then_spend(path: str, limit: int, pairs: int, barrier: Any, results: Any) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)

    def pair() -> bool:
        (spent,) = connection.execute("SELECT spent FROM budget").fetchone()
        if spent + TOKENS > limit:
            return False
        connection.execute("UPDATE budget SET spent = spent + ?", (TOKENS,))
        return True

    _run(pairs, barrier, results, pair)


def _by_litellm(folder: str, limit: int, pairs: int, barrier: Any, results: Any) -> None:
    os.chdir(folder)
    from litellm.budget_manager import BudgetManager

    manager = BudgetManager(project_name="benchmark", client_type="local")
    if not manager.is_valid_user("all"):
        manager.create_budget(total_budget=limit, user="all")

    def pair() -> bool:
        if manager.get_current_cost("all") + TOKENS > manager.get_total_budget("all"):
            return False
        # What its update_cost() does with the price of an answer: it counts in this process, and writes a file that nobody reads again.
        manager.user_dict["all"]["current_cost"] = manager.get_current_cost("all") + TOKENS
        manager.save_data()
        return True

    _run(pairs, barrier, results, pair)


def _alone(folder: str) -> list[tuple[str, ...]]:
    rows = []
    for number in (1, 3):
        with Thrift(f"{folder}/alone{number}.db") as thrift:
            for attribute in ("user", "feature", "session")[:number]:
                thrift.budgets.add(Budget(limit_usd=1_000_000, window="day", per=attribute))
            scope = {"user": "ada", "feature": "chat", "session": "s1"}
            taken = []
            for _ in range(3_000):
                begun = time.perf_counter()
                thrift.budgets.reserve(estimate_usd="0.001", estimate_tokens=100, scope=scope).settle(cost_usd="0.001", tokens=80)
                taken.append(time.perf_counter() - begun)
            taken.sort()
            rows.append((str(number), f"{statistics.median(taken) * 1e6:,.0f} us", f"{taken[int(len(taken) * 0.99)] * 1e6:,.0f} us"))
    return rows


if __name__ == "__main__":
    main()
