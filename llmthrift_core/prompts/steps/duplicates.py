"""Documents that come more than once, and results that say again what an earlier one said."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

from llmthrift_core.prompts.compact_json import dumped, minified
from llmthrift_core.prompts.messages import SYSTEM, USER, Messages, holds_result, role_of, with_texts
from llmthrift_core.prompts.regions import Regions, is_instruction, paragraphs_of, regions_of_asked, regions_of_system
from llmthrift_core.prompts.step import Run, Step

_LEAST: Final = 80  # characters: shorter paragraphs are alike by chance
_LABEL: Final = re.compile(
    r"\s*(?:(?:\W{0,2}(?:document|doc|source|passage|context|chunk|result|dokument|quelle|documento|fuente)\W{0,2})?[\[(#]?\d{1,3}[\])]?"
    r"(?:[ \t]*\([^()\n]{0,60}\))?[:.)]?\s+)",
    re.IGNORECASE,
)
AS_ABOVE: Final = "[as above]"
_THE_REST: Final = "[rest]"
_MUCH: Final = 0.7  # of an object: a longer rest is said whole
_LONGEST: Final = 100_000  # characters: a longer object is not read


@dataclass(frozen=True, slots=True)
class Duplicates(Step):
    """A paragraph of the documents, or a tool's result, that came before is replaced with "[as above]". Lossless.

    Of a result that is an object of JSON, whose first key names the same thing as in an earlier result, what changed since then is said,
    and `"[rest]": "as above"`. The first one stays where it is, so that what a provider has cached of the conversation stays too.
    """

    is_lossless: ClassVar[bool] = True  # type: ignore[misc]

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages with each document once."""
        seen: set[str] = set()
        known: dict[str, dict[str, Any]] = {}
        changed = []
        for message in messages:
            role = role_of(message)
            if holds_result(message):
                new = with_texts(message, lambda text: _result(text, seen, known))
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
        return paragraph[:start] + AS_ABOVE
    seen.add(key)
    return paragraph


def _result(text: str, seen: set[str], known: dict[str, dict[str, Any]]) -> str:
    """What a result says that the last one about the same thing did not; the text where that is not shorter, or not all."""
    found = _object(text)
    if found is None:
        return _once(text, seen)
    identity, value = found
    before = known.get(identity)
    if value.get(_THE_REST) == "as above":
        known[identity] = {**(before or {}), **{key: each for key, each in value.items() if key != _THE_REST}}
        return text
    known[identity] = value
    if before is None or len(text) < _LEAST or not before.keys() <= value.keys():
        return text
    first = next(iter(value))
    new = {key: each for key, each in value.items() if key == first or key not in before or dumped(before[key]) != dumped(each)}
    shorter = dumped({**new, _THE_REST: "as above"})
    return shorter if len(shorter) < _MUCH * len(minified(text)) else text


@lru_cache(maxsize=1_024)
def _object(text: str) -> tuple[str, dict[str, Any]] | None:
    """An object of JSON by its first key and value, which is a text or a number; None for what is none, or would not come back exactly."""
    if len(text) > _LONGEST or text.lstrip()[:1] != "{":
        return None
    try:
        value = json.loads(text)
        if len(value) < 2 or dumped(value) != minified(text.strip()):
            return None
    except (ValueError, RecursionError):
        return None
    key, named = next(iter(value.items()))
    if not isinstance(named, str | int) or isinstance(named, bool) or named == "":
        return None
    return dumped([key, named]), value


@lru_cache(maxsize=1_024)
def _key(paragraph: str) -> tuple[int, str]:
    """Where the paragraph begins after its label, and what it says, whatever its white space."""
    label = _LABEL.match(paragraph)
    start = label.end() if label is not None else 0
    return start, " ".join(paragraph[start:].split())
