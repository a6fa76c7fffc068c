"""Input dollars of agents' conversations after the provider's cache, and whether what is used later is still in the prompt."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.prompts.questions import data_file
from llmthrift_core.display import percent, plain_table
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.prompts.counting import tokens_of_message
from llmthrift_core.prompts.messages import text_of

MODEL: Final = "gpt-4o"
WRITE, READ = 1.25, 0.1
Messages = list[dict[str, Any]]
Shortener = Callable[[Messages], Messages]
# Identifiers, numbers and dates: what an answer takes over as it is.
_VALUE: Final = re.compile(r"[A-Za-z]*\d[\w.:-]*|[A-Z]{3,}\w*|\w+_\w+")


def conversations(every: int = 1) -> list[Messages]:
    """The messages of each conversation of the data. Ends the program where it is absent."""
    with gzip.open(data_file("agent_conversations.jsonl.gz"), "rt", encoding="utf-8") as file:
        return [json.loads(line)["messages"] for line in file][::every]


@dataclass
class Bill:
    """What calls cost in plain input tokens, and the values that later steps use."""

    dollars: float = 0.0
    sent: int = 0
    used: int = 0
    kept: int = 0
    prefix: list[str] = field(default_factory=list)

    def call(self, messages: Messages) -> None:
        """Bill one call: what begins like the call before is read from the cache, the rest is written to it."""
        said = [json.dumps(message, sort_keys=True) for message in messages]
        same = next(
            (at for at, (one, other) in enumerate(zip(said, self.prefix, strict=False)) if one != other), min(len(said), len(self.prefix))
        )
        sizes = [tokens_of_message(message, MODEL) for message in messages]
        self.sent += sum(sizes)
        self.dollars += READ * sum(sizes[:same]) + WRITE * sum(sizes[same:])
        self.prefix = said

    def look(self, before: Messages, sent: Messages, step: dict[str, Any]) -> None:
        """Count the values of the next step that stand in a result before it, and those that are still in the prompt."""
        results = "\n".join(text_of(message) for message in before if message["role"] == "tool")
        prompt = "\n".join(_read(message) for message in sent)
        for value in values_of(step):
            if _stands(value, results):
                self.used += 1
                self.kept += _stands(value, prompt)


def values_of(step: dict[str, Any]) -> Iterator[str]:
    """Identifiers, numbers and dates in an answer and in the arguments of tool calls."""
    calls = step.get("tool_calls") or []
    text = "\n".join([text_of(step), *(str(call["function"]["arguments"]) for call in calls)])
    for match in _VALUE.finditer(text.replace(",", "")):
        value = match.group().rstrip(".:-")
        if len(value) > 1:
            yield value


def _stands(value: str, text: str) -> bool:
    """Whether a value stands in a text by itself, or at the beginning of one: 14:00 in 14:00:00."""
    return re.search(rf"(?<![\w.]){re.escape(value)}(?!\d)", text) is not None


def _read(message: dict[str, Any]) -> str:
    return text_of(message) + "".join(str(call["function"]["arguments"]) for call in message.get("tool_calls") or [])


def billed(talks: Sequence[Messages], shorten: Shortener) -> Bill:
    """All the conversations, each answer of the agent a call with all that came before it."""
    whole = Bill()
    for talk in talks:
        bill = Bill()
        for end, message in enumerate(talk):
            if message["role"] == "assistant" and end:
                sent = shorten(talk[:end])
                bill.call(sent)
                bill.look(talk[:end], sent, message)
        for name in ("dollars", "sent", "used", "kept"):
            setattr(whole, name, getattr(whole, name) + getattr(bill, name))
    return whole


def shorteners() -> dict[str, Shortener]:
    """What is compared, by its name."""

    def ours(shorten: Shorten) -> Shortener:
        return lambda messages: shorten(messages, MODEL).messages  # type: ignore[no-any-return]

    def without_results(messages: Messages) -> Messages:
        return [{**message, "content": ""} if message["role"] == "tool" else message for message in messages]

    def trimmed(messages: Messages) -> Messages:
        from langchain_core.messages import convert_to_messages, convert_to_openai_messages, trim_messages

        kept = trim_messages(
            convert_to_messages(messages), max_tokens=3_000, token_counter="approximate", include_system=True, start_on="human"
        )
        return convert_to_openai_messages(kept)  # type: ignore[return-value]

    steps_of = {
        "Shorten.lossless()": Shorten.lossless(),
        "and like objects as columns": Shorten([steps.Whitespace(), steps.Compact(max_tokens=None), steps.Duplicates()]),
        "and handles from 700 tokens": Shorten([steps.Whitespace(), steps.Compact(max_tokens=700), steps.Duplicates()]),
        "and handles from 300 tokens": Shorten([steps.Whitespace(), steps.Compact(max_tokens=300), steps.Duplicates()]),
        "the last 4 turns (breaks the prefix)": Shorten([steps.Whitespace(), steps.Compact(max_tokens=None), steps.History(max_turns=4)]),
    }
    return {
        "as it is": lambda messages: messages,
        **{name: ours(each) for name, each in steps_of.items()},
        "LangChain trim_messages, 3,000 tokens": trimmed,
        "no tool results at all": without_results,
    }


def agents(every: int) -> None:
    """Input dollars against no shortening, the provider's cache priced in, and values used later that are still there."""
    talks = conversations(every)
    rows = []
    plain: Bill | None = None
    for name, shorten in shorteners().items():
        bill = billed(talks, shorten)
        plain = plain or bill
        rows.append([name, percent(1 - bill.sent / plain.sent), percent(1 - bill.dollars / plain.dollars), percent(bill.kept / bill.used)])
    calls = sum(message["role"] == "assistant" for talk in talks for message in talk)
    used = plain.used if plain else 0
    print(f"{len(talks)} conversations, {calls:,} calls; cache writes at {WRITE}, reads at {READ}; {used:,} values used later")
    print(plain_table(["", "tokens saved", "dollars saved", "values there"], rows))
