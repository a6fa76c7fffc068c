"""The documents that the question is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts.messages import SYSTEM, USER, Messages, role_of, text_of, with_texts
from llmthrift_core.prompts.protected import Span
from llmthrift_core.prompts.regions import Regions, is_instruction, paragraphs_of, regions_of_asked, regions_of_system
from llmthrift_core.prompts.relevance import ranked
from llmthrift_core.prompts.step import Remembered, Run, Step, identity_of, outside

# How retrieval prompts number their documents: "[3]", "Document 3:", "3.", "Source (3)".
_LABEL: Final = re.compile(
    r"\s*\W{0,4}(?:(?:document|doc|source|passage|context|chunk|result|dokument|quelle|documento|fuente|文档|資料)\W{0,3}\d{1,3}|[\[(#]\d{1,3}[\])]?|"
    r"\d{1,3}[.):])(?=\W|$)",
    re.IGNORECASE,
)
_HEADING: Final = 80  # characters: a shorter paragraph that is no sentence belongs to the next one
_SENTENCE: Final = re.compile(r"[.!?。！？]['\"”’)\]]*\s*\Z")


@dataclass(frozen=True, slots=True)
class Documents(Step):
    """Keeps the k documents that are most like the question they came with, in their order. Lossy.

    Documents are numbered ("[1]", "Document 1:"), or else paragraphs. Instructions among them stay, and so do tools' results, code and
    whatever is no document. Words are compared (BM25), and vectors where there is an embedder, as `select_context` does before a prompt is
    written.

    Args:
        k: so many.
        max_tokens: of all that are kept; the most relevant one stays in any case. None is no limit.
        embedder: None is the built-in model where it is installed, False is words alone; otherwise an embeddings object of LangChain or
            LlamaIndex, or a function from texts to vectors. One that fails is counted, and words decide.

    Raises:
        ConfigurationError: k or max_tokens is not positive.
    """

    k: int = 3
    max_tokens: int | None = 2_000
    embedder: Any = None
    _results: Remembered = field(default_factory=Remembered, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in (("k", self.k), ("max_tokens", self.max_tokens)):
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be positive, not {value!r}")

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages with k documents for each question."""
        first = next((text_of(message) for message in messages if role_of(message) in USER), "")
        changed = []
        for message in messages:
            role = role_of(message)
            if role in SYSTEM:
                new = with_texts(message, lambda text: self._kept(text, regions_of_system(text), first, run))
            elif role in USER:
                new = with_texts(message, lambda text: self._kept(text, regions_of_asked(text, alone=run.alone), None, run))
            else:
                new = message
            changed.append(new)
        return messages if all(new is old for new, old in zip(changed, messages, strict=True)) else changed

    def _kept(self, text: str, regions: Regions, question: str | None, run: Run) -> str:
        if not regions.documents:
            return text
        asked = outside(text, regions.documents) if question is None else question
        if not asked.strip():
            return text
        key = (text, asked, run.model or "", identity_of(self.embedder))
        return self._results.get(key, lambda: self._without_others(text, regions, asked, run)) or text

    def _without_others(self, text: str, regions: Regions, asked: str, run: Run) -> str:
        units = [unit for span in regions.documents for unit in _documents_of(text, span)]
        if len(units) <= self.k:
            return text
        texts = [text[start:end] for start, end in units]
        contents = [_unlabelled(each) for each in texts]  # a document is the same under another number
        order, _ = ranked(asked, contents, self.embedder, run.failures)
        kept: set[int] = set()
        tokens = 0
        for place in [place for place in order if contents[place]][: self.k]:
            tokens += run.count(texts[place]) if self.max_tokens is not None else 0
            if kept and self.max_tokens is not None and tokens > self.max_tokens:
                break
            kept.add(place)
        parts = []
        at = 0
        for place, (start, end) in enumerate(units):
            if place not in kept:
                parts.append(text[at:start])
                at = end + len(text[end:]) - len(text[end:].lstrip())
        return "".join([*parts, text[at:]])


def _documents_of(text: str, span: Span) -> list[Span]:
    """The documents of a span: from one label to the next where they are labelled, else its paragraphs, each with its heading."""
    paragraphs = [part for part in paragraphs_of(text, span) if not is_instruction(text[slice(*part)])]
    if sum(_LABEL.match(text, start) is not None for start, _ in paragraphs) > 1:
        return _grouped(paragraphs, [_LABEL.match(text, start) is not None for start, _ in paragraphs])
    begins = [True, *(not _is_heading(text[slice(*before)]) for before in paragraphs[:-1])]
    return _grouped(paragraphs, begins[: len(paragraphs)])


def _grouped(paragraphs: Sequence[Span], begins: Sequence[bool]) -> list[Span]:
    found: list[Span] = []
    for (start, end), is_first in zip(paragraphs, begins, strict=True):
        if is_first or not found:
            found.append((start, end))
        else:
            found[-1] = (found[-1][0], end)
    return found


def _is_heading(paragraph: str) -> bool:
    return len(paragraph) < _HEADING and _SENTENCE.search(paragraph) is None


def _unlabelled(document: str) -> str:
    label = _LABEL.match(document)
    return (document[label.end() :] if label is not None else document).strip(" \n\t:.)]")
