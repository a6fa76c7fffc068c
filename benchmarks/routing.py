"""Learned routing and cascades on recorded answers: quality, dollars, and what simple controls reach on the same splits.

    python -m benchmarks.routing [mmlu|gsm8k|escalations|nine|unseen|latency] [--seeds 10]

Data: `../shared/data` (skipped where absent). Every row of a table is fitted on one part of the prompts and scored on the other, once for
each seed; "±" is 1.96 standard deviations over the splits. APGR: area of the quality gap recovered over the
share of calls that go to the strong model, 0.5 for random. Saved: of the dollars of sending everything to the reference model, by the
providers' prices, four characters a token. Differences below 0.03 APGR (MMLU) and 0.05 (GSM8K) are noise.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import table
from llmthrift_core.lexical import stored_counts
from llmthrift_core.routing import Cascade, Example, LearnedRouter
from llmthrift_core.routing.simulation.controls import apgr, control_scores, site_means, split, spread

DATA = Path(__file__).parents[2] / "shared" / "data"
PRICES = {"weak": 0.6, "strong": 12.0}  # Mixtral-8x7B; gpt-4-1106 at $10 and $30, blended for its short answers
PARTS = ("mmlu", "gsm8k", "escalations", "nine", "unseen", "latency")


@dataclass(frozen=True)
class Recorded:
    """Prompts with every model's quality, shape (prompts, models)."""

    prompts: list[str]
    sites: list[str] | None
    quality: Any
    prices: dict[str, float]
    answers: list[tuple[str, ...]] | None = None

    def examples(self, rows: Sequence[int], *, sites: bool) -> list[Example]:
        """The labels of some rows."""
        return [
            Example(
                self.prompts[row],
                model,
                float(self.quality[row, place]),
                call_site=self.sites[row] if sites and self.sites else None,
                answer=self.answers[row][place] if self.answers else None,
            )
            for row in rows
            for place, model in enumerate(self.prices)
        ]

    def textless(self, rows: Sequence[int], *, sites: bool) -> list[Example]:
        """The labels of some rows as a ledger has them that keeps no text: counts and call sites."""
        counts = {row: stored_counts(self.prompts[row]) for row in rows}
        return [
            Example("", model, float(self.quality[row, place]), self.sites[row] if sites and self.sites else None, counts=counts[row])
            for row in rows
            for place, model in enumerate(self.prices)
        ]

    def usd(self, rows: Any) -> Any:
        """Dollars per million calls like these, shape (rows, models)."""
        tokens = np.array([len(self.prompts[row]) / 4 for row in rows])
        return tokens[:, None] * np.array(list(self.prices.values()))


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("what", nargs="?", choices=(*PARTS, "all"), default="all")
    options.add_argument("--seeds", type=int, default=10)
    given = options.parse_args()
    if not (DATA / "routellm_mmlu.csv.gz").exists():
        print(f"Routing is not measured: {DATA} is absent")
        return
    measured: dict[str, Callable[[int], None]] = {
        "mmlu": _mmlu,
        "gsm8k": _gsm8k,
        "escalations": _escalations,
        "nine": _nine,
        "unseen": _unseen,
        "latency": _latency,
    }
    for part in PARTS:
        if given.what in (part, "all"):
            measured[part](given.seeds)


