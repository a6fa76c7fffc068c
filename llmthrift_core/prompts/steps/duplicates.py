"""Documents that come more than once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from llmthrift_core.prompts.messages import SYSTEM, USER, Messages, holds_result, role_of, with_texts
from llmthrift_core.prompts.regions import Regions, is_instruction, paragraphs_of, regions_of_asked, regions_of_system
from llmthrift_core.prompts.step import Run, Step

_LEAST: Final = 80  # characters: shorter paragraphs are alike by chance
_LABEL: Final = re.compile(
    r"\s*(?:(?:\W{0,2}(?:document|doc|source|passage|context|chunk|result|dokument|quelle|documento|fuente)\W{0,2})?[\[(#]?\d{1,3}[\])]?"
    r"(?:[ \t]*\([^()\n]{0,60}\))?[:.)]?\s+)",
    re.IGNORECASE,
)
_AS_ABOVE: Final = "[as above]"


@dataclass(frozen=True, slots=True)
class Duplicates(Step):
    """A paragraph of the documents, or a tool's result, that came before is replaced with "[as above]". Lossless.

    The first one stays where it is, so that what a provider has cached of the conversation stays too.
    """

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages with each document once."""
        seen: set[str] = set()
        changed = []
        for message in messages:
            role = role_of(message)
            if holds_result(message):
                new = with_texts(message, lambda text: _once(text, seen))
            elif role in SYSTEM:
                new = with_texts(message, lambda text: _each_once(text, regions_of_system(text), seen))
            elif role in USER:
                new = with_texts(message, lambda text: _each_once(text, regions_of_asked(text, alone=run.alone), seen))
            else:
                new = message
            changed.append(new)
        return messages if all(new is old for new, old in zip(changed, messages, strict=True)) else changed


def _each_once(text: str, regions: Regions, seen: set[str]) -> str:
    parts = []
    at = 0
    for span in regions.documents:
        for start, end in paragraphs_of(text, span):
            paragraph = text[start:end]
            if not is_instruction(paragraph):
                parts += [text[at:start], _once(paragraph, seen)]
                at = end
    return "".join([*parts, text[at:]]) if parts else text


def _once(paragraph: str, seen: set[str]) -> str:
    if len(paragraph) < _LEAST:
        return paragraph
    start, key = _key(paragraph)
    if len(key) < _LEAST:
        return paragraph
    if key in seen:
        return paragraph[:start] + _AS_ABOVE
    seen.add(key)
    return paragraph


@lru_cache(maxsize=1_024)
def _key(paragraph: str) -> tuple[int, str]:
    """Where the paragraph begins after its label, and what it says, whatever its white space."""
    label = _LABEL.match(paragraph)
    start = label.end() if label is not None else 0
    return start, " ".join(paragraph[start:].split())
