"""The worked examples that are nearest to the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts.messages import SYSTEM, USER, Messages, question_index, role_of, text_of, with_texts
from llmthrift_core.prompts.parts import example_messages
from llmthrift_core.prompts.regions import examples_in, regions_of_asked, regions_of_system
from llmthrift_core.prompts.relevance import relevance
from llmthrift_core.prompts.step import Run, Step, outside


@dataclass(frozen=True, slots=True)
class Examples(Step):
    """Keeps the k examples that are most like the last question, in their order. Lossy.

    Examples are pairs in the text ("Input: ... Output: ...", "Q: ... A: ...", "Example 1: ...") or messages that show how to answer.

    Args:
        k: so many.
        embedder: None is the built-in model where it is installed, False is words alone.

    Raises:
        ConfigurationError: k is negative.
    """

    k: int = 2
    embedder: Any = None

    def __post_init__(self) -> None:
        if self.k < 0:
            raise ConfigurationError(f"k must not be negative, but is {self.k!r}")

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages with k examples."""
        asked = question_index(messages)
        if asked is None:
            return messages
        text = text_of(messages[asked])
        regions = regions_of_asked(text, alone=run.alone)
        question = outside(text, [*regions.documents, *regions.examples]) or text
        messages = self._of_messages(messages, asked, question, run)
        changed = [
            with_texts(message, lambda text: self._of_text(text, question, run)) if role_of(message) in SYSTEM | USER else message
            for message in messages
        ]
        return messages if all(new is old for new, old in zip(changed, messages, strict=True)) else changed

    def _of_messages(self, messages: Messages, asked: int, question: str, run: Run) -> Messages:
        places = sorted(example_messages(messages, asked))
        pairs: list[list[int]] = []
        for place in places:
            message = messages[place]
            begins = role_of(message) in USER or str(message.get("name", "")).lower().endswith("user")
            if begins or not pairs:
                pairs.append([place])
            else:
                pairs[-1].append(place)
        kept = self._nearest([" ".join(text_of(messages[place]) for place in pair[:1]) for pair in pairs], question, run)
        cut = {place for number, pair in enumerate(pairs) if number not in kept for place in pair}
        return [message for place, message in enumerate(messages) if place not in cut] if cut else messages

    def _of_text(self, text: str, question: str, run: Run) -> str:
        if len(text) < 40:
            return text
        heads = regions_of_system(text).documents
        spans = examples_in(text, before=heads[0][0] if heads else None)
        kept = self._nearest([text[slice(*span)] for span in spans], question, run)
        if len(kept) == len(spans):
            return text
        parts = []
        at = 0
        for number, (start, end) in enumerate(spans):
            parts.append(text[at:start])
            if number in kept:
                parts.append(text[start:end])
                at = end
            else:
                at = end + len(text[end:]) - len(text[end:].lstrip())
        parts.append(text[at:])
        return "".join(parts)

    def _nearest(self, examples: list[str], question: str, run: Run) -> set[int]:
        if len(examples) <= self.k:
            return set(range(len(examples)))
        scores = relevance(question, examples, self.embedder, run.failures)
        return set(sorted(range(len(examples)), key=lambda place: (-scores[place], place))[: self.k])
