"""What could be spared of a prompt, and what it would save."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import takewhile
from typing import Any, Final

from llmthrift_core.display import counted
from llmthrift_core.prompts.counting import tokens_of_text
from llmthrift_core.prompts.messages import SYSTEM, USER, called_tools, role_of, text_of
from llmthrift_core.prompts.parts import ReadMessage

_SYSTEM_SHARE: Final = 0.4
_LEAST_SYSTEM: Final = 50  # tokens: two sentences are no long system prompt, however short the rest is
_KEPT_EXAMPLES: Final = 2
_LONG_MESSAGE: Final = 4_000  # tokens
_KEPT_TURNS: Final = 3
_LEAST_STATIC: Final = 50  # tokens: less after a date is not worth moving it
_NAMED: Final = 5  # tools
_SAME_FROM: Final = 80  # characters: shorter paragraphs come twice by chance
_WORDS: Final = re.compile(r"\w+")
_VOLATILE: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?|\b\d{1,2}:\d{2}(?::\d{2})?\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b"
    r"|\b20\d\d[/.]\d{1,2}[/.]\d{1,2}\b|20\d\d ?[年년] ?\d{1,2} ?[月월] ?\d{1,2} ?[日일]"
    # "3. März 2026", "1 de diciembre de 2026", "1er décembre 2026", "Dec 1st, 2026": a day, a word, a year, whatever the language
    r"|\b\d{1,2}(?:\.|st|nd|rd|th|er|º)?,? (?:de |of )?[^\W\d_]{3,12}\.?,? (?:de |of )?20\d\d\b"
    r"|\b[^\W\d_]{3,12}\.? \d{1,2}(?:st|nd|rd|th)?, 20\d\d\b"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b|\b(?:January|February|March|April|June|July|August|September|October|November|December)\s+\d{1,2}\b"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{16,64}\b|\b1[67]\d{8}(?:\d{3})?\b"
    r"|\b(?:session|request|trace|conversation|run|user)[ _-]?id\b\W{1,3}[\w-]{4,}"
    r"|\b(?:req|sess|run|trace|thread|conv|msg)_(?=\w*\d)\w{8,}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Something that could be spared.

    Attributes:
        kind: "system_prompt", "examples", "long_message", "unused_tools", "duplicate_documents", "history_resent" or "volatile_prefix".
        text: which part it is about, and what to do.
        saved_tokens: input tokens of a call; for a volatile prefix, those that could be read from the provider's cache.
        saved_usd: dollars of a call; None where no price is known.
    """

    kind: str
    text: str
    saved_tokens: int
    saved_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Costs:
    """Input prices of a model.

    Attributes:
        price: (tokens, tokens of them read from the provider's cache) to dollars, or None where no price is known.
    """

    price: Callable[[int, int], Decimal | None]

    def of(self, tokens: int) -> Decimal | None:
        """The full input price."""
        return self.price(tokens, 0)

    def cached(self, tokens: int) -> Decimal | None:
        """What reading them from the provider's cache saves."""
        full, read = self.price(tokens, 0), self.price(tokens, tokens)
        return None if full is None or read is None else full - read


def suggestions_for(
    messages: Sequence[Any],
    read: Sequence[ReadMessage],
    tools: Sequence[str],
    tool_tokens: Sequence[int],
    parts: Mapping[str, int],
    costs: Costs,
) -> tuple[Suggestion, ...]:
    """What could be spared, the largest saving first."""
    found = [
        _system_prompt(parts),
        _examples(read, parts),
        *_long_messages(read),
        _unused_tools(messages, tools, tool_tokens),
        _duplicates(read),
        _history(messages, read, parts),
    ]
    whole = [
        Suggestion(kind, text, saved, costs.of(saved)) for each in found if each is not None for kind, text, saved in [each] if saved > 0
    ]
    if (volatile := _volatile(messages)) is not None:
        text, tokens = volatile
        whole.append(Suggestion("volatile_prefix", text, tokens, costs.cached(tokens)))
    return tuple(sorted(whole, key=lambda each: (-(each.saved_usd or 0), -each.saved_tokens)))