def _read_mmlu() -> Recorded:
    with gzip.open(DATA / "routellm_mmlu.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    quality = np.array([[float(row["weak_correct"]), float(row["strong_correct"])] for row in rows])
    return Recorded([row["prompt"] for row in rows], [row["call_site"] for row in rows], quality, PRICES)


def _read_gsm8k() -> Recorded:
    with gzip.open(DATA / "routellm_gsm8k.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    quality = np.array([[float(row["weak_correct"]), float(row["strong_correct"])] for row in rows])
    return Recorded([row["prompt"] for row in rows], None, quality, PRICES, [(row["weak_answer"], row["strong_answer"]) for row in rows])


def _read_nine() -> Recorded:
    with gzip.open(DATA / "llmrouter_scores.jsonl.gz", "rt", encoding="utf-8") as file:
        listed, *rows = (json.loads(line) for line in file)
    prices = {model: float(price["input"]) for model, price in listed["prices_usd_per_million_tokens"].items()}
    quality = np.array([[row["scores"][model] for model in prices] for row in rows])
    return Recorded([row["question"] for row in rows], [row["call_site"] for row in rows], quality, prices)


def _controls(data: Recorded, learn: Any, judge: Any, seed: int) -> Mapping[str, Any]:
    return control_scores(data.prompts, data.sites, data.quality, learn, judge, seed)


def _interval(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {spread(values):.3f}"


def _mmlu(seeds: int) -> None:
    data = _read_mmlu()
    for title, learn_rows, sites in (
        ("MMLU, 200 labelled prompts, question alone", 200, False),
        ("MMLU, 1,400 labelled prompts, question alone", 1_400, False),
        ("MMLU, half of the prompts, with call site", len(data.prompts) // 2, True),
    ):
        areas: dict[str, list[float]] = {}
        outcomes: dict[str, list[tuple[float, float]]] = {}
        for seed in range(seeds):
            learn, judge = split(len(data.prompts), learn_rows, seed)
            where = [data.sites[row] if sites and data.sites else None for row in judge]
            scores = {}
            for name, examples in (
                ("LearnedRouter", data.examples(learn, sites=sites)),
                (_TEXTLESS, data.textless(learn, sites=sites)),
            ):
                router = LearnedRouter(data.prices, "strong", seed=seed).fit(examples)
                scores[name] = np.array([router.gain(data.prompts[row], site) for row, site in zip(judge, where, strict=True)])
                chosen = [router.decide(data.prompts[row], site).model for row, site in zip(judge, where, strict=True)]
                columns = [list(data.prices).index(str(model)) for model in chosen]
                outcomes.setdefault(name, []).append(_outcome(data, judge, columns, 1))
            for name, score in {**scores, **_controls(data, learn, judge, seed)}.items():
                areas.setdefault(name, []).append(apgr(score, data.quality[judge]))
        print(table(f"{title}, {seeds} splits", ("ranked by", "APGR"), [(name, _interval(found)) for name, found in areas.items()]))
        rows = [_decided(f"{name}, min_quality 0.98", 0.98, found) for name, found in outcomes.items()]
        print(table(f"{title}: decisions", _DECIDED, rows))


_TEXTLESS = "LearnedRouter without texts"
_DECIDED = ("policy", "quality / reference", "lowest", "target met", "dollars saved")


def _outcome(data: Recorded, judge: Any, columns: Sequence[int], reference: int) -> tuple[float, float]:
    rows, usd = np.arange(len(judge)), data.usd(judge)
    quality = data.quality[judge]
    return quality[rows, columns].mean() / quality[:, reference].mean(), 1 - usd[rows, columns].sum() / usd[:, reference].sum()


def _decided(name: str, target: float, outcomes: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    quality, saved = zip(*outcomes, strict=True)
    met = sum(each >= target for each in quality)
    return name, _interval(quality), f"{min(quality):.3f}", f"{met} of {len(quality)}", f"{statistics.mean(saved):.1%}"


def _gsm8k(seeds: int) -> None:
    data = _read_gsm8k()
    answers = data.answers or []
    for share in (0.5, 0.8):
        areas: dict[str, list[float]] = {}
        outcomes: dict[float, list[tuple[float, float]]] = {0.95: [], 0.98: []}
        for seed in range(seeds):
            learn, judge = split(len(data.prompts), int(share * len(data.prompts)), seed)
            examples = data.examples(learn, sites=False)
            router = LearnedRouter(data.prices, "strong", seed=seed).fit(examples)
            textless = LearnedRouter(data.prices, "strong", seed=seed).fit(data.textless(learn, sites=False))
            scores = {
                "LearnedRouter (question alone)": np.array([router.gain(data.prompts[row]) for row in judge]),
                _TEXTLESS: np.array([textless.gain(data.prompts[row]) for row in judge]),
            }
            for target, found in outcomes.items():
                cascade = Cascade(["weak", "strong"], min_quality=target, seed=seed).fit(examples)
                confidence = np.array([cascade.confidence(data.prompts[row], answers[row][0]) for row in judge])
                scores["Cascade"] = -confidence
                found.append(_cascaded(data, judge, confidence >= cascade.thresholds[0]))
            unfitted = Cascade(["weak", "strong"])
            scores["Cascade before fit"] = -np.array([unfitted.confidence(data.prompts[row], answers[row][0]) for row in judge])
            for name, score in {**scores, **_controls(data, learn, judge, seed)}.items():
                areas.setdefault(name, []).append(apgr(score, data.quality[judge]))
        title = f"GSM8K, {share:.0%} of 528 prompts labelled"
        print(table(f"{title}, {seeds} splits", ("escalated by", "APGR"), [(name, _interval(found)) for name, found in areas.items()]))
        rows = [_decided(f"Cascade, min_quality {target:g}", target, found) for target, found in outcomes.items()]
        print(table(f"{title}: decisions (the weak answer is always paid)", _DECIDED, rows))


def _cascaded(data: Recorded, judge: Any, kept: Any) -> tuple[float, float]:
    answers = data.answers or []
    sent = np.array([len(data.prompts[row]) / 4 for row in judge])
    weak = 0.6 * (sent + np.array([len(answers[row][0]) / 4 for row in judge]))
    strong = 10 * sent + 30 * np.array([len(answers[row][1]) / 4 for row in judge])
    quality = np.where(kept, data.quality[judge, 0], data.quality[judge, 1]).mean() / data.quality[judge, 1].mean()
    return float(quality), float(1 - (weak + np.where(kept, 0, strong)).sum() / strong.sum())


def _escalations(seeds: int) -> None:
    """What a router learns from a cascade's confidence, where it has a hundred labels: `thrift.examples(escalations=True)`."""
    data = _read_gsm8k()
    answers = data.answers or []
    areas: dict[str, list[float]] = {}
    for seed in range(seeds):
        learn, judge = split(len(data.prompts), int(0.8 * len(data.prompts)), seed)
        few, rest = data.examples(learn[:100], sites=False), learn[100:]
        cascade = Cascade(["weak", "strong"], seed=seed).fit(few)
        confidence = {row: cascade.confidence(data.prompts[row], answers[row][0]) for row in rest}
        given = {
            "100 labelled prompts": few,
            "and the cascade's confidence in the weak answers to the others": [
                *few,
                *(Example(data.prompts[row], "weak", confidence[row], answer=answers[row][0]) for row in rest),
            ],
            "and the labels of the weak answers to the others": [
                *few,
                *(Example(data.prompts[row], "weak", float(data.quality[row, 0]), answer=answers[row][0]) for row in rest),
            ],
            "all labels": data.examples(learn, sites=False),
        }
        for name, examples in given.items():
            router = LearnedRouter(data.prices, "strong", seed=seed).fit(examples)
            areas.setdefault(name, []).append(apgr(np.array([router.gain(data.prompts[row]) for row in judge]), data.quality[judge]))
        areas.setdefault("random", []).append(apgr(np.random.default_rng(seed).random(len(judge)), data.quality[judge]))
        areas.setdefault("length", []).append(apgr(np.array([float(len(data.prompts[row])) for row in judge]), data.quality[judge]))
    title = f"GSM8K, 80% of 528 prompts to learn from, LearnedRouter on the question, {seeds} splits"
    print(table(title, ("learned from", "APGR"), [(name, _interval(found)) for name, found in areas.items()]))


def _nine(seeds: int) -> None:
    data = _read_nine()
    names = list(data.prices)
    rows = []
    for target in (0.97, 0.98, 0.995):
        for title, fitted, told, textless in (
            ("question alone", False, False, False),
            ("question alone, sites in fit", True, False, False),
            ("call site", True, True, False),
            ("question alone, without texts", False, False, True),
            ("call site, without texts", True, True, True),
        ):
            outcomes = []
            for seed in range(seeds):
                learn, judge = split(len(data.prompts), len(data.prompts) // 2, seed)
                best = int(data.quality[learn].mean(axis=0).argmax())
                examples = data.textless(learn, sites=fitted) if textless else data.examples(learn, sites=fitted)
                router = LearnedRouter(data.prices, names[best], target, seed=seed).fit(examples)
                sites = data.sites if told else None
                columns = [names.index(str(router.decide(data.prompts[row], sites[row] if sites else None).model)) for row in judge]
                outcomes.append(_outcome(data, judge, columns, int(data.quality[judge].mean(axis=0).argmax())))
            rows.append(_decided(f"{title}, min_quality {target:g}", target, outcomes))
    controls: dict[str, list[tuple[float, float]]] = {}
    for seed in range(seeds):
        learn, judge = split(len(data.prompts), len(data.prompts) // 2, seed)
        best = int(data.quality[judge].mean(axis=0).argmax())
        prices = np.array(list(data.prices.values()))
        for name, columns in (
            ("random", np.random.default_rng(seed).integers(len(names), size=len(judge))),
            ("call-site table, best quality", site_means(data.sites or [], data.quality, learn, judge).argmax(axis=1)),
            ("oracle", (data.quality[judge] - 1e-3 * prices).argmax(axis=1)),
        ):
            controls.setdefault(name, []).append(_outcome(data, judge, list(columns), best))
    rows += [_decided(name, 0.995, found) for name, found in controls.items()]
    print(table(f"Nine models against the best single one, half of the prompts labelled, {seeds} splits", _DECIDED, rows))


def _unseen(seeds: int) -> None:
    rows = []
    for name, data, reference in (("nine models", _read_nine(), None), ("MMLU", _read_mmlu(), 1)):
        sites = np.array(data.sites)
        known = sorted(set(sites))
        names = list(data.prices)
        groups = np.array_split(np.random.default_rng(0).permutation(known), min(seeds, len(known)))
        outcomes: dict[str, list[tuple[float, float]]] = {}
        for group in groups:
            learn, judge = np.flatnonzero(~np.isin(sites, group)), np.flatnonzero(np.isin(sites, group))
            best = int(data.quality[learn].mean(axis=0).argmax()) if reference is None else reference
            router = LearnedRouter(data.prices, names[best], 0.98).fit(data.examples(learn, sites=True))
            textless = LearnedRouter(data.prices, names[best], 0.98).fit(data.textless(learn, sites=True))
            for title, made, told in (
                ("new call site given", router, True),
                ("question alone", router, False),
                ("question alone, without texts", textless, False),
            ):
                columns = [names.index(str(made.decide(data.prompts[row], sites[row] if told else None).model)) for row in judge]
                outcomes.setdefault(title, []).append(_outcome(data, judge, columns, best))
        rows += [_decided(f"{name}, {title}", 0.99, found) for title, found in outcomes.items()]
    print(table("Call sites that were left out of the examples, against the default model", _DECIDED, rows))


def _latency(seeds: int) -> None:
    data = _read_mmlu()
    router = LearnedRouter(data.prices, "strong")
    rows = list(range(5_000))
    LearnedRouter(data.prices, "strong").fit(data.examples(rows[:50], sites=True))  # loads scikit-learn
    started, used = time.perf_counter(), time.process_time()
    router.fit(data.examples(rows, sites=True))
    fitted, used = time.perf_counter() - started, time.process_time() - used
    gsm8k = _read_gsm8k()
    cascade = Cascade(["weak", "strong"]).fit(gsm8k.examples(range(len(gsm8k.prompts)), sites=False))
    answers = gsm8k.answers or []
    cells = []
    for name, call, times in (
        (
            "decide, MMLU prompts with call site",
            lambda row: router.decide(data.prompts[row], data.sites[row] if data.sites else None),
            2_000,
        ),
        ("decide, question alone", lambda row: router.decide(data.prompts[row]), 2_000),
        ("decide, prompts of 1 MB", lambda row: router.decide(f"{row} " + "word " * 200_000), 50),
        ("confidence, GSM8K answers", lambda row: cascade.confidence(gsm8k.prompts[row], answers[row][0]), len(answers)),
    ):
        taken, worked = [], []
        for row in range(times):
            started, used_before = time.perf_counter(), time.thread_time()
            call(row)
            worked.append((time.thread_time() - used_before) * 1e3)
            taken.append((time.perf_counter() - started) * 1e3)
        cells.append((name, *(f"{np.quantile(each, share):.2f} ms" for each in (taken, worked) for share in (0.5, 0.95))))
    print(
        table(
            f"Latency; fit of 10,000 rows {fitted:.1f} s, {used:.1f} s of one core; state {len(router.to_bytes()) / 1e6:.1f} MB",
            ("what", "p50", "p95", "p50 of its own thread's time", "p95"),
            cells,
        )
    )


if __name__ == "__main__":
    main()
