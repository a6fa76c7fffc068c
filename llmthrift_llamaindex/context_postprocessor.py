"""`ContextPostprocessor`: the retrieved nodes that a question is about, within limits."""

from __future__ import annotations

from typing import Any

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field

from llmthrift_core.prompts.context import select_context


class ContextPostprocessor(BaseNodePostprocessor):
    """Keeps the nodes that a question is about, the most relevant first, as many as fit; see `select_context`.

    What is kept are copies whose score is the relevance. If the most relevant one alone is too long, its most relevant sentences are kept.
    `TokenBudgetPostprocessor` goes by the scores of the retriever instead.

    Args:
        max_tokens: of all of them together.
        max_nodes: so many at most.
        min_relevance: 0 to 1; nodes below are left out.
        share: of the tokens of each node, about what its most relevant sentences may have; None: whole nodes.
        embedder: None is the built-in model where it is installed, False is words alone; else embeddings, or a function from texts to
            vectors.
        model: whose tokens count.

    >>> from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    >>> from llmthrift_llamaindex import ContextPostprocessor
    >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("Cats sleep.", "The bridge was built in 1911.")]
    >>> kept = ContextPostprocessor(max_nodes=1, embedder=False).postprocess_nodes(nodes, query_str="When was the bridge built?")
    >>> [(each.text, each.score) for each in kept]
    [('The bridge was built in 1911.', 1.0)]
    """

    max_tokens: int = Field(default=2_000)
    max_nodes: int = Field(default=3)
    min_relevance: float | None = Field(default=None)
    share: float | None = Field(default=None)
    embedder: Any = Field(default=None)
    model: str | None = Field(default=None)

    @classmethod
    def class_name(cls) -> str:
        """The class's name in serialized form."""
        return "ContextPostprocessor"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        found = select_context(
            query_bundle.query_str if query_bundle is not None else "",
            [each.node.get_content(metadata_mode=MetadataMode.NONE) for each in nodes],
            max_tokens=self.max_tokens,
            max_documents=self.max_nodes,
            min_relevance=self.min_relevance,
            share=self.share,
            embedder=self.embedder,
            model=self.model,
        )
        kept = []
        for index, near, text in zip(found.indices, found.relevance, found.texts, strict=True):
            copy = nodes[index].model_copy(update={"score": near})
            if text != copy.node.get_content(metadata_mode=MetadataMode.NONE):
                copy.node = copy.node.model_copy(deep=True)
                copy.node.set_content(text)
            kept.append(copy)
        return kept
