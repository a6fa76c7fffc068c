"""A batch job whose process is killed on the way, three times: each request is billed once and answered once, at half the price.

    python -m benchmarks.batches [--requests 10000] [--kills 3] [--provider openai|anthropic]

A process submits requests through the provider's own client to a provider on loopback, and reads the results. It is killed with SIGKILL at
the moments that are worst: when the provider has taken a batch and this is not written down yet; when rows are in the ledger and the
answers are not written down yet; at a moment by chance. Each time, another process runs the same program from the start.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.measure import table
from llmthrift_core import Budget, Thrift, attribute
from llmthrift_core.batching.collecting import Collector
from llmthrift_core.batching.remote import Limits
from llmthrift_core.batching.sellers import remote_of
from llmthrift_core.batching.sending import Sender
from llmthrift_core.testing import LoopbackProvider

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
NAME = "the one job"
MOMENTS = ("a batch is taken and not written down", "rows are written and the answers are not", "by chance")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the killed job came to.

    Attributes:
        requests: of the job. kills: that ended its process.
        moments: in which it was killed.
        billed_at_provider: requests that the provider worked on, all together.
        rows: in the ledger, and how many of them differ in the request that they are of.
        answered: distinct requests with a right answer.
        batch_nano_usd: the ledger's sum. single_nano_usd: what single calls with the same usage cost.
        reserved_nano_usd: what budgets still hold. spent_nano_usd: what they count as spent.
        seconds: all together.
    """

    requests: int
    kills: int
    moments: tuple[str, ...]
    billed_at_provider: int
    rows: int
    distinct_rows: int
    answered: int
    batch_nano_usd: int
    single_nano_usd: int
    reserved_nano_usd: int
    spent_nano_usd: int
    seconds: float


