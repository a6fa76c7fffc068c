"""Reservations under kill -9: the same requests on one budget of dollars, by llmthrift and by LiteLLM 1.110's own reservation.

    python -m benchmarks.reservations [--processes 8] [--at-once 8] [--requests 100] [--answer 0.25] [--lease 10] [--killed 2]
        [--only NAME]

Every process sends its requests, several at once. A request to a model of known price sets aside what it may cost at most
(`max_tokens`), takes 20 ms, and costs less (`--answer`, a share of `max_tokens`). The limit has room for half of what all requests
cost. Each subject counts and prices the request itself. When a quarter of the limit is spent, those that got the most are killed
with SIGKILL. `--only` measures the subjects whose name contains it.

Every process notes each step in a file as it happens, by the clock that all share, and those notes are the truth:

*Spent* is what calls cost whose answer came, settled or not. *Overspend* is what is spent above the limit, at the end of everything.
An answer whose process is killed before it settles (*answered, not settled*) is one that no store hears of: when its lease has passed,
its money is given out again, and a subject that does all it can may overspend by as many calls: *not by the kill* leaves them out.

A refusal is *false* if the request fitted at every moment of being asked: what was spent, plus the most that every other call may
cost that was being asked for, under way or being settled, plus the most that the request itself may cost, was within the limit. A
strict reserver need not refuse then, however requests race. (*Room by true cost* is the same, by what the calls cost in the end, which
nobody knows beforehand: it says how much caution costs.) Calls of the killed count as under way until a lease (`--lease` seconds;
by default llmthrift's is 600 and LiteLLM's 60) has passed since the kill; from then on nothing justifies holding their money.

Afterwards one process remains. It spends what it can get, then asks ten times per lease until two and a half leases after the kill,
and notes when the money of the killed came back (*in use*). If it did not, it stays quiet for one and a half leases and asks again.
*Left* is what is not spent when three requests in a row are refused at the very end; less than one request may cost is as good as nothing.

The milliseconds are those of a call's reservation and settlement together; the factor beside them is against LiteLLM as it comes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from benchmarks.measure import table
from benchmarks.servers import postgresql, valkey
from benchmarks.story import Story, Workload, note
from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage
from llmthrift_core.usage.tokens import count_message_tokens

MODEL, MAX_TOKENS = "gpt-4o", 400
REQUEST = {
    "model": MODEL,
    "max_tokens": MAX_TOKENS,
    "messages": [
        {"role": "user", "content": "Write to the customer whose parcel is late: we are sorry, and it will arrive on Friday. " * 3}
    ],
}
CALL_SECONDS = 0.02
PATIENCE = 3  # refusals in a row


class Subject(Protocol):
    """What reserves."""

    async def warm(self) -> None:
        """Load what is loaded once."""

    async def reserve(self) -> Any:
        """None if refused."""

    async def settle(self, held: Any) -> None: ...

    def close(self) -> None: ...


class LlmThrift:
    """llmthrift's budgets, by their public methods."""

    def __init__(self, url: str, lease: float, cost_usd: float) -> None:
        self._thrift = Thrift(**_place(url), busy_timeout_seconds=30)
        self._lease, self._cost_usd = lease, cost_usd

    async def warm(self) -> None:
        """Load the vocabulary, the prices and the budgets."""
        self._most()
        self._thrift.budgets.status()

    async def reserve(self) -> Any:
        """None if refused."""
        taken, usd = self._most()
        try:
            return self._thrift.budgets.reserve(estimate_usd=usd, estimate_tokens=taken + MAX_TOKENS, scope={}, ttl_seconds=self._lease)
        except BudgetExceededError:
            return None

    async def settle(self, held: Any) -> None:
        """The call is over."""
        held.settle(cost_usd=self._cost_usd)

    def _most(self) -> tuple[int, Decimal]:
        taken = count_message_tokens(REQUEST["messages"], MODEL).tokens
        return taken, self._thrift.prices.cost(Usage(input_tokens=taken, output_tokens=MAX_TOKENS), MODEL).usd

    def close(self) -> None:
        """Close the store."""
        self._thrift.close()


# --- one process ---