def _system_prompt(parts: Mapping[str, int]) -> tuple[str, str, int] | None:
    system, total = parts["system"], sum(parts.values())
    if system < _LEAST_SYSTEM or system <= _SYSTEM_SHARE * total:
        return None
    # What must go until the rest is 40%: (system - x) = 0.4 (total - x).
    saved = round((system - _SYSTEM_SHARE * total) / (1 - _SYSTEM_SHARE))
    return "system_prompt", f"The system prompt is {system / total:.0%} of the tokens; shorten it to {_SYSTEM_SHARE:.0%}", saved


def _examples(read: Sequence[ReadMessage], parts: Mapping[str, int]) -> tuple[str, str, int] | None:
    number = sum(message.examples for message in read)
    if number <= _KEPT_EXAMPLES:
        return None
    saved = parts["examples"] * (number - _KEPT_EXAMPLES) // number
    return "examples", f"The prompt has {number} examples; keep the {_KEPT_EXAMPLES} nearest to the question (steps.Examples)", saved


def _long_messages(read: Sequence[ReadMessage]) -> list[tuple[str, str, int]]:
    names = {"system": "system prompt", "tool_results": "tool result", "documents": "documents", "question": "question"}
    found = []
    for message in read:
        if message.tokens > _LONG_MESSAGE:
            largest = max(message.by_part, key=message.by_part.__getitem__)
            text = (
                f"Message {message.index + 1} ({message.role or 'no role'}) has {counted(message.tokens, 'token')}, most of them of the "
                f"{names.get(largest, largest)}; shorten it to {_LONG_MESSAGE:,}"
            )
            found.append(("long_message", text, message.tokens - _LONG_MESSAGE))
    return found


def _unused_tools(messages: Sequence[Any], tools: Sequence[str], tokens: Sequence[int]) -> tuple[str, str, int] | None:
    called = called_tools(messages)
    unused = [(name, size) for name, size in zip(tools, tokens, strict=True) if name and name not in called]
    if not unused:
        return None
    text = f"The tools {some_of([name for name, _ in unused])} are never called in these messages; send fewer tool definitions"
    return "unused_tools", text, sum(size for _, size in unused)


def some_of(names: Sequence[str]) -> str:
    """The first five names, and how many there are besides."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _duplicates(read: Sequence[ReadMessage]) -> tuple[str, str, int] | None:
    seen: set[str] = set()
    saved = times = 0
    for message in read:
        for document in message.documents:
            if len(document) < _SAME_FROM:
                continue
            key = " ".join(_WORDS.findall(document.lower()))
            if key in seen:
                times += 1
                saved += tokens_of_text(document)
            seen.add(key)
    if not times:
        return None
    return (
        "duplicate_documents",
        f"{counted(times, 'document comes', 'documents come')} more than once; send each once (steps.Duplicates)",
        saved,
    )


def _history(messages: Sequence[Any], read: Sequence[ReadMessage], parts: Mapping[str, int]) -> tuple[str, str, int] | None:
    turns = [message.index for message in read if message.role in USER and {"history", "question"} & message.by_part.keys()]
    if len(turns) <= _KEPT_TURNS:
        return None
    border = turns[-_KEPT_TURNS]
    old = sum(
        tokens
        for message in read
        if message.index < border
        for part, tokens in message.by_part.items()
        if part in ("history", "tool_results", "documents", "media") and role_of(messages[message.index]) not in SYSTEM
    )
    text = (
        f"The history of {counted(len(turns) - 1, 'turn')} is resent with every call, its first turn "
        f"{counted(len(turns) - 1, 'time')} by now; "
        f"keep the last {_KEPT_TURNS} (steps.History)"
    )
    return ("history_resent", text, old) if old > 0.1 * sum(parts.values()) else None


def _volatile(messages: Sequence[Any]) -> tuple[str, int] | None:
    """A date or an id in the system prompt with static text after it, which no provider then finds in its cache."""
    rules = [text_of(message) for message in takewhile(lambda message: role_of(message) in SYSTEM, messages)]
    for place, text in enumerate(rules):
        match = _VOLATILE.search(text)
        if match is None:
            continue
        static = sum(map(tokens_of_text, [text[match.end() :], *rules[place + 1 :]]))
        if static < _LEAST_STATIC:
            return None
        shown = " ".join(match.group().split())[:40]
        text = (
            f'The system prompt has "{shown}" before {counted(static, "token")} that may be the same in every call; put it last, '
            "so that the provider's cache holds what comes before"
        )
        return text, static
    return None
