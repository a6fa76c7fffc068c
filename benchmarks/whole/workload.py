"""A mixed workload: support, conversations with tools, documents, knowledge and arithmetic, as requests in time order.

Each part has a fixed share of the naive dollars; how many requests that makes follows from the prompts and the prices. What the
recordings do not have stands in, and is said here: answers of models that were recorded with a score alone are a line of text, a support
answer is its intent and the standard reply to that intent, and a conversation's tools are described by the arguments that were seen.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmthrift_core.testing.answers import Answer, Question, ToolCall, count_exchange

SHARES: Final[Mapping[str, float]] = {
    "support": 0.40,
    "conversations": 0.25,
    "documents": 0.15,
    "knowledge (two models)": 0.13,
    "knowledge (nine models)": 0.02,
    "arithmetic": 0.05,
}
STRONG, WEAK, SUPPORT, AGENT = "gpt-4-1106-preview", "mixtral-8x7b-instruct", "gpt-4o", "claude-sonnet-4-5"
BEST_OF_NINE: Final = "llama-3.1-nemotron-51b-instruct"
_USD_PER_MILLION: Final = {STRONG: (10.0, 30.0), SUPPORT: (2.5, 10.0), AGENT: (3.0, 15.0)}  # to size the parts; bills go by the price lists
WEAK_USD_PER_MILLION: Final = 0.6
_SECONDS_BETWEEN_REQUESTS: Final = 5.0
_SECONDS_BETWEEN_TURNS: Final = 10.0
_DOCUMENTS: Final = 20
_POPULARITY: Final = 1.0  # Zipf's exponent: the k-th most popular question is asked 1/k times as often as the first


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a model answered, and how good that was."""

    text: str
    quality: float
    tool_call: tuple[str, Mapping[str, Any]] | None = None

    def answer(self) -> Answer:
        """As the loopback provider gives it."""
        return Answer(self.text, (ToolCall(*self.tool_call),) if self.tool_call else ())


@dataclass(slots=True)
class Asked:
    """One request.

    Attributes:
        part: of the workload.
        at: seconds since the beginning.
        call_site: where the application makes it.
        question: what is judged with the answer.
        messages: in OpenAI's shape.
        answers: by model.
        naive: the model that answers without llmthrift.
        right: the intent, or the words that must be in the prompt.
        tools: in OpenAI's shape.
    """

    part: str
    at: float
    call_site: str
    question: str
    messages: Sequence[Mapping[str, Any]]
    answers: Mapping[str, Recorded]
    naive: str
    right: str = ""
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass
class Workload:
    """The requests in time order, and the nine models' prices."""

    requests: list[Asked]
    nine_usd_per_million: Mapping[str, float] = field(default_factory=dict)


def read_workload(data: Path, requests: int, seed: int) -> Workload:
    """About so many requests, drawn from the recordings with fixed shares of the naive dollars."""
    rng = np.random.default_rng(seed)
    nine_prices = _nine_prices(data)
    sources = {
        "support": _support(data, rng, requests),
        "conversations": _conversations(data, rng),
        "documents": _documents(data, rng),
        "knowledge (two models)": _two_models(data, rng),
        "knowledge (nine models)": _nine_models(data, rng),
        "arithmetic": _arithmetic(data, rng),
    }
    usd_per_million = {**_USD_PER_MILLION, **{name: (price, price) for name, price in nine_prices.items()}}
    parts = {name: [(each, sum(_usd(one, usd_per_million) for one in each)) for each in source] for name, source in sources.items()}
    low, high = 0.0, min(sum(usd for _, usd in units) / SHARES[name] for name, units in parts.items())
    for _ in range(40):  # the dollars that make so many requests
        middle = (low + high) / 2
        if sum(len(unit) for name, units in parts.items() for unit in _worth(units, middle * SHARES[name])) < requests:
            low = middle
        else:
            high = middle
    chosen = {name: _worth(units, high * SHARES[name]) for name, units in parts.items()}
    seconds = _SECONDS_BETWEEN_REQUESTS * sum(len(unit) for units in chosen.values() for unit in units)
    found: list[Asked] = []
    for units in chosen.values():
        for unit, start in zip(units, np.sort(rng.uniform(0, seconds, len(units))), strict=True):
            for turn, asked in enumerate(unit):
                asked.at = float(start) + turn * _SECONDS_BETWEEN_TURNS
                found.append(asked)
    found.sort(key=lambda each: each.at)
    return Workload(found, nine_prices)


def _worth(units: list[tuple[list[Asked], float]], usd: float) -> list[list[Asked]]:
    """The first units that are worth so many dollars."""
    found, spent = [], 0.0
    for unit, price in units:
        if spent + price / 2 > usd:
            break
        found.append(unit)
        spent += price
    return found


def _usd(asked: Asked, usd_per_million: Mapping[str, tuple[float, float]]) -> float:
    messages = [(str(each["role"]), str(each.get("content") or "") + json.dumps(each.get("tool_calls") or "")) for each in asked.messages]
    tools = {each["function"]["name"]: each["function"]["parameters"] for each in asked.tools}
    sent, received = count_exchange(Question(asked.naive, messages, tools), asked.answers[asked.naive].answer())
    prices = usd_per_million[asked.naive]
    return (sent * prices[0] + received * prices[1]) / 1e6


# --- the parts ---


