"""Texts to vectors: the built-in model, and the embeddings objects of others behind one protocol. Loads numpy."""

from __future__ import annotations

from llmthrift_core.errors import MissingExtraError

try:
    from llmthrift_core.embedding.builtin import DefaultEmbedder, Vectors
    from llmthrift_core.embedding.embedder import Embedder, as_embedder, embedded
except ModuleNotFoundError as error:
    if error.name != "numpy":
        raise
    raise MissingExtraError("semantic", "numpy") from None

__all__ = ["DefaultEmbedder", "Embedder", "Vectors", "as_embedder", "embedded"]
