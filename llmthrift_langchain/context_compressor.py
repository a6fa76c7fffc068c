"""`ContextCompressor`: retrieved documents within limits, for LangChain's `ContextualCompressionRetriever`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict

from llmthrift_core.prompts.context import select_context


class ContextCompressor(BaseDocumentCompressor):
    """Keeps the documents that a question is about, the most relevant first, as many as fit; see `select_context`.

    What is kept are copies with their `relevance` among the metadata. If the most relevant one alone is too long, its most relevant
    sentences are kept.

    Args:
        max_tokens: of all of them together.
        max_documents: so many at most.
        min_relevance: 0 to 1; documents below are left out.
        share: of the tokens of each document, about what its most relevant sentences may have; None: whole documents.
        embedder: None is the built-in model where it is installed, False is words alone; else embeddings, or a function from texts to
            vectors.
        model: whose tokens count.

    >>> from langchain_core.documents import Document
    >>> from llmthrift_langchain import ContextCompressor
    >>> found = [Document("Cats sleep."), Document("The bridge was built in 1911.")]
    >>> ContextCompressor(max_documents=1, embedder=False).compress_documents(found, "When was the bridge built?")
    [Document(metadata={'relevance': 1.0}, page_content='The bridge was built in 1911.')]
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    max_tokens: int = 2_000
    max_documents: int = 3
    min_relevance: float | None = None
    share: float | None = None
    embedder: Any = None
    model: str | None = None

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None) -> Sequence[Document]:
        """The documents that are kept."""
        found = select_context(
            query,
            documents,
            max_tokens=self.max_tokens,
            max_documents=self.max_documents,
            min_relevance=self.min_relevance,
            share=self.share,
            embedder=self.embedder,
            model=self.model,
        )
        kept = zip(found.indices, found.relevance, found.texts, strict=True)
        return [
            documents[index].model_copy(update={"page_content": text, "metadata": {**documents[index].metadata, "relevance": near}})
            for index, near, text in kept
        ]
