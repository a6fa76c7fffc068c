"""Proof of the whole: dollars and quality of a mixed workload, naively and with llmthrift.

    python -m benchmarks.whole --data DIR [--requests 5000] [--seed 0] [--judged 0.1] [--no-ablations]

DIR has the public recordings. Every request is replayed in time order through LangChain's own clients against a provider on loopback,
which answers as recorded and bills prompt caches as the providers do. Only promises are set: 1% wrong cache hits, 98% of the strongest
models' quality over all answers of models, budgets, answers that hold for a day. Nothing is fitted beforehand: the cold start counts, and
so do the judge and the answers that are asked for to learn. `--judged` states the share of routed requests whose answers are judged, drawn
beforehand; without it as many are judged as `labels_worth` says that they are worth. Either way the share is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import table
from benchmarks.whole.application import LEVERS, NEED_LABELS, PARTS_OF, Thrifty
from benchmarks.whole.replay import Naive, Outcome, Replayed, replay
from benchmarks.whole.workload import SHARES, Workload, read_workload

_WARM = 1_000
_FILES = ("banking77.csv.gz", "routellm_mmlu.csv.gz", "routellm_gsm8k.csv.gz", "llmrouter_scores.jsonl.gz", "agent_conversations.jsonl.gz")
Outcomes = dict[int, Outcome]


def main() -> None:
    """Replay and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    options.add_argument("--requests", type=int, default=5_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--judged", type=float, help="share of the routed requests whose answers are judged; default: as labels_worth says"
    )
    options.add_argument("--no-ablations", action="store_true")
    given = options.parse_args()
    if given.judged is not None and not 0 < given.judged <= 1:
        options.error(f"--judged is a share above 0 and up to 1, not {given.judged:g}")
    if missing := [name for name in _FILES if not (given.data / name).exists()]:
        print(f"Nothing is measured: {given.data} has no {', '.join(missing)}")
        return
    workload = read_workload(given.data, given.requests, given.seed)
    run = partial(_run, workload, given.seed, given.judged)
    naive = replay(enumerate(workload.requests), workload.nine_usd_per_million, Naive)
    whole = run(off=())
    print(_parts(naive, whole))
    print(_totals(naive, {"llmthrift": whole.outcomes}))
    print(_levers(naive, whole))
    stated = "as labels_worth said" if given.judged is None else f"{given.judged:.0%} were stated beforehand"
    share = whole.judged / max(whole.routed, 1)
    print(
        f"\nJudged: the answers to {whole.judged:,} of {whole.routed:,} routed requests ({share:.1%}; {stated}), {whole.labels:,} answers."
    )
    print("\nWhat routers learned, lastly:")
    print("\n".join({note.partition(":")[0]: note for note in whole.notes}.values()))
    if not given.no_ablations:
        rows = {}
        for lever in (*LEVERS, "all that need labels"):
            off = NEED_LABELS if lever == "all that need labels" else {lever}
            parts = {part for each in off for part in PARTS_OF[each]}
            rows[f"without {lever}"] = {**whole.outcomes, **run(off=off, parts=parts).outcomes}
        print(_totals(naive, {"llmthrift": whole.outcomes, **rows}))


def _run(workload: Workload, seed: int, judged: float | None, *, off: Collection[str], parts: Collection[str] | None = None) -> Replayed:
    requests = ((place, asked) for place, asked in enumerate(workload.requests) if parts is None or asked.part in parts)
    make = partial(Thrifty, off=off, nine=workload.nine_usd_per_million, judged=judged, seed=seed)
    return replay(requests, workload.nine_usd_per_million, make)


def _parts(naive: Replayed, whole: Replayed) -> str:
    rows = []
    total = sum(each.usd for each in naive.outcomes.values())
    for part in (*SHARES, "all"):
        before, after = (_of(each.outcomes, part) for each in (naive, whole))
        usd = sum(each.usd for each in before)
        saved, (low, high) = _saved(before, after)
        rows.append(
            (
                part,
                f"{len(before):,}",
                f"${usd:.2f}",
                f"{usd / total:.0%}",
                f"${sum(each.usd for each in after):.2f}",
                f"{saved:.1%} ({low:.1%} to {high:.1%})",
                f"{_mean(before):.3f}",
                f"{_mean(after):.3f}",
            )
        )
    header = ("part", "requests", "naive", "share", "llmthrift", "saved", "naive quality", "quality")
    return table("By part: labels included, cold start included", header, rows)