def main() -> None:
    """Run, and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--requests", type=int, default=10_000)
    options.add_argument("--kills", type=int, default=3)
    options.add_argument("--provider", choices=sorted(MODELS), default="openai")
    options.add_argument("--work", nargs=5, metavar=("DATABASE", "ADDRESS", "REQUESTS", "A_BATCH", "MOMENT"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.work:
        work(given.provider, *given.work)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), requests=given.requests, kills=given.kills, provider=given.provider)
    rows = [
        ["requests", f"{found.requests:,}"],
        ["killed", f"{found.kills} times: {'; '.join(found.moments)}"],
        ["answered by the provider", f"{found.billed_at_provider:,}"],
        ["rows in the ledger", f"{found.rows:,}, of {found.distinct_rows:,} requests"],
        ["answered, each with its own answer", f"{found.answered:,}"],
        ["billed", f"${_usd(found.batch_nano_usd)}"],
        ["single calls would cost", f"${_usd(found.single_nano_usd)}"],
        ["ratio", f"{Decimal(found.batch_nano_usd) / Decimal(found.single_nano_usd)}"],
        ["held by budgets afterwards", f"${_usd(found.reserved_nano_usd)}"],
        ["spent, as budgets count it", f"${_usd(found.spent_nano_usd)}"],
        ["seconds", f"{found.seconds:.1f}"],
    ]
    print(table(f"A batch job at {given.provider}, killed on the way", ["", ""], rows))


def run(folder: Path, *, requests: int, kills: int, provider: str = "openai", seed: int = 1) -> Outcome:
    """Submit a job with a process that is killed, until one lives to the end."""
    database, chance, started = folder / "books.db", random.Random(seed), time.perf_counter()
    a_batch = max(requests // 4, 1)
    with LoopbackProvider(lambda question: f"The answer to {question.last_user_text}") as loopback:
        address = loopback.openai_url if provider == "openai" else loopback.anthropic_url
        with Thrift(database) as thrift:
            thrift.budgets.add(Budget(limit_usd=1_000, window="month", per="user", name="monthly"))
        moments = [MOMENTS[number % len(MOMENTS)] for number in range(kills)]
        for moment in moments:
            arguments = [str(database), address, str(requests), str(a_batch), moment]
            command = [sys.executable, "-m", "benchmarks.batches", "--provider", provider, "--work", *arguments]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            if moment == MOMENTS[2]:
                assert process.stdout is not None
                assert process.stdout.readline() == "begun\n"
                time.sleep(chance.uniform(0.0, 0.3))
                process.send_signal(signal.SIGKILL)
            process.communicate(timeout=600)
            assert process.returncode == -signal.SIGKILL, process.returncode
        last = [str(database), address, str(requests), str(a_batch), "never"]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.batches", "--provider", provider, "--work", *last],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        answered = int(done.stdout.splitlines()[-1])
        billed = sum(each.batch for each in loopback.usage_log)
    with Thrift(database) as thrift:
        return _outcome(thrift, requests, moments, billed, answered, time.perf_counter() - started)


def work(provider: str, database: str, address: str, requests: str, a_batch: str, moment: str) -> None:
    """What each process does: submit everything, read everything."""
    logging.disable(logging.WARNING)
    remote: Any = type(remote_of(provider))
    remote.limits = Limits(int(a_batch), remote.limits.size_bytes)
    _die_when(moment)
    with Thrift(database) as thrift, attribute(user="ada", feature="nightly"):
        print("begun", flush=True)
        asked = [
            {"custom_id": f"question {number}", "messages": [{"role": "user", "content": f"Question {number}?"}]}
            for number in range(int(requests))
        ]
        job = thrift.batches.submit(asked, model=MODELS[provider], client=_client(provider, address), name=NAME)
        right = {
            result.custom_id
            for result in thrift.batches.results(job, poll_seconds=0.05)
            if result.text == f"The answer to Question {result.custom_id.rpartition(' ')[2]}?"
        }
    print(len(right))


def _client(provider: str, address: str) -> Any:
    if provider == "openai":
        from openai import OpenAI

        return OpenAI(base_url=address, api_key="unused")
    from anthropic import Anthropic

    return Anthropic(base_url=address, api_key="unused")


def _die_when(moment: str) -> None:
    """Let this process kill itself at a moment."""
    calls: Counter[str] = Counter()

    def dying(original: Any, at: int) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            calls[original.__name__] += 1
            if calls[original.__name__] == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return wrapped

    if moment == MOMENTS[0]:
        Sender._note = dying(Sender._note, 2)  # type: ignore[method-assign]
    elif moment == MOMENTS[1]:
        holds: Any = Collector
        original = holds._keep

        def keep(self: Any, job: Any, page: Sequence[Any], part: Any) -> None:
            self._store.change = dying(self._store.change, 1) if calls.update(["page"]) or calls["page"] == 2 else self._store.change
            original(self, job, page, part)

        holds._keep = keep


def _outcome(thrift: Thrift, requests: int, moments: Sequence[str], billed: int, answered: int, seconds: float) -> Outcome:
    from dataclasses import replace

    from llmthrift_core.usage import Usage

    rows = thrift.ledger.calls()
    single = 0
    for row in rows:
        assert row["service_tier"] == "batch"
        usage = Usage(row["input_tokens"], row["output_tokens"], service_tier="batch")
        single += thrift.prices.cost(replace(usage, service_tier=None), row["model"], provider=row["provider"]).nano_usd
    status = next(row for row in thrift.budgets.status() if row["unit"] == "usd")
    return Outcome(
        requests=requests,
        kills=len(moments),
        moments=tuple(moments),
        billed_at_provider=billed,
        rows=len(rows),
        distinct_rows=len({row["request_id"] for row in rows}),
        answered=answered,
        batch_nano_usd=sum(int(row["cost_usd"] * 10**9) for row in rows),
        single_nano_usd=single,
        reserved_nano_usd=int(status["reserved"] * 10**9),
        spent_nano_usd=int(status["spent"] * 10**9),
        seconds=seconds,
    )


def _usd(nano_usd: int) -> str:
    return f"{Decimal(nano_usd) / 10**9:.9f}"


if __name__ == "__main__":
    main()
