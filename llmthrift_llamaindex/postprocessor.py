"""`TokenBudgetPostprocessor`: the best of the retrieved nodes, within limits."""

from __future__ import annotations

from typing import Final

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field

from llmthrift_core.errors import ConfigurationError

_LEAST_TRIMMED: Final = 16  # tokens; a shorter rest of a text says nothing


class TokenBudgetPostprocessor(BaseNodePostprocessor):
    """Keep the best retrieved nodes within a count, a similarity and a number of tokens.

    Nodes are taken from the best score down, and handed on in the order in which they came. A node that does not fit is passed over for a
    smaller one; if the very best does not fit, its text is cut to what does, in a copy. The nodes that were retrieved stay as they are.
    Tokens are counted of the text that the LLM is given, metadata included.

    Args:
        max_tokens: of all kept nodes together; None is no limit.
        max_nodes: how many are kept; None is no limit.
        min_similarity: the least score; a node without a score is then dropped, as LlamaIndex's own SimilarityPostprocessor does.
        model: whose tokens are counted; None counts with o200k_base.

    Raises:
        ConfigurationError: no limit at all, or one that is not positive.

    >>> from llama_index.core.schema import NodeWithScore, TextNode
    >>> from llmthrift_llamaindex import TokenBudgetPostprocessor
    >>> nodes = [NodeWithScore(node=TextNode(text=text), score=score) for text, score in (("one", 0.2), ("two", 0.9), ("three", 0.8))]
    >>> [each.node.text for each in TokenBudgetPostprocessor(max_nodes=2, min_similarity=0.5).postprocess_nodes(nodes)]
    ['two', 'three']
    """

    max_tokens: int | None = Field(default=None)
    max_nodes: int | None = Field(default=None)
    min_similarity: float | None = Field(default=None)
    model: str | None = Field(default=None)

    def __init__(
        self,
        *,
        max_tokens: int | None = None,
        max_nodes: int | None = None,
        min_similarity: float | None = None,
        model: str | None = None,
    ) -> None:
        for name, value in (("max_tokens", max_tokens), ("max_nodes", max_nodes)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigurationError(f"{name} must be an integer of at least 1, or None for no limit, not {value!r}")
        if max_tokens is None and max_nodes is None and min_similarity is None:
            raise ConfigurationError("give at least one limit: max_tokens, max_nodes or min_similarity")
        super().__init__(max_tokens=max_tokens, max_nodes=max_nodes, min_similarity=min_similarity, model=model)

    @classmethod
    def class_name(cls) -> str:
        """The class's name in serialized form."""
        return "TokenBudgetPostprocessor"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        least = self.min_similarity
        places = [place for place, each in enumerate(nodes) if least is None or (each.score is not None and each.score >= least)]
        # Stable: nodes without a score, or of equal score, stay in their order; those without come last.
        places.sort(key=lambda place: (nodes[place].score is None, -(nodes[place].score or 0.0)))
        kept: dict[int, NodeWithScore] = {}
        left = self.max_tokens
        for place in places:
            if self.max_nodes is not None and len(kept) >= self.max_nodes:
                break
            each = nodes[place]
            if left is None:
                kept[place] = each.model_copy()
                continue
            tokens = self._count(each)
            if tokens <= left:
                kept[place] = each.model_copy()
                left -= tokens
            elif not kept and (trimmed := self._trimmed(each, left)) is not None:
                kept[place] = trimmed
                left -= self._count(trimmed)
        return [kept[place] for place in sorted(kept)]

    def _count(self, node: NodeWithScore) -> int:
        from llmthrift_core.usage.tokens import count_tokens

        return count_tokens(node.node.get_content(metadata_mode=MetadataMode.LLM), self.model).tokens

    def _trimmed(self, node: NodeWithScore, tokens: int) -> NodeWithScore | None:
        """A copy whose text is cut at its end so that all of it fits; None where next to nothing would be left."""
        text = node.node.get_content(metadata_mode=MetadataMode.NONE)
        if tokens < _LEAST_TRIMMED:
            return None
        best: NodeWithScore | None = None
        low, high = 1, len(text)
        while low <= high:
            middle = (low + high) // 2
            copy = node.model_copy(update={"node": node.node.model_copy(deep=True)})
            copy.node.set_content(text[:middle].rstrip())
            if self._count(copy) <= tokens:
                best, low = copy, middle + 1
            else:
                high = middle - 1
        return best