def _process(
    make: str, options: dict[str, Any], work: Workload, number: int, folder: str, state: Any, settled: Any, killed_at: Any
) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    notes = os.open(f"{folder}/{number}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    asyncio.run(_work(make, options, work, number, notes, state, settled, killed_at))


async def _work(
    make: str, options: dict[str, Any], work: Workload, number: int, notes: int, state: Any, settled: Any, killed_at: Any
) -> None:
    subject: Subject
    if make == "litellm":
        from benchmarks.litellm_peer import LiteLLM

        money = {"limit_usd": work.limit / 1e9, "cost_usd": work.cost / 1e9, "settled_usd": lambda: sum(settled) * work.cost / 1e9}
        subject = LiteLLM(**options, request=REQUEST, lease_seconds=work.lease, **money)
    else:
        subject = LlmThrift(options["url"], work.lease, work.cost / 1e9)
    numbers = iter(range(1_000_000))
    counting = threading.Lock()

    async def ask(seconds: float) -> bool:
        call = next(numbers)
        asked = time.monotonic()
        note(notes, b"R", call, asked)
        try:
            held = await subject.reserve()
        except Exception:
            note(notes, b"E", call, asked)
            held = None
        else:
            note(notes, b"X" if held is None else b"G", call, asked)
        await asyncio.sleep(seconds)  # who is refused does something else meanwhile
        if held is None:
            return False
        answered = time.monotonic()
        note(notes, b"T", call, answered)
        try:
            await subject.settle(held)
        except Exception:
            note(notes, b"E", call, answered)
            return True
        note(notes, b"S", call, answered)
        with counting:
            settled[number] += 1
        return True

    async def client() -> None:
        for _ in mine:
            await ask(CALL_SECONDS)

    mine = iter(range(work.requests))
    await subject.warm()
    state[number] = 1
    while state[-1] == 0:
        await asyncio.sleep(0.005)
    if make == "litellm":  # one loop, as in the proxy
        await asyncio.gather(*(client() for _ in range(work.at_once)))
    else:
        with ThreadPoolExecutor(work.at_once) as threads:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(threads, asyncio.run, client()) for _ in range(work.at_once)))
    note(notes, b"D", 0, time.monotonic())
    state[number] = 2
    if number == work.processes - 1:
        while state[-1] != 2:  # until all have ended
            await asyncio.sleep(0.01)
        await _remain(work, ask, killed_at.value, notes)
    subject.close()


async def _remain(work: Workload, ask: Callable[[float], Any], killed_at: float, notes: int) -> None:
    await _until_refused(ask)
    back = False
    while time.monotonic() < killed_at + 2.5 * work.lease:
        await asyncio.sleep(work.lease / 10)
        if await ask(0) and not back:
            back = True
            note(notes, b"B", 0, time.monotonic())
    if not back:
        await asyncio.sleep(1.5 * work.lease)
        if await ask(0):
            note(notes, b"Q", 0, time.monotonic())
    await _until_refused(ask)


async def _until_refused(ask: Callable[[float], Any]) -> None:
    refusals = 0
    while refusals < PATIENCE:
        refusals = 0 if await ask(0) else refusals + 1


# --- all processes ---


def _measure(stack: contextlib.ExitStack, name: str, make: str, options: dict[str, Any], work: Workload) -> Callable[[], Story]:
    """Run everything but the end; what is returned waits for that."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
    if make == "llmthrift":
        with Thrift(**_place(options["url"])) as thrift:
            thrift.budgets.add(Budget(limit_usd=str(work.limit / 1e9), name="all"))
    context = multiprocessing.get_context("forkserver")
    state = context.Array("i", work.processes + 1, lock=False)  # a killed process may not leave a lock behind
    settled, killed_at = context.Array("q", work.processes, lock=False), context.Value("d", 0.0, lock=False)
    given = (make, options, work)
    processes = [
        context.Process(target=_process, args=(*given, each, str(folder), state, settled, killed_at)) for each in range(work.processes)
    ]
    for process in processes:
        process.start()
    _wait(lambda: all(state[: work.processes]), processes)
    began = time.monotonic()
    state[-1] = 1
    _wait(lambda: sum(settled) * work.cost * 4 >= work.limit, processes)
    busiest = sorted(range(work.processes - 1), key=lambda each: settled[each])[-work.killed :]
    victims, others = [processes[each] for each in busiest], [each for each in range(work.processes) if each not in busiest]
    for process in victims:
        process.kill()
    for process in victims:
        process.join()
    killed_at.value = time.monotonic()
    _wait(lambda: all(state[each] == 2 for each in others), [processes[each] for each in others])
    state[-1] = 2
    story = Story(name, work, killed_at.value, began)

    def end(_kept: object = (state, settled, killed_at)) -> Story:  # else the next subject's would take their place in memory
        for process in (processes[each] for each in others):
            process.join(12 * work.lease + 60)
            if process.exitcode != 0:
                raise RuntimeError(f"{name}: a process ended with {process.exitcode}")
        story.read(folder)
        return story

    return end


def _wait(done: Callable[[], bool], processes: list[Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline or any(process.exitcode not in (None, 0) for process in processes):
            for process in processes:
                process.kill()
            raise RuntimeError(f"the processes did not get on: {[process.exitcode for process in processes]}")
        time.sleep(0.002)


def _place(url: str) -> dict[str, str]:
    return {"url": ":memory:", "valkey_url": url} if url.startswith("unix:") else {"url": url}


def _can_import_litellm() -> bool:
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_import_litellm)
    process.start()
    process.join()
    return process.exitcode == 0


def _import_litellm() -> None:
    try:
        import benchmarks.litellm_peer  # noqa: F401
    except ImportError as error:
        print(f"LiteLLM's reservation is not measured: {error}")
        raise SystemExit(1) from None


# --- all ---


def main() -> None:
    """Measure and print."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it tries the network
    options = argparse.ArgumentParser()
    options.add_argument("--processes", type=int, default=8)
    options.add_argument("--at-once", type=int, default=8)
    options.add_argument("--requests", type=int, default=100)
    options.add_argument("--answer", type=float, default=0.25)
    options.add_argument("--lease", type=int, default=10)
    options.add_argument("--killed", type=int, default=2)
    options.add_argument("--only", default="")
    given = options.parse_args()
    with Thrift(":memory:") as thrift:
        taken = count_message_tokens(REQUEST["messages"], MODEL).tokens
        most = thrift.prices.cost(Usage(input_tokens=taken, output_tokens=MAX_TOKENS), MODEL).nano_usd
        cost = thrift.prices.cost(Usage(input_tokens=taken, output_tokens=round(MAX_TOKENS * given.answer)), MODEL).nano_usd
    work = Workload(given.processes, given.at_once, given.requests, given.lease, given.killed, most, cost)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.litellm_peer"])
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        database, server = stack.enter_context(postgresql()), stack.enter_context(valkey())
        subjects: list[tuple[str, str, dict[str, Any]]] = []
        if server is not None and _can_import_litellm():
            subjects.append(("LiteLLM, Valkey", "litellm", {"url": server, "token": "first", "fail_closed": False}))
            subjects.append(
                ("LiteLLM, Valkey, fail_closed_budget_enforcement", "litellm", {"url": server, "token": "second", "fail_closed": True})
            )
        places = {"Valkey": server, "PostgreSQL": database, "SQLite": f"{folder}/budgets.db"}
        subjects += [(f"llmthrift, {place}", "llmthrift", {"url": url}) for place, url in places.items() if url is not None]
        ends = [_measure(stack, *subject, work) for subject in subjects if given.only in subject[0]]
        _print([end() for end in ends], work, given.answer)


