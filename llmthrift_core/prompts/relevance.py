"""How well texts fit a question: BM25 on words, stems and parts of words, and vectors where an embedder is at hand."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Final

from llmthrift_core.errors import MissingExtraError, place_of
from llmthrift_core.prompts.terms import content_words, grams_of, is_unspaced, stem_of, words_of

logger = logging.getLogger("llmthrift")

# Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009).
_K1, _B = 1.2, 0.75
_VECTOR_WEIGHT: Final = 1.0
_FOREIGN: Final = 0.5  # the built-in model has learned English
_REMEMBERED: Final = 2_048  # documents: the same ones are retrieved again, and a vector of one takes the built-in model 10-50 ms


def relevance(
    question: str, texts: Sequence[str], embedder: Any = None, failures: Counter[str] | None = None, *, vectors: float = _VECTOR_WEIGHT
) -> list[float]:
    """A score of each text, higher is nearer: z-scores of BM25, with those of the vectors added.

    Args:
        embedder: None is the built-in model where it is installed, False is none; otherwise what `as_embedder` takes.
        failures: where an embedder that fails is counted; words alone decide then.
        vectors: how much they count beside words.
    """
    return _scores(question, texts, similarities(question, texts, embedder, failures), embedder, vectors)


def ranked(
    question: str, texts: Sequence[str], embedder: Any = None, failures: Counter[str] | None = None
) -> tuple[list[int], list[float] | None]:
    """The places of the texts, nearest first, and the cosines if there are any."""
    cosines = similarities(question, texts, embedder, failures)
    scores = _scores(question, texts, cosines, embedder, _VECTOR_WEIGHT)
    return sorted(range(len(texts)), key=lambda place: (-scores[place], place)), cosines


def coverage(question: str, texts: Sequence[str]) -> list[float]:
    """The share of the question's words that each text has, rare words counting more; 0 to 1."""
    asked = {stem_of(word) for word in content_words(question) or words_of(question)}
    having = [asked & {stem_of(word) for word in words_of(text)} for text in texts]
    times = Counter(term for found in having for term in found)
    weights = {term: math.log(1 + (len(texts) + 1) / (times[term] + 0.5)) for term in sorted(asked)}
    whole = sum(weights.values())
    return [sum(weights[term] for term in sorted(found)) / whole if whole else 0.0 for found in having]


def _scores(question: str, texts: Sequence[str], cosines: list[float] | None, embedder: Any, vectors: float) -> list[float]:
    if not texts:
        return []
    scores = lexical_relevance(question, texts)
    if cosines is None:
        return scores
    weight = vectors * (1.0 if embedder is not None or _is_english(question) else _FOREIGN)
    return [score + weight * cosine for score, cosine in zip(scores, z_scores(cosines), strict=True)]


def lexical_relevance(question: str, texts: Sequence[str]) -> list[float]:
    """The z-scores of BM25: the mean of those on words, on stems, and on parts of words."""
    asked = content_words(question) or words_of(question)
    words = [content_words(text) for text in texts]
    views = [(asked, words)]
    if not is_unspaced(question):
        views.append(([stem_of(word) for word in asked], [[stem_of(word) for word in each] for each in words]))
        views.append((grams_of(asked), [grams_of(each) for each in words]))
    scored = [z_scores(bm25(terms, documents)) for terms, documents in views]
    return [sum(view[place] for view in scored) / len(scored) for place in range(len(texts))]


def bm25(asked: Sequence[str], documents: Sequence[Sequence[str]]) -> list[float]:
    """BM25 of each document, whose terms these are, for the terms that are asked."""
    number = len(documents)
    counts = [Counter(document) for document in documents]
    mean = sum(map(len, documents)) / number or 1.0
    wanted = set(asked)
    having = Counter(term for count in counts for term in wanted & count.keys())
    weights = {term: math.log(1 + (number - times + 0.5) / (times + 0.5)) for term, times in having.items()}
    scores = []
    for count, document in zip(counts, documents, strict=True):
        norm = _K1 * (1 - _B + _B * len(document) / mean)
        scores.append(sum(weights[term] * count[term] * (_K1 + 1) / (count[term] + norm) for term in wanted & count.keys()))
    return scores


def similarities(question: str, texts: Sequence[str], embedder: Any, failures: Counter[str] | None = None) -> list[float] | None:
    """The cosines of the question with each text; None without an embedder, or where it failed, which is counted."""
    if embedder is False or not texts:
        return None
    try:
        import numpy as np

        from llmthrift_core.embedding import as_embedder

        if embedder is None:
            vectors = np.asarray([_built_in()([question])[0], *map(_built_in_vector, texts)], dtype=np.float64)
        else:
            vectors = np.asarray(as_embedder(embedder)([question, *texts]), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(texts) + 1:
            raise ValueError(f"an array of shape {vectors.shape} for {len(texts) + 1} texts")
        lengths = np.linalg.norm(vectors, axis=1)
        if not np.all(np.isfinite(lengths)) or np.any(lengths < 1e-12):
            raise ValueError("a vector that is not finite, or has no length")
        cosines = (vectors[1:] @ vectors[0]) / (lengths[1:] * lengths[0])
        return [float(each) for each in cosines]
    except MissingExtraError:
        if embedder is None:
            return None
        error: Exception | None = None
    except ModuleNotFoundError:
        return None
    except Exception as raised:  # an application's embedder may raise anything
        error = raised
    if failures is not None:
        failures["embedder"] += 1
    logger.warning("an embedder failed, words alone decide: %s", place_of(error) if error is not None else "not installed")
    return None


def z_scores(values: Sequence[float]) -> list[float]:
    """Each value's distance from the mean in standard deviations; zeros where all are alike.

    >>> z_scores([1.0, 3.0]), z_scores([2.0, 2.0])
    ([-1.0, 1.0], [0.0, 0.0])
    """
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / spread if spread > 1e-9 else 0.0 for value in values]


@cache
def _built_in() -> Any:
    from llmthrift_core.embedding import DefaultEmbedder

    return DefaultEmbedder()


@lru_cache(maxsize=_REMEMBERED)
def _built_in_vector(text: str) -> Any:
    return _built_in()([text])[0]


def _is_english(text: str) -> bool:
    from llmthrift_core.prompts.wording import language_of

    return language_of(text) == "en"
