"""Texts to vectors, by whatever the application has: one protocol for functions and the frameworks' embeddings objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from llmthrift_core.embedding.builtin import DefaultEmbedder, Vectors
from llmthrift_core.errors import ConfigurationError, EmbeddingError, LLMThriftError


class Embedder(Protocol):
    """Turns texts into vectors: one row for each.

    Attributes:
        name: identifies the model: vectors of two names are never compared.
    """

    name: str

    def __call__(self, texts: Sequence[str]) -> Vectors: ...


class _Adapted:
    """A framework's embeddings object, or a function, as an `Embedder`."""

    def __init__(self, call: Callable[[Sequence[str]], Any], name: str) -> None:
        self.name = name
        self._call = call

    def __call__(self, texts: Sequence[str]) -> Vectors:
        return np.asarray(self._call(texts), dtype=np.float32)


def as_embedder(given: Any) -> Embedder:
    """An embedder from None (the built-in one), a LangChain `Embeddings`, a LlamaIndex embedding, or a function of a list of texts.

    Raises:
        ConfigurationError: anything else.
    """
    if given is None:
        return DefaultEmbedder()
    if isinstance(given, DefaultEmbedder | _Adapted):  # another cache's
        return given
    if callable(documents := getattr(given, "embed_documents", None)):
        return _Adapted(lambda texts: documents(list(texts)), _name_of(given))
    if callable(batch := getattr(given, "get_text_embedding_batch", None)):
        return _Adapted(lambda texts: batch(list(texts)), _name_of(given))
    if callable(given):
        return _Adapted(given, _name_of(given))
    raise ConfigurationError(f"embedder must be None, an embeddings object of LangChain or LlamaIndex, or a function, not {given!r}")


def embedded(embedder: Embedder, text: str, dimensions: int | None) -> Vectors:
    """The unit vector of one text.

    Raises:
        EmbeddingError: the embedder failed, or gave no finite vector of that many dimensions.
    """
    try:
        vectors = np.asarray(embedder([text]), dtype=np.float32)
    except LLMThriftError:
        raise
    except Exception as error:
        # Its text may repeat the question, or name a key.
        raise EmbeddingError(f"the embedder {embedder.name} failed: {type(error).__name__}") from None
    if vectors.ndim != 2 or vectors.shape[0] != 1 or vectors.shape[1] < 2:
        raise EmbeddingError(f"the embedder {embedder.name} gave an array of shape {vectors.shape} for one text; (1, n) is needed")
    vector: Vectors = vectors[0]
    if dimensions is not None and len(vector) != dimensions:
        raise EmbeddingError(f"the embedder {embedder.name} gave {len(vector)} dimensions; what is stored has {dimensions}")
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < 1e-12:
        raise EmbeddingError(f"the embedder {embedder.name} gave a vector that is not finite, or has no length")
    return vector / length


def _name_of(given: Any) -> str:
    kind = given if hasattr(given, "__qualname__") else type(given)
    model = next(
        (value for name in ("model", "model_name", "deployment", "name") if isinstance(value := getattr(given, name, None), str)), ""
    )
    size = getattr(given, "dimensions", None)
    parts = [f"{kind.__module__}.{kind.__qualname__}", model, str(size) if isinstance(size, int) else ""]
    return ":".join(part for part in parts if part)[:200]
