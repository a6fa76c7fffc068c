"""What a step of shortening is, and where it may cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.prompts.counting import tokens_of_text
from llmthrift_core.prompts.messages import (
    ASSISTANT,
    SYSTEM,
    USER,
    Messages,
    holds_result,
    role_of,
    text_of,
    with_texts,
)
from llmthrift_core.prompts.protected import Span
from llmthrift_core.prompts.regions import Regions, is_instruction, paragraphs_of, regions_of_asked, regions_of_system

MARK: Final = "..."
"""Stands where text was cut, by itself between spaces."""
_LEAST: Final = 240  # characters: a shorter text has nothing to spare
_MOST_CHARS: Final = 4_000_000


@dataclass(slots=True)
class Run:
    """What the steps of one shortening share.

    Attributes:
        model: whose tokens count.
        alone: a text was given, no messages: without a question in it, all of it is a document.
        failures: how often something was passed over, by its name: an embedder that failed, a model that gave nothing.
    """

    model: str | None = None
    alone: bool = False
    failures: Counter[str] = field(default_factory=Counter)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return tokens_of_text(text, self.model)


class Step(ABC):
    """One way to make messages shorter. A pure function of them; what it cannot read, it leaves alone.

    Attributes:
        lengthens: it may add tokens, to spare others of the answer.
        is_lossless: what it takes off says nothing.
    """

    lengthens: bool = False
    is_lossless: bool = False

    @property
    def name(self) -> str:
        """How reports call it."""
        return type(self).__name__

    def identity(self) -> str:
        """The step with its options: two that may give different prompts have different identities."""
        given: list[str] = [each.name for each in fields(self) if each.compare] if is_dataclass(self) else []
        return f"{self.name}({', '.join(f'{option}={identity_of(getattr(self, option))}' for option in given)})"

    @abstractmethod
    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages, shorter; the same list where nothing is to spare."""


def identity_of(value: Any) -> str:
    """What names an option: a value itself, a model or an embedder by its name."""
    if value is None or isinstance(value, bool | int | float | str | tuple):
        return repr(value)
    for attribute in ("identity", "name", "model_name", "model"):
        found = getattr(value, attribute, None)
        if isinstance(found, str):
            return found
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


@dataclass(frozen=True, slots=True)
class Document:
    """A text that may be cut.

    Attributes:
        text: the document, or several.
        question: what was asked when it came; "" where nothing was.
        is_result: a tool returned it.
    """

    text: str
    question: str
    is_result: bool = False


class Remembered:
    """Results by what they were made of, the last few million characters. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = ForkedLock()
        self._results: OrderedDict[tuple[Any, ...], str] = OrderedDict()
        self._chars = 0

    def get(self, key: tuple[Any, ...], make: Callable[[], str | None]) -> str | None:
        """What was made before, or is made now. None is not remembered."""
        found = self._results.get(key)
        if found is None and (found := make()) is not None:
            size = len(found) + sum(len(each) for each in key if isinstance(each, str))
            if size > _MOST_CHARS // 8:
                return found
            with self._lock:
                if key not in self._results:
                    self._results[key] = found
                    self._chars += size
                while self._chars > _MOST_CHARS:
                    oldest, result = self._results.popitem(last=False)
                    self._chars -= len(result) + sum(len(each) for each in oldest if isinstance(each, str))
        return found


def change_documents(messages: Messages, run: Run, change: Callable[[Document], str], *, answers: bool = False) -> Messages:
    """Change what was retrieved or returned, and leave alone what was asked and what was instructed.

    Each document is judged by the question that it came with, not by the last one, so that it is shortened alike in every later turn: what
    a provider has cached of the conversation stays as it is.

    Args:
        change: a document to what takes its place.
        answers: also what the assistant wrote.
    """
    changed: Messages = []
    question = ""
    for message in messages:
        role = role_of(message)
        if holds_result(message):
            asked = question
            new = with_texts(message, lambda text, asked=asked: _change_whole(text, asked, change))  # type: ignore[misc]
        elif role in SYSTEM:
            new = with_texts(message, lambda text: change_regions(text, regions_of_system(text), "", change))
        elif role in USER:
            question = text_of(message)
            new = with_texts(message, lambda text: change_regions(text, regions_of_asked(text, alone=run.alone), None, change))
        elif answers and role in ASSISTANT:
            asked = question
            new = with_texts(message, lambda text, asked=asked: _change_whole(text, asked, change))  # type: ignore[misc]
        else:
            new = message
        changed.append(new)
    return _same_or(messages, changed)


def change_regions(text: str, regions: Regions, question: str | None, change: Callable[[Document], str]) -> str:
    """Change the documents of a text. Paragraphs among them that are instructions stay.

    Args:
        question: what is asked; None: what the text has besides its documents.
    """
    if not regions.documents:
        return text
    if question is None:
        question = outside(text, regions.documents)
    parts = []
    at = 0
    for span in regions.documents:
        for start, end in _without_instructions(text, span):
            parts += [text[at:start], change(Document(text[start:end], question))]
            at = end
    parts.append(text[at:])
    return "".join(parts)


def change_texts(messages: Messages, change: Callable[[str], str]) -> Messages:
    """Change every text of every message."""
    return _same_or(messages, [with_texts(message, change) for message in messages])


def outside(text: str, spans: Sequence[Span]) -> str:
    """What of a text is not in these spans."""
    parts = []
    at = 0
    for start, end in spans:
        parts.append(text[at:start])
        at = end
    return "\n".join(part for part in [*parts, text[at:]] if part.strip())


def was_cut(text: str) -> bool:
    """Whether a mark stands in the text: it was shortened before."""
    return text.startswith(f"{MARK} ") or text.endswith(f" {MARK}") or f" {MARK} " in text or f"\n{MARK}\n" in text


def _change_whole(text: str, question: str, change: Callable[[Document], str]) -> str:
    return change(Document(text, question, is_result=True)) if len(text) >= _LEAST else text


def _without_instructions(text: str, span: Span) -> list[Span]:
    """The parts of a span between paragraphs that are instructions, without the white space around them."""
    found: list[Span] = []
    apart = True
    for start, end in paragraphs_of(text, span):
        if is_instruction(text[start:end]):
            apart = True
        elif apart:
            found.append((start, end))
            apart = False
        else:
            found[-1] = (found[-1][0], end)
    return found


def _same_or(messages: Messages, changed: Messages) -> Messages:
    return messages if all(new is old for new, old in zip(changed, messages, strict=True)) else changed