def _totals(naive: Replayed, runs: dict[str, Outcomes]) -> str:
    rows = []
    for name, outcomes in runs.items():
        for which, least in (("all", 0), (f"after {_WARM:,}", _WARM)):
            if not (places := [place for place in naive.outcomes if place >= least]):
                continue
            before, after = ([each[place] for place in places] for each in (naive.outcomes, outcomes))
            saved, (low, high) = _saved(before, after)
            kept, (worse, better) = _kept(before, after)
            rows.append(
                (
                    name,
                    which,
                    f"${sum(each.usd for each in after):.2f} of ${sum(each.usd for each in before):.2f}",
                    f"{saved:.1%} ({low:.1%} to {high:.1%})",
                    f"{kept:.2%} ({worse:.2%} to {better:.2%})",
                    " / ".join(f"{np.quantile([each.milliseconds for each in after], q):.1f}" for q in (0.5, 0.95)),
                )
            )
    header = ("", "requests", "dollars", "saved (95%)", "of the naive quality (95%)", "ms p50 / p95")
    naive_ms = " / ".join(f"{np.quantile([each.milliseconds for each in naive.outcomes.values()], q):.1f}" for q in (0.5, 0.95))
    return table(f"In all; the naive client takes {naive_ms} ms, the provider none", header, rows)


def _levers(naive: Replayed, whole: Replayed) -> str:
    found = whole.savings
    amounts = [
        ("the cache", found.cache_saved_usd),
        ("routing and cascade", found.routing_saved_usd),
        ("shorter prompts", found.shortening_saved_usd),
        ("the provider's prompt cache", found.prefix_saved_usd),
    ]
    naive_usd = sum(each.usd for each in naive.outcomes.values())
    rows = [(name, f"${amount:.3f}", f"{float(amount) / naive_usd:.1%}") for name, amount in amounts]
    rows.append(("labels: other tiers' answers and the judge", f"-${whole.labels_usd:.3f}", f"{-whole.labels_usd / naive_usd:.1%}"))
    rows.append(("spent, labels included", f"${found.spent_usd:.3f}", f"{float(found.spent_usd) / naive_usd:.1%}"))
    rows.append(("without llmthrift, says the ledger", f"${found.without_usd:.3f}", f"{float(found.without_usd) / naive_usd:.1%}"))
    rows.append(("naive replay", f"${naive_usd:.3f}", "100.0%"))
    title = (
        f"Saved by lever, nothing twice (`thrift.savings()`); {whole.labels:,} judged answers; {whole.cpu_seconds:.0f} s of processor time"
    )
    return table(title, ("", "dollars", "of the naive dollars"), rows)


def _of(outcomes: Outcomes, part: str) -> list[Outcome]:
    return [outcomes[place] for place in sorted(outcomes) if part in ("all", outcomes[place].part)]


def _mean(outcomes: Sequence[Outcome]) -> float:
    return float(np.mean([each.quality for each in outcomes])) if outcomes else float("nan")


def _saved(before: Sequence[Outcome], after: Sequence[Outcome]) -> tuple[float, tuple[float, float]]:
    paid, spent = np.array([each.usd for each in before]), np.array([each.usd for each in after])
    return 1 - spent.sum() / paid.sum(), _bootstrap(lambda rows: 1 - spent[rows].sum(axis=1) / paid[rows].sum(axis=1), len(paid))


def _kept(before: Sequence[Outcome], after: Sequence[Outcome]) -> tuple[float, tuple[float, float]]:
    first, second = np.array([each.quality for each in before]), np.array([each.quality for each in after])
    return second.sum() / first.sum(), _bootstrap(lambda rows: second[rows].sum(axis=1) / first[rows].sum(axis=1), len(first))


def _bootstrap(ratio: Any, size: int) -> tuple[float, float]:
    """Limits of 95% over draws of the requests."""
    found = ratio(np.random.default_rng(0).integers(0, size, (500, size)))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


if __name__ == "__main__":
    main()
