"""Routing policies as decision models: how well their probabilities are calibrated, and the processor time of a decision.

    python -m benchmarks.decisions [--data FOLDER]

On recorded answers of two models to MMLU (`routellm_mmlu.csv.gz`): a learned router is fitted on 1,500 prompts, probabilities are
calibrated on 1,000 others, and judged on the rest: the expected calibration error over ten bins of equal size, and Brier's score. Beside
them the time of a decision model that always says the same, which is LangChain's own. Data: `--data`, or `../shared/data` (skipped where
absent).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.decisions import BaseDecisionModel, Choice, ChoiceAnswer, ClassifierResponse
from langchain_core.messages import HumanMessage

from benchmarks.measure import table
from llmthrift_core import attribute
from llmthrift_core.routing import Complexity, Example, LearnedRouter
from llmthrift_langchain import RoutingDecisionModel

DATA = Path(__file__).parents[2] / "shared" / "data"
TIERS = ("weak", "strong")
BINS = 10
Row = dict[str, str]


def examples(rows: Sequence[Row]) -> list[Example]:
    """Both models' judged answers."""
    return [Example(row["prompt"], tier, float(row[f"{tier}_correct"]), row["call_site"]) for row in rows for tier in TIERS]


def decide(model: BaseDecisionModel, row: Row) -> float:
    """The probability that the weak model's answer is good enough."""
    question = Choice(instructions="Which model?", criteria=dict.fromkeys(TIERS))
    request: Any = {"state": HumanMessage(row["prompt"]), "questions": {"route": question}}
    with attribute(call_site=row["call_site"]):
        return model.invoke(request).choices["route"].probabilities["weak"]


def judged(model: RoutingDecisionModel, rows: Sequence[Row]) -> tuple[str, str]:
    """The calibration error, and Brier's score."""
    pairs = sorted(((decide(model, row), float(row["weak_correct"])) for row in rows), key=lambda pair: pair[0])
    error = 0.0
    for place in range(BINS):
        part = pairs[place * len(pairs) // BINS : (place + 1) * len(pairs) // BINS]
        error += abs(sum(said for said, _ in part) - sum(found for _, found in part)) / len(pairs)
    return f"{error:.3f}", f"{sum((said - found) ** 2 for said, found in pairs) / len(pairs):.3f}"


class Same(BaseDecisionModel):
    """Says the same of every request."""

    model: str = "same"

    @property
    def _provider(self) -> str:
        return "none"

    def _classify(self, state: Any, questions: Any) -> ClassifierResponse:
        answer = ChoiceAnswer(type="choice", choice="weak", probabilities={"weak": 0.5, "strong": 0.5}, confidence=0.5)
        return ClassifierResponse(model=self.model, answers={"route": answer})


def milliseconds(model: BaseDecisionModel, rows: Sequence[Row]) -> str:
    """Processor time of a decision."""
    started = time.process_time()
    for row in rows:
        decide(model, row)
    return f"{(time.process_time() - started) / len(rows) * 1e3:.2f}"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=DATA)
    file = options.parse_args().data / "routellm_mmlu.csv.gz"
    if not file.exists():
        print(f"skipped: there is no {file}")
        return
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        rows: list[Row] = list(csv.DictReader(lines))
    random.Random(0).shuffle(rows)
    learned_on, calibrated_on, rest = rows[:1500], rows[1500:2500], rows[2500:]
    router = LearnedRouter({"weak": 0.6, "strong": 12.0}).fit(examples(learned_on))
    found = []
    for name, policy in (("LearnedRouter", router), ("Complexity", Complexity())):
        model = RoutingDecisionModel(policy, tiers=TIERS)
        before = judged(model, rest)
        after = judged(model.fit(examples(calibrated_on)), rest)
        found.append([name, *before, *after, milliseconds(model, rest[:500])])
    found.append(["always the same", "", "", "", "", milliseconds(Same(), rest[:500])])
    right = sum(row["weak_correct"] == "1" for row in rest) / len(rest)
    title = f"{len(rest):,} prompts, of which the weak model answered {right:.0%} rightly:"
    print(table(title, ["", "calibration error", "Brier", "error, fitted", "Brier, fitted", "ms a decision"], found))


if __name__ == "__main__":
    main()
