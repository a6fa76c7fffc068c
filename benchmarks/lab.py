"""A thousand mixed queries through the lab's middleware: what cascade and cache save against the largest model, at which quality.

    python -m benchmarks.lab --data DIR [--queries 1000] [--seed 0]

Half of the queries are arithmetic (GSM8K), half knowledge (MMLU), drawn with natural repeats (Zipf, exponent 0.7), through LangChain's
client against a provider on loopback that answers as gpt-4-1106-preview and Mixtral-8x7B did when they were recorded. The middleware is
the one of `docs/lab.md`, read from that page. "Fitted" cascades have learned from judged answers to 264 other questions of each
kind. Of knowledge no answer's text was recorded: a letter stands for it, in which there is little to check.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
from langchain_openai import ChatOpenAI

from benchmarks.measure import table
from llmthrift_core import Thrift
from llmthrift_core.routing import Cascade, CascadePolicy, Example
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Question

PAGE = Path(__file__).parents[1] / "docs" / "lab.md"
LARGE, SMALL = "gpt-4-1106-preview", "mixtral-8x7b-instruct"
PRICES = {SMALL: {"input_usd_per_million": "0.6", "output_usd_per_million": "0.6"}}
_POPULARITY = 0.7
PUBLISHED = "55-65%"


def main() -> None:
    """Send, and print beside what was published."""
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options.add_argument("--queries", type=int, default=1_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    if not (given.data / "routellm_gsm8k.csv.gz").exists():
        print(f"Nothing is measured: {given.data} is absent")
        return
    rng = np.random.default_rng(given.seed)
    arithmetic, knowledge = _arithmetic(given.data), _knowledge(given.data)
    knowledge = [knowledge[place] for place in rng.permutation(len(knowledge))]
    order = rng.permutation(len(arithmetic))
    half = len(order) // 2
    learned = [*(arithmetic[place] for place in order[:half]), *knowledge[:half]]
    asked = [arithmetic[place] for place in order[half:]]
    queries = [*_drawn(asked, given.queries // 2, rng), *_drawn(knowledge[half:], given.queries - given.queries // 2, rng)]
    queries = [queries[place] for place in rng.permutation(len(queries))]
    rows = []
    for name, min_quality in (("as on the page, nothing learned", None), ("fitted, keeps 95%", 0.95), ("fitted, keeps 98%", 0.98)):
        cascade = Cascade([SMALL, LARGE], min_quality=min_quality or 0.98)
        if min_quality is not None:
            both = [(each, model) for each in learned for model in (SMALL, LARGE)]
            cascade.fit([Example(each["prompt"], model, each[model][1], answer=each[model][0]) for each, model in both])
        rows.append((name, *_sent(queries, cascade), PUBLISHED))
    title = f"{len(queries):,} mixed queries, {len({each['prompt'] for each in queries}):,} of them different"
    print(table(title, ("cascade", "always the largest", "spent", "saved", "quality", "of the largest's", "published"), rows))


def _sent(queries: list[dict[str, Any]], cascade: Cascade) -> tuple[str, ...]:
    known = {each["prompt"]: each for each in queries}

    def answer(question: Question) -> str:
        text: str = known[question.last_user_text][question.model][0]
        return text

    with LoopbackProvider(answer, snapshots={}) as provider, Thrift(":memory:", prices=PRICES) as thrift:
        models = {
            name: ChatOpenAI(model=name, base_url=provider.openai_url, api_key="none", max_retries=0, max_tokens=1_000)
            for name in (SMALL, LARGE)
        }
        lab = _middleware()(thrift, models, daily_usd=100, policy=CascadePolicy(cascade))
        quality = []
        for each in queries:
            found = lab.ask(each["prompt"])
            texts = {text.strip(): score for text, score in (each[SMALL], each[LARGE])}
            quality.append(texts.get(found["response"].strip(), 0.0))
        savings = thrift.savings()
    largest = float(np.mean([each[LARGE][1] for each in queries]))
    mean = float(np.mean(quality))
    dollars = f"${savings.without_usd:.2f}", f"${savings.spent_usd:.2f}", f"{savings.saved_share or 0:.1%}"
    return (*dollars, f"{mean:.3f}", f"{mean / largest:.1%}")


def _middleware() -> Any:
    """The class on the page."""
    found = re.search(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    scope: dict[str, Any] = {"__name__": "lab"}
    exec(compile(found[1], str(PAGE), "exec"), scope)
    return scope["CostAware"]


def _drawn(rows: list[dict[str, Any]], count: int, rng: Any) -> list[dict[str, Any]]:
    weights = 1.0 / np.arange(1, len(rows) + 1) ** _POPULARITY
    order = rng.permutation(len(rows))
    return [rows[order[place]] for place in rng.choice(len(rows), count, p=weights / weights.sum())]


def _arithmetic(data: Path) -> list[dict[str, Any]]:
    names = ((SMALL, "weak"), (LARGE, "strong"))
    return [
        {"prompt": row["prompt"], **{model: (f"{row[f'{name}_answer']}\n", float(row[f"{name}_correct"])) for model, name in names}}
        for row in _rows(data / "routellm_gsm8k.csv.gz")
    ]


def _knowledge(data: Path) -> list[dict[str, Any]]:
    """Only whether an answer was right is recorded: a right one is a text, a wrong one another."""
    names = ((SMALL, "weak"), (LARGE, "strong"))
    return [
        {"prompt": row["prompt"], **{model: (_letter(number, name, row), float(row[f"{name}_correct"])) for model, name in names}}
        for number, row in enumerate(_rows(data / "routellm_mmlu.csv.gz"))
    ]


def _letter(number: int, name: str, row: dict[str, str]) -> str:
    right = number % 4
    return f"The answer is {'ABCD'[right if row[f'{name}_correct'] == '1' else (right + 1) % 4]}. [{number}-{name}]"


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
