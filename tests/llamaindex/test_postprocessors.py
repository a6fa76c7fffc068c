"""The best of the retrieved nodes, within limits, and the originals as they were."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.usage.tokens import count_tokens
from llmthrift_llamaindex import ShorteningPostprocessor, TokenBudgetPostprocessor
from tests.llamaindex.conftest import run


def node(text: str, score: float | None, **metadata: str) -> NodeWithScore:
    return NodeWithScore(node=TextNode(text=text, metadata=metadata), score=score)


def tokens(nodes: list[NodeWithScore]) -> int:
    return sum(count_tokens(each.node.get_content(MetadataMode.LLM)).tokens for each in nodes)


NODES = [node("one " * 10, 0.5), node("two " * 30, 0.9), node("three " * 10, None), node("four " * 10, 0.8)]


def kept(**limits: object) -> list[str]:
    return [each.node.text.split()[0] for each in TokenBudgetPostprocessor(**limits).postprocess_nodes(list(NODES))]


def test_the_best_are_kept_in_the_order_in_which_they_came():
    assert kept(max_nodes=2) == ["two", "four"]
    assert kept(max_nodes=9) == ["one", "two", "three", "four"]
    assert kept(min_similarity=0.8) == ["two", "four"]
    assert kept(max_tokens=45) == ["two", "four"]
    assert kept(max_tokens=1000, max_nodes=3, min_similarity=0.1) == ["one", "two", "four"]


def test_a_node_that_does_not_fit_makes_room_for_smaller_ones():
    nodes = [node("big " * 20, 0.9), node("huge " * 500, 0.8), node("small " * 5, 0.7)]
    assert [each.node.text.split()[0] for each in TokenBudgetPostprocessor(max_tokens=40).postprocess_nodes(nodes)] == ["big", "small"]


def test_the_best_is_trimmed_when_nothing_else_would_be_left():
    nodes = [node("word " * 500, 0.9, title="A title")]
    before = copy.deepcopy(nodes)
    (trimmed,) = TokenBudgetPostprocessor(max_tokens=50).postprocess_nodes(nodes)
    assert 40 <= tokens([trimmed]) <= 50
    assert "A title" in trimmed.node.get_content(MetadataMode.LLM)
    assert nodes == before
    assert trimmed.node is not nodes[0].node
    assert TokenBudgetPostprocessor(max_tokens=3).postprocess_nodes(nodes) == []


@given(
    st.lists(st.tuples(st.text(max_size=200), st.none() | st.floats(-1, 1)), max_size=8),
    st.integers(1, 200),
    st.none() | st.integers(1, 4),
    st.none() | st.floats(-1, 1),
)
def test_limits_hold_and_originals_stay(given_nodes, max_tokens, max_nodes, least):
    nodes = [node(text, score) for text, score in given_nodes]
    before = copy.deepcopy(nodes)
    found = TokenBudgetPostprocessor(max_tokens=max_tokens, max_nodes=max_nodes, min_similarity=least).postprocess_nodes(nodes)
    assert nodes == before
    assert tokens(found) <= max_tokens
    assert len(found) <= (max_nodes or len(nodes))
    assert all(least is None or (each.score is not None and each.score >= least) for each in found)


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 0}, {"max_nodes": -1}, {"max_tokens": 1.5}, {"max_nodes": True}])
def test_limits_that_are_none_are_told(limits):
    with pytest.raises(ConfigurationError):
        TokenBudgetPostprocessor(**limits)


def test_it_works_in_an_engine():
    documents = [Document(text=f"Text number {number}. " * 20) for number in range(6)]
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=2))
    budget = TokenBudgetPostprocessor(max_tokens=150, model="gpt-4o-mini")
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=6, node_postprocessors=[budget])
    assert tokens(engine.query("Which?").source_nodes) <= 150
    assert tokens(run(engine.aquery("Which?")).source_nodes) <= 150


LONG = "The bridge was built in 1911. " + "Bakers sell bread in the old street on weekdays. " * 9


def test_texts_of_nodes_are_made_shorter_for_a_question() -> None:
    nodes = [node(LONG, 0.9, page="3"), node("Two   spaces.", 0.8), node(LONG, 0.7)]
    before = copy.deepcopy(nodes)
    shorten = Shorten([steps.Whitespace(), steps.Duplicates(), steps.Sentences(share=0.3, embedder=False)])
    kept = ShorteningPostprocessor(shorten, model="gpt-4o").postprocess_nodes(nodes, query_str="When was the bridge built?")
    assert [each.score for each in kept] == [0.9, 0.8]  # the third says what the first says
    assert kept[0].text.startswith("The bridge was built in 1911.")
    assert len(kept[0].text) < 0.5 * len(LONG)
    assert kept[0].metadata == {"page": "3"}
    assert kept[1].text == "Two spaces."
    assert nodes == before


def test_a_query_engine_sends_shorter_nodes() -> None:
    index = VectorStoreIndex.from_documents([Document(text=LONG)], embed_model=MockEmbedding(embed_dim=8))
    shortener = ShorteningPostprocessor(Shorten([steps.Sentences(share=0.3, embedder=False)]))
    engine = index.as_query_engine(llm=MockLLM(), node_postprocessors=[shortener])
    answers = [engine.query("When was the bridge built?"), run(engine.aquery("When was the bridge built?"))]
    for answer in answers:
        assert "1911" in str(answer)
        assert str(answer).count("Bakers") < 5


def test_a_limit_drops_nodes_and_a_wrong_argument_is_told() -> None:
    nodes = [node(LONG, 0.9), node(LONG.replace("bridge", "harbour"), 0.8)]
    kept = ShorteningPostprocessor(Shorten([], max_input_tokens=100)).postprocess_nodes(nodes, query_str="When was the harbour built?")
    assert tokens(kept) <= 100
    assert ShorteningPostprocessor(Shorten.lossless()).postprocess_nodes([]) == []
    with pytest.raises(ConfigurationError, match=r"Shorten\.lossless\(\), not float"):
        ShorteningPostprocessor(0.5)  # type: ignore[arg-type]
