"""A conversation by its parts: what of each message is system prompt, example, history, document, result, question, media."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmthrift_core.prompts.counting import (
    tokens_of_calls,
    tokens_of_frame,
    tokens_of_other_parts,
    tokens_of_text,
)
from llmthrift_core.prompts.messages import SYSTEM, USER, holds_result, question_index, role_of, texts_of
from llmthrift_core.prompts.regions import Regions, paragraphs_of, regions_of_asked, regions_of_system

PARTS: Final = ("system", "tools", "examples", "history", "documents", "tool_results", "question", "media")
_READ_FROM: Final = 240  # characters: a shorter text holds no documents
_EXAMPLE_NAME: Final = re.compile(r"example", re.IGNORECASE)
_LABEL: Final = re.compile(r"\s*[\w ]{1,30}[:：]")


@dataclass(slots=True)
class ReadMessage:
    """One message.

    Attributes:
        index: its place.
        role: as it says itself.
        by_part: tokens of each part in it; their sum is all of the message.
        documents: the texts of its documents, paragraph by paragraph.
        examples: how many worked examples it has.
    """

    index: int
    role: str
    by_part: dict[str, int] = field(default_factory=dict)
    documents: list[str] = field(default_factory=list)
    examples: int = 0

    @property
    def tokens(self) -> int:
        """All of the message, with what frames it."""
        return sum(self.by_part.values())

    def add(self, part: str, tokens: int) -> None:
        """Count tokens of a part."""
        if tokens:
            self.by_part[part] = self.by_part.get(part, 0) + tokens


def read_messages(messages: Sequence[Any], model: str | None) -> list[ReadMessage]:
    """Each message with the tokens of its parts."""
    asked = question_index(messages)
    shown = example_messages(messages, asked)
    return [_read(message, index, _kind_of(message, index, asked, shown), model) for index, message in enumerate(messages)]


def example_messages(messages: Sequence[Any], asked: int | None) -> frozenset[int]:
    """The places of messages that show how to answer: named so, or pairs in the form of the last question before the conversation.

    Pairs count from two on, if every question of them begins with the same label as the last one ("Review: ...") and is answered without
    tools.
    """
    named = {
        index
        for index, message in enumerate(messages)
        if isinstance(message, Mapping) and isinstance(name := message.get("name"), str) and _EXAMPLE_NAME.match(name)
    }
    if asked is None:
        return frozenset(named)
    label = _LABEL.match("".join(texts_of(messages[asked])[:1]))
    pairs: list[int] = []
    index = next((place for place, message in enumerate(messages) if role_of(message) not in SYSTEM), len(messages))
    while label is not None and index + 1 < asked:
        question, answer = messages[index], messages[index + 1]
        if role_of(question) not in USER or role_of(answer) not in ("assistant", "ai", "model") or answer.get("tool_calls"):
            break
        if not "".join(texts_of(question)[:1]).startswith(label.group()):
            break
        pairs += [index, index + 1]
        index += 2
    return frozenset(named | set(pairs if len(pairs) >= 4 else ()))


def _kind_of(message: Any, index: int, asked: int | None, shown: frozenset[int]) -> str:
    role = role_of(message)
    if index in shown:
        return "examples"
    if role in SYSTEM:
        return "system"
    if holds_result(message):
        return "tool_results"
    return "question" if index == asked else "history"


def _read(message: Any, index: int, kind: str, model: str | None) -> ReadMessage:
    read = ReadMessage(index, role_of(message))
    if not isinstance(message, Mapping):
        read.add(kind, tokens_of_text(str(message), model))
        return read
    name = message.get("name")
    read.add(kind, tokens_of_frame(str(message.get("role", "")), str(name) if name else None, model) + tokens_of_calls(message, model))
    media, other = tokens_of_other_parts(message, model)
    read.add("media", media)
    read.add(kind, other)
    for text in texts_of(message):
        whole = tokens_of_text(text, model)
        regions = _regions(text, kind, read.role) if len(text) >= _READ_FROM and kind != "tool_results" else Regions()
        for part, spans in (("documents", regions.documents), ("examples", regions.examples)):
            tokens = min(whole, sum(tokens_of_text(text[slice(*span)], model) for span in spans))
            read.add(part, tokens)
            whole -= tokens
        read.add(kind, whole)
        read.examples += len(regions.examples)
        read.documents += [text[slice(*each)] for span in regions.documents for each in paragraphs_of(text, span)]
        if kind == "tool_results" and len(text) >= _READ_FROM:
            read.documents.append(text)
    if kind == "examples" and read.role not in USER:
        read.examples = 1
    return read


def _regions(text: str, kind: str, role: str) -> Regions:
    if kind == "system":
        return regions_of_system(text)
    if role in USER and kind in ("question", "history"):
        return regions_of_asked(text)
    return Regions()
