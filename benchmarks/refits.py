"""What a caller notices of a refit: the time of a decision while 10,000 labelled answers are read, learned and judged.

    python -m benchmarks.refits [--prompts 5000] [--rounds 3]

A caller decides every 2 ms, meanwhile nothing is done, the same refit runs in a thread of this process, or in a process of its own. The
thread is what a `Thrift` in memory has. Every refit learns the same examples anew, in rounds, on a database of its own.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import table
from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import Attribution
from llmthrift_core.routing import FollowedRouter, RouteRequest, Tiers
from llmthrift_core.versions import Refit
from llmthrift_core.versions.background_refits import refit_apart
from llmthrift_core.versions.refitting import refit_once, unfitted

MODELS = {"weak": "gpt-4o-mini", "strong": "gpt-4o"}
TIERS = Tiers(("weak", "strong"))
PAUSE_SECONDS = 0.002


def main() -> None:
    """Measure and print."""
    logging.disable(logging.WARNING)
    options = argparse.ArgumentParser()
    options.add_argument("--prompts", type=int, default=5_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    refit = Refit(models=MODELS, min_quality=0.9, min_new_examples=1)
    taken: dict[str, list[float]] = {}
    lasted: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Thrift(Path(folder, "books.db"), capture="text") as thrift:
        _fill(thrift, given.prompts)
        thrift.routers.refit("support", refit)
        followed = thrift.routers.follow("support", check_seconds=3600)
        for number in range(given.rounds):
            for name, work in (
                ("nothing", lambda _: time.sleep(3)),
                ("a refit in a thread", lambda of: refit_once(thrift, of, refit, unfitted(refit, thrift.prices))),
                (
                    "a refit in a process of its own",
                    lambda of: refit_apart(thrift, of, refit, unfitted(refit, thrift.prices), threading.Event()),
                ),
            ):
                seconds, milliseconds = _while(followed, lambda work=work, of=f"{name} {number}": work(of))
                taken.setdefault(name, []).extend(milliseconds)
                lasted.setdefault(name, []).append(seconds)
        looks = []
        for number in range(20):
            thrift.routers.roll_back("support", 1) if number % 2 else thrift.routers.save(thrift.routers.load("support"), name="support")
            started = time.perf_counter()
            assert followed.look()
            looks.append((time.perf_counter() - started) * 1e3)
    print(
        table(
            f"A decision while {2 * given.prompts:,} labelled answers are learned",
            ("meanwhile", "p50", "p95", "p99", "longest", "decisions", "refit took"),
            [
                (
                    name,
                    *(f"{_quantile(found, at):.2f} ms" for at in (0.5, 0.95, 0.99, 1.0)),
                    f"{len(found):,}",
                    f"{statistics.median(lasted[name]):.1f} s",
                )
                for name, found in taken.items()
            ],
        )
    )
    print(
        f"\nAnother version is read and put in force in {statistics.median(looks):.1f} ms (median of {len(looks)}), off the caller's path."
    )


def _fill(thrift: Thrift, prompts: int) -> None:
    chance = random.Random(0)
    tasks = {"greet the customer": False, "translate the word": False, "prove the theorem": True, "audit the contract": True}
    for number in range(prompts):
        task, hard = chance.choice([*tasks.items()])
        for name, model in MODELS.items():
            site = "research" if hard else "support"
            request_id = thrift.ledger.record(model, Usage(input_tokens=20, output_tokens=20), call_site=site)
            thrift.ledger.capture(request_id, thrift.now_us(), None, f"human: Please {task} of case {number}", "It is done.")
            thrift.feedback(request_id, quality=float((name == "strong" or not hard) != (chance.random() < 0.05)))
    thrift.flush()


def _while(followed: FollowedRouter, work: Callable[[], object]) -> tuple[float, list[float]]:
    """How long the work took in seconds, and the decisions meanwhile in milliseconds."""
    thread = threading.Thread(target=work)
    taken: list[float] = []
    begun = time.perf_counter()
    thread.start()
    number = 0
    while thread.is_alive():
        request = RouteRequest(f"Please greet the customer of case {number}", attribution=Attribution(call_site="support"))
        started = time.perf_counter()
        followed.in_force().decide(request, TIERS)
        taken.append((time.perf_counter() - started) * 1e3)
        time.sleep(PAUSE_SECONDS)
        number += 1
    return time.perf_counter() - begun, taken


def _quantile(values: list[float], at: float) -> float:
    return sorted(values)[min(int(len(values) * at), len(values) - 1)]


if __name__ == "__main__":
    main()
