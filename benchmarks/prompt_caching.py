"""Input dollars of real traffic under a provider's prompt cache: the planner beside marking everything, a policy by depth, and an oracle.

python -m benchmarks.prompt_caching            # and how long a plan takes
python -m benchmarks.prompt_caching --quick    # a quarter of the trace

Data: `../shared/data` (skipped where absent). The trace is 12,031 requests to a public assistant in blocks of 512 tokens; the second half
is scored once the first was seen. A provider is simulated block by block: the longest prefix that is kept is read at 0.1 of its price and
kept anew, what is marked behind it is written, the rest is ordinary input. The oracle writes what will come back within the life.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import table
from llmthrift_core.prompt_caching import CacheTerms, PrefixPlanner

DATA = Path(__file__).parents[2] / "shared" / "data"
TERMS = (
    CacheTerms(write=1.25, read=0.1, ttl_seconds=300, min_tokens=512),
    CacheTerms(write=1.25, read=0.1, ttl_seconds=1800, min_tokens=512),
    CacheTerms(write=2.0, read=0.1, ttl_seconds=3600, min_tokens=512),
)
NAMES = ("5 min, 1.25x", "30 min, 1.25x", "1 h, 2x")
BLOCK_TOKENS = 512
SECONDS_BETWEEN_CALLS = 10.0
Policy = Callable[["Request", CacheTerms], tuple[int, CacheTerms]]


class Request(NamedTuple):
    """A prompt: when it was sent, and its blocks."""

    at: float
    blocks: tuple[tuple[Hashable, int], ...]


class Provider:
    """A prompt cache that bills: for each kept block until when, and with which life it was written."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[float, float]] = {}

    def bill(self, request: Request, marked_tokens: int, terms: CacheTerms) -> float:
        """The price of a prompt in input tokens."""
        price, reached, is_kept = 0.0, 0, True
        for block, tokens in request.blocks:
            reached += tokens
            until, life = self._kept.get(block, (-1.0, 0.0))
            is_kept = is_kept and request.at <= until
            if is_kept:
                price += terms.read * tokens
                self._kept[block] = (request.at + life, life)
            elif reached <= marked_tokens:
                price += terms.write * tokens
                self._kept[block] = (request.at + terms.ttl_seconds, terms.ttl_seconds)
            else:
                price += tokens
        return price


class ByDepth:
    """Writes to the depth to which, so far, enough came back within the life: a share by power of two of the depth."""

    def __init__(self, terms: CacheTerms) -> None:
        self.terms = terms
        self.last: dict[Hashable, float] = {}
        self.sent = [1.0] * 40
        self.back = [0.5] * 40

    def __call__(self, request: Request, terms: CacheTerms) -> tuple[int, CacheTerms]:
        reached = marked = 0
        is_open = True
        for depth, (block, tokens) in enumerate(request.blocks):
            place = (depth + 1).bit_length()
            before = self.last.get(block)
            came_back = before is not None and request.at - before <= terms.ttl_seconds
            self.sent[place] += 1
            self.back[place] += came_back
            self.last[block] = request.at
            reached += tokens
            is_open = is_open and (came_back or self.back[place] / self.sent[place] * (1 - terms.read) > terms.premium)
            marked = reached if is_open else marked
        return marked, terms


def _lines(name: str) -> list[Any]:
    with gzip.open(DATA / name) as file:
        return [json.loads(line) for line in file]


def trace(*, share: float = 1.0) -> list[Request]:
    """The public trace."""
    rows = _lines("prefix_trace.jsonl.gz")
    found = []
    for at_ms, tokens, _, blocks in rows[: int(len(rows) * share)]:
        sizes = [BLOCK_TOKENS] * (len(blocks) - 1) + [tokens - BLOCK_TOKENS * (len(blocks) - 1)]
        found.append(Request(at_ms / 1000, tuple(zip(blocks, sizes, strict=True))))
    return found


