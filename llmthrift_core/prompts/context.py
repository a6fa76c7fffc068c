"""`select_context`: the documents that a question is about, within a number of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmthrift_core.display import Printed
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts.counting import tokens_of_text
from llmthrift_core.prompts.extract import extract
from llmthrift_core.prompts.relevance import coverage, ranked

_LEAST: Final = 24  # tokens: in less no sentence of a long document fits


@dataclass(frozen=True, slots=True, repr=False)
class Selection(Printed):
    """The documents that were selected.

    Attributes:
        indices: their places among those given, the most relevant first.
        relevance: of each, 0 to 1: the cosine with the question, or the share of the question's words in it, if that is more.
        tokens: of `text`.
        text: the documents, each after a line "Doc 1 (relevance: 0.92)".
        texts: of each, what is kept of it.
        failures: how often an embedder failed; words alone decided then.
    """

    indices: tuple[int, ...]
    relevance: tuple[float, ...]
    tokens: int
    text: str
    texts: tuple[str, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.indices)

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row for each document: index, relevance."""
        return [{"index": index, "relevance": found} for index, found in zip(self.indices, self.relevance, strict=True)]

    def to_text(self) -> str:
        """The text itself."""
        return self.text


def select_context(
    question: str,
    documents: Iterable[Any],
    *,
    max_tokens: int = 2_000,
    max_documents: int = 3,
    min_relevance: float | None = None,
    share: float | None = None,
    embedder: Any = None,
    model: str | None = None,
) -> Selection:
    """The most relevant documents, as many as fit.

    BM25 on words, stems and parts of words, on pairs of characters where words are not told apart, and the vectors of an embedder.
    A document that comes twice is taken once. If the most relevant one alone is too long, its most relevant sentences are taken.

    Args:
        question: what is asked.
        documents: texts, or LangChain's documents or LlamaIndex's nodes.
        max_tokens: of `Selection.text`.
        max_documents: so many at most.
        min_relevance: 0 to 1; documents below are left out.
        share: of the tokens of each document, about what its most relevant sentences may have; None: whole documents.
        embedder: None is the built-in model where it is installed, False is words alone; otherwise an embeddings object of LangChain or
            LlamaIndex, or a function from texts to vectors.
        model: whose tokens count.

    Raises:
        ConfigurationError: a limit that is not positive, or a share that is not between 0 and 1.

    >>> texts = ["Cats sleep.", "The bridge was built in 1911."]
    >>> found = select_context("When was the bridge built?", texts, max_documents=1, embedder=False)
    >>> print(found.indices, found.text)
    (1,) Doc 2 (relevance: 1.00)
    The bridge was built in 1911.
    """
    for name, value in (("max_tokens", max_tokens), ("max_documents", max_documents)):
        if value < 1:
            raise ConfigurationError(f"{name} must be positive, not {value!r}")
    if share is not None and not 0 < share <= 1:
        raise ConfigurationError(f"share must be more than 0 and at most 1, not {share!r}")

    def count(part: str) -> int:
        return tokens_of_text(part, model)

    texts = [_text_of(document) for document in documents]
    failures: Counter[str] = Counter()
    order, cosines = ranked(question, texts, embedder, failures)
    nearness = coverage(question, texts)
    if cosines is not None:
        nearness = [max(share, cosine) for share, cosine in zip(nearness, cosines, strict=True)]
    indices: list[int] = []
    blocks: list[str] = []
    kept: list[str] = []
    seen: set[str] = set()
    tokens = 0
    for place in order:
        text, near = texts[place].strip(), min(1.0, max(0.0, nearness[place]))
        if len(indices) == max_documents:
            break
        if not text or text in seen or (min_relevance is not None and near < min_relevance):
            continue
        seen.add(text)
        if share is not None:
            text = extract(text, question, share * count(text), count, embedder=embedder, failures=failures)
        head = f"Doc {place + 1} (relevance: {near:.2f})\n"
        left = max_tokens - tokens - (1 if blocks else 0)
        block = head + text
        if (size := tokens_of_text(block, model)) > left:
            room = left - tokens_of_text(head, model) - 1
            if blocks or room < _LEAST:
                continue
            text = extract(text, question, room, count, embedder=embedder, strict=True)
            block = head + text
            if (size := tokens_of_text(block, model)) > left:
                continue
        indices.append(place)
        blocks.append(block)
        kept.append(text)
        tokens += size + (1 if len(blocks) > 1 else 0)
    joined = "\n\n".join(blocks)
    return Selection(
        tuple(indices),
        tuple(round(min(1.0, max(0.0, nearness[place])), 4) for place in indices),
        tokens_of_text(joined, model),
        joined,
        tuple(kept),
        dict(failures),
    )


def _text_of(document: Any) -> str:
    if isinstance(document, str):
        return document
    for name in ("page_content", "text"):
        if isinstance(found := getattr(document, name, None), str):
            return found
    if callable(content := getattr(document, "get_content", None)):
        return str(content())
    return str(document)