def _print(stories: list[Story], work: Workload, answer: float) -> None:
    storms, aftermaths = [], []
    first = stories[0]
    for story in stories:
        free = max(story.storm_ended, story.killed_at + work.lease)
        refused = list(story.refusals(work.most))
        during = [false for call, false in refused if call.asked < story.storm_ended]
        cheaply = [fitted for call, fitted in story.refusals(work.cost) if call.asked < story.storm_ended]
        after = [false for call, false in refused if call.asked > free]
        asked = [call for call in story.calls if call.asked < story.storm_ended]
        later = [call for call in story.calls if call.asked > free]
        p50, p99 = (_quantile(story.taken, share) * 1e3 for share in (0.5, 0.99))
        faster50, faster99 = (_quantile(first.taken, share) * 1e3 / each for share, each in ((0.5, p50), (0.99, p99)))
        storms.append(
            (
                story.name,
                f"{sum(call.granted is not None for call in asked):,}",
                f"{len(during):,}",
                f"{sum(during):,}",
                f"{sum(cheaply):,}",
                f"${story.overspent / 1e9:.4f}",
                f"${story.overspent_unkilled / 1e9:.4f}",
                f"{sum(call.failed is not None for call in story.calls):,}",
                f"{len(asked) / (story.storm_ended - story.began):,.0f}",
                f"{p50:,.1f} ms ({faster50:.2g}x)",
                f"{p99:,.0f} ms ({faster99:.2g}x)",
            )
        )
        aftermaths.append(
            (
                story.name,
                f"${story.stranded / 1e9:.4f}",
                f"{story.unsettled:,}",
                f"{story.back - story.killed_at:.1f} s" if story.back else "no" if story.stranded else "",
                ""
                if story.back or not story.stranded
                else f"{story.back_after_quiet - story.killed_at:.1f} s"
                if story.back_after_quiet
                else "no",
                f"{len(later):,}",
                f"{sum(after):,}",
                f"${max(work.limit - story.spent, 0) / 1e9:.4f}",
            )
        )
    print(
        table(
            f"{work.processes} processes, {work.killed} of them killed, {work.at_once} requests at once in each, {work.requests} in all; "
            f"limit ${work.limit / 1e9:.4f}, a call sets ${work.most / 1e9:.6f} aside and costs ${work.cost / 1e9:.6f} (--answer {answer})",
            (
                "",
                "granted",
                "refused",
                "falsely",
                "room by true cost",
                "overspend",
                "not by the kill",
                "errors",
                "requests/s",
                "p50",
                "p99",
            ),
            storms,
        )
    )
    print(
        table(
            f"The money of the killed, with a lease of {work.lease} s",
            (
                "",
                "set aside",
                "answered, not settled",
                "back, in use",
                "back, after quiet",
                "asked after the lease",
                "falsely refused",
                "left",
            ),
            aftermaths,
        )
    )


def _quantile(ordered: list[float], share: float) -> float:
    return statistics.median(ordered) if share == 0.5 else ordered[int(len(ordered) * share)]


if __name__ == "__main__":
    main()