def conversations() -> list[list[Request]]:
    """Agents' conversations: each message a block, each answer of the model a call with all before it."""
    found, start = [], 0.0
    for row in _lines("agent_conversations.jsonl.gz"):
        messages = row["messages"]
        texts = [json.dumps(message, sort_keys=True) for message in messages]
        blocks = [(text, max(1, len(text) // 4)) for text in texts]
        calls = [end for end, message in enumerate(messages) if message["role"] == "assistant" and end]
        found.append([Request(start + SECONDS_BETWEEN_CALLS * turn, tuple(blocks[:end])) for turn, end in enumerate(calls)])
        start += 100_000.0  # conversations share nothing in time
    return found


def oracle_marks(requests: Sequence[Request], terms: CacheTerms) -> list[list[bool]]:
    """For each block of each request, whether it comes back within the life."""
    following: dict[Hashable, float] = {}
    marks = []
    for request in reversed(requests):
        marks.append([following.get(block, 1e18) - request.at <= terms.ttl_seconds for block, _ in request.blocks])
        following.update(dict.fromkeys((block for block, _ in request.blocks), request.at))
    return marks[::-1]


def oracle(requests: Sequence[Request], terms: CacheTerms, start: int) -> float:
    """The share of the uncached price that an all-knowing policy pays, from a request on."""
    kept: dict[Hashable, float] = {}
    price = total = 0.0
    for number, (request, marks) in enumerate(zip(requests, oracle_marks(requests, terms), strict=True)):
        is_kept = True
        for (block, tokens), comes_back in zip(request.blocks, marks, strict=True):
            is_kept = is_kept and request.at - kept.get(block, -1e18) <= terms.ttl_seconds
            if is_kept or comes_back:
                kept[block] = request.at
            if number >= start:
                price += tokens * (terms.read if is_kept else terms.write if comes_back else 1.0)
                total += tokens
    return price / total


def replay(requests: Sequence[Request], policy: Policy, terms: CacheTerms, starts: Sequence[int]) -> list[float]:
    """The share of the uncached price that a policy pays, from each of some requests on."""
    provider = Provider()
    prices = [0.0] * len(starts)
    totals = [0.0] * len(starts)
    for number, request in enumerate(requests):
        marked, chosen = policy(request, terms)
        price, tokens = provider.bill(request, marked, chosen), sum(tokens for _, tokens in request.blocks)
        for index, start in enumerate(starts):
            if number >= start:
                prices[index] += price
                totals[index] += tokens
    return [price / total for price, total in zip(prices, totals, strict=True)]


def everything(request: Request, terms: CacheTerms) -> tuple[int, CacheTerms]:
    """Mark all."""
    return sum(tokens for _, tokens in request.blocks), terms


def nothing(request: Request, terms: CacheTerms) -> tuple[int, CacheTerms]:
    """Mark none."""
    return 0, terms


def planned(planner: PrefixPlanner) -> Policy:
    """What a planner marks."""

    def policy(request: Request, terms: CacheTerms) -> tuple[int, CacheTerms]:
        plan = planner.plan(request.blocks, at=request.at)
        return plan.marked_tokens, plan.terms or terms

    return policy


def score(requests: Sequence[Request]) -> None:
    """Print the trace's table."""
    half = len(requests) // 2
    rows = []
    for name, terms in zip(NAMES, TERMS, strict=True):
        best = [oracle(requests, terms, start) for start in (0, half)]
        for policy_name, policy in (("everything", everything), ("by depth", ByDepth(terms)), ("planner", planned(PrefixPlanner(terms)))):
            whole, second = replay(requests, policy, terms, (0, half))
            rows.append((name, policy_name, f"{whole:.4f}", f"{second:.4f}", f"{(1 - second) / (1 - best[1]):.3f}"))
        rows.append((name, "oracle", f"{best[0]:.4f}", f"{best[1]:.4f}", "1.000"))
    whole, second = replay(requests, planned(PrefixPlanner(TERMS)), TERMS[1], (0, half))
    rows.append(("one of the three", "planner", f"{whole:.4f}", f"{second:.4f}", ""))
    header = ("terms", "marks", "whole trace", "second half", "share of the oracle's saving")
    print(table("Input dollars against no caching", header, rows))


def score_conversations() -> None:
    """Print what the agents' conversations cost."""
    talks = conversations()
    requests = [request for talk in talks for request in talk]
    rows = []
    for name, policy in (("everything", everything), ("planner", planned(PrefixPlanner(TERMS[0])))):
        rows.append((name, f"{replay(requests, policy, TERMS[0], (0,))[0]:.4f}"))
    rows.append(("a new planner for each", f"{_each_alone(talks):.4f}"))
    rows.append(("oracle", f"{oracle(requests, TERMS[0], 0):.4f}"))
    print(table(f"{len(talks)} conversations of agents, {len(requests)} calls, 5 min, 1.25x", ("marks", "input dollars"), rows))


def _each_alone(talks: Sequence[Sequence[Request]]) -> float:
    price = total = 0.0
    for talk in talks:
        tokens = sum(tokens for request in talk for _, tokens in request.blocks)
        price += replay(talk, planned(PrefixPlanner(TERMS[0])), TERMS[0], (0,))[0] * tokens if talk else 0.0
        total += tokens
    return price / total


def time_plans(requests: Sequence[Request]) -> None:
    """Print how long a plan takes with a million blocks known."""
    planner = PrefixPlanner(TERMS[0])
    at, number = 0.0, 0
    while planner.known_blocks < 1_000_000:
        number += 1
        at += 0.01
        planner.plan([(-100 * number - index, BLOCK_TOKENS) for index in range(100)], at=at)
    known, rows = planner.known_blocks, []
    for name, clock in (("of the processor", time.thread_time_ns), ("by the clock", time.perf_counter_ns)):
        taken = []
        for request in requests:
            started = clock()
            planner.plan(request.blocks, at=at + request.at)
            taken.append((clock() - started) / 1000)
        taken.sort()
        at += requests[-1].at
        rows.append((name, f"{taken[len(taken) // 2]:.0f} us", f"{taken[int(len(taken) * 0.99)]:.0f} us"))
    print(table(f"A plan, {known:,} blocks known", ("time", "p50", "p99"), rows))


def main() -> None:
    """Replay and print."""
    if not (DATA / "prefix_trace.jsonl.gz").exists():
        print(f"skipped: {DATA} is absent")
        return
    requests = trace(share=0.25 if "--quick" in sys.argv else 1.0)
    score(requests)
    score_conversations()
    time_plans(requests[:3000])


if __name__ == "__main__":
    main()