def _support(data: Path, rng: Any, most: int) -> Iterator[list[Asked]]:
    rows = list({row["text"].strip(): row["intent"] for row in _csv(data / "banking77.csv.gz")}.items())
    order = rng.permutation(len(rows))
    weights = 1.0 / np.arange(1, len(rows) + 1) ** _POPULARITY
    system = _support_prompt(sorted({intent for _, intent in rows}))
    for rank in rng.choice(len(rows), most, p=weights / weights.sum()):
        text, intent = rows[order[rank]]
        subject = intent.replace("_", " ").strip("?").lower()
        reply = (
            f"Intent: {intent}\nThis is about {subject}. Our help page on {subject} tells step by step what to do in the app, "
            "how long it takes, what it costs, and whom to call if it does not work."
        )
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        yield [Asked("support", 0, "support", text, messages, {SUPPORT: Recorded(reply, 1.0)}, SUPPORT, intent)]


def _support_prompt(intents: Sequence[str]) -> str:
    return (
        "You answer customers of a bank by chat. First write the line 'Intent: ' with the one intent of this list that fits best, then a "
        "short and friendly reply that names the help page. Never ask for card numbers, PINs or passwords, never promise a date or an "
        "amount, and answer in the language of the customer. If the customer is upset, say that you are sorry first.\n\n"
        f"Intents: {', '.join(intents)}."
    )


def _conversations(data: Path, rng: Any) -> Iterator[list[Asked]]:
    rows = _jsonl(data / "agent_conversations.jsonl.gz")
    tools = _tools(rows)
    for number in rng.permutation(len(rows)):
        messages = rows[number]["messages"]
        unit = []
        for end, message in enumerate(messages):
            if message["role"] != "assistant" or not end:
                continue
            call = (message.get("tool_calls") or [None])[0]
            named = None if call is None else (call["function"]["name"], json.loads(call["function"]["arguments"]))
            recorded = Recorded("" if named else str(message["content"]), 1.0, named)
            question = next(str(each["content"]) for each in reversed(messages[:end]) if each["role"] == "user")
            unit.append(Asked("conversations", 0, "agent", question, messages[:end], {AGENT: recorded}, AGENT, tools=tools))
        yield unit


def _tools(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        for message in row["messages"]:
            for call in message.get("tool_calls") or ():
                seen.setdefault(call["function"]["name"], {}).update({key: {} for key in json.loads(call["function"]["arguments"])})
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": f"{name.replace('_', ' ').capitalize()}.",
                "parameters": {"type": "object", "properties": dict(sorted(properties.items()))},
            },
        }
        for name, properties in sorted(seen.items())
    ]


def _documents(data: Path, rng: Any) -> Iterator[list[Asked]]:
    rows = list(_csv(data / "paragraph_questions.csv.gz"))
    texts = {_paragraph(row): row["context"] for row in rows if row["context"]}
    by_language = {language: [key for key in texts if key[0] == language] for language in {row["language"] for row in rows}}
    for number in rng.permutation(len(rows)):
        row = rows[number]
        own = _paragraph(row)
        others = [key for key in by_language[row["language"]] if key != own]
        keys = [own, *(others[place] for place in rng.choice(len(others), _DOCUMENTS - 1, replace=False))]
        listed = "\n\n".join(f"[{place}] {texts[keys[at]]}" for place, at in enumerate(rng.permutation(len(keys)), 1))
        prompt = f"Answer the question from these documents, in a few words.\n\n{listed}\n\nQuestion: {row['question']}"
        recorded = {SUPPORT: Recorded(f"{row['answer']} [{number}]", 1.0)}
        messages = [{"role": "user", "content": prompt}]
        yield [Asked("documents", 0, "documents", row["question"], messages, recorded, SUPPORT, row["answer"])]


def _paragraph(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["language"], row["article"], row["paragraph"]


def _two_models(data: Path, rng: Any) -> Iterator[list[Asked]]:
    rows = list(_csv(data / "routellm_mmlu.csv.gz"))
    for number in rng.permutation(len(rows)):
        row = rows[number]
        right = _number(row["prompt"]) % 4
        answers = {
            model: Recorded(f"The answer is {'ABCD'[right if quality else (right + 1) % 4]}. [{number}-{name}]", quality)
            for name, model in (("weak", WEAK), ("strong", STRONG))
            for quality in [float(row[f"{name}_correct"])]
        }
        yield [Asked("knowledge (two models)", 0, row["call_site"], row["prompt"], _asking(row["prompt"]), answers, STRONG)]


def _nine_models(data: Path, rng: Any) -> Iterator[list[Asked]]:
    rows = _jsonl(data / "llmrouter_scores.jsonl.gz")[1:]
    for number in rng.permutation(len(rows)):
        row = rows[number]
        answers = {model: Recorded(_stand_in(row["question"], number, model), float(score)) for model, score in row["scores"].items()}
        question = row["question"]
        yield [Asked("knowledge (nine models)", 0, row["call_site"], question, _asking(question), answers, BEST_OF_NINE)]


def _arithmetic(data: Path, rng: Any) -> Iterator[list[Asked]]:
    rows = list(_csv(data / "routellm_gsm8k.csv.gz"))
    for number in rng.permutation(len(rows)):
        row = rows[number]
        answers = {
            model: Recorded(f"{row[f'{name}_answer']}\n", float(row[f"{name}_correct"]))
            for name, model in (("weak", WEAK), ("strong", STRONG))
        }
        yield [Asked("arithmetic", 0, "arithmetic", row["prompt"], _asking(row["prompt"]), answers, STRONG)]


def _asking(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def _stand_in(question: str, number: int, model: str) -> str:
    """Sixty words for an answer that was not recorded, the same length for every model."""
    words = " ".join(["so", "it", "follows", "step", "by", "step"] * 10)
    return f"{words}. [{number} {model} {_number(question) % 1_000}]"


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


def _nine_prices(data: Path) -> dict[str, float]:
    listed = _jsonl(data / "llmrouter_scores.jsonl.gz")[0]["prices_usd_per_million_tokens"]
    return {model: float(price["input"]) for model, price in listed.items()}


def _csv(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _jsonl(path: Path) -> list[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]
