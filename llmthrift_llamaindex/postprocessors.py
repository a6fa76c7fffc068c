"""Retrieved nodes within limits, and their texts made shorter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts.context import select_context
from llmthrift_core.prompts.steps.duplicates import AS_ABOVE

if TYPE_CHECKING:
    from llmthrift_core.prompts import Shorten

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


class ShorteningPostprocessor(BaseNodePostprocessor):
    """Makes the texts of the retrieved nodes shorter, by the steps of a `Shorten`, which read the question.

    What is changed are copies. A node of which nothing is left, or only that it stands above already, is dropped.

    Args:
        shorten: such as `Shorten.lossless()`. Its `max_input_tokens` is of all nodes and the question together.
        model: whose tokens count.

    Raises:
        ConfigurationError: shorten is no Shorten.

    >>> from llama_index.core.schema import NodeWithScore, TextNode
    >>> from llmthrift_core.prompts import Shorten
    >>> from llmthrift_llamaindex import ShorteningPostprocessor
    >>> nodes = [NodeWithScore(node=TextNode(text="Built   in 1911.\\n\\n\\n\\nBy the city."))]
    >>> [each.text for each in ShorteningPostprocessor(Shorten.lossless()).postprocess_nodes(nodes, query_str="When?")]
    ['Built in 1911.\\n\\nBy the city.']
    """

    shorten: Any = Field(default=None)
    model: str | None = Field(default=None)

    def __init__(self, shorten: Shorten, *, model: str | None = None) -> None:
        from llmthrift_core.prompts import Shorten

        if not isinstance(shorten, Shorten):
            raise ConfigurationError(f"shorten must be a Shorten, such as Shorten.lossless(), not {type(shorten).__name__}")
        super().__init__(shorten=shorten, model=model)

    @classmethod
    def class_name(cls) -> str:
        """The class's name in serialized form."""
        return "ShorteningPostprocessor"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        texts = [each.node.get_content(metadata_mode=MetadataMode.NONE) for each in nodes]
        prompt: list[Any] = [{"role": "tool", "tool_call_id": str(place), "content": text} for place, text in enumerate(texts)]
        prompt.append({"role": "user", "content": query_bundle.query_str if query_bundle is not None else ""})
        found = {each["tool_call_id"]: each["content"] for each in self.shorten(prompt, self.model).messages if "tool_call_id" in each}
        kept = []
        for place, (node, text) in enumerate(zip(nodes, texts, strict=True)):
            shorter = found.get(str(place), "")
            if shorter == text:
                kept.append(node)
            elif shorter not in ("", AS_ABOVE):
                copy = node.model_copy(update={"node": node.node.model_copy(deep=True)})
                copy.node.set_content(shorter)
                kept.append(copy)
        return kept
