"""`select_context` and `Sentences` keep what a question is about, in any script, with an embedder or without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import Shorten, select_context, steps
from llmthrift_core.prompts.relevance import bm25, coverage, lexical_relevance
from llmthrift_core.prompts.sentences import sentence_spans, split_sentences
from llmthrift_core.prompts.terms import words_of
from llmthrift_core.usage.tokens import count_tokens
from tests.core.prompts.test_anatomy import PARAGRAPH

MODEL = "gpt-4o"
TOWN = [
    "The harbour of the town was built in 1874 by engineers from the north.",
    "The bakery in the old street sells bread on weekdays and cakes on Sundays.",
    "The mayor, Ada Winter, was elected for a third term after a long count.",
    "Forty buses connect the town with the villages around the lake.",
]


class TestSentences:
    @pytest.mark.parametrize(
        ("question", "kept"),
        [
            ("Who is the mayor?", 2),
            ("When was the harbour built?", 0),
            ("What does the bakery sell?", 1),
            ("How many buses connect villages?", 3),
        ],
    )
    def test_the_sentence_that_is_asked_for(self, question: str, kept: int) -> None:
        text = f"{' '.join(TOWN)}\n\nQuestion: {question}"
        found = Shorten([steps.Sentences(share=0.3, embedder=False)])(text, MODEL).messages
        assert TOWN[kept] in found
        assert sum(sentence in found for sentence in TOWN) == 1
        assert "..." in found
        assert found.endswith(f"\n\nQuestion: {question}")

    @pytest.mark.parametrize(
        ("text", "question", "kept"),
        [
            (
                "Der Hafen wurde 1874 gebaut. Die Bäckerei verkauft Brot. Das Stadtratsgebäude ist alt und grün.",
                "Welche Farbe hat der Stadtrat?",
                "grün",
            ),
            ("El puerto fue construido en 1874. La panadería vende pan. El alcalde se llama Ruiz.", "¿Quién es el alcalde?", "Ruiz"),
            ("港口建于1874年。面包店出售面包和蛋糕。市长名叫王明，已经连任三次。", "谁是市长？", "王明"),
            ("港は1874年に建てられた。パン屋はパンを売る。市長は田中さんである。", "市長は誰ですか？", "田中"),
            ("بني الميناء عام 1874. يبيع المخبز الخبز والكعك. رئيس البلدية اسمه علي حسن.", "من هو رئيس البلدية؟", "علي"),
        ],
        ids=["German compound", "Spanish", "Chinese", "Japanese", "Arabic"],
    )
    def test_in_other_languages(self, text: str, question: str, kept: str) -> None:
        found = Shorten([steps.Sentences(share=0.4, embedder=False)])(f"{text}\n\n{question}", MODEL)
        assert kept in found.messages
        assert found.messages.endswith(question)
        assert found.tokens_after < found.tokens_before

    def test_the_share_is_of_the_documents(self) -> None:
        documents = "\n\n".join(" ".join(sentence.replace("town", f"town {each}") for sentence in TOWN) for each in range(12))
        tail = "\n\nQuestion: Who is the mayor of town 7?"
        whole = count_tokens(documents, MODEL).tokens
        for share in (0.2, 0.5, 0.8):
            found = Shorten([steps.Sentences(share=share, embedder=False)])(documents + tail, MODEL).messages
            assert count_tokens(found.removesuffix(tail), MODEL).tokens / whole == pytest.approx(share, abs=0.07)

    def test_a_table_behind_a_cut_begins_its_line_still(self) -> None:
        text = f"{PARAGRAPH} One more. Key: value\nand so on\n| a | b |\n|---|---|\n| 1 | 2 |\n"
        shorten = Shorten([steps.Truncate(30)])
        once = shorten(text, MODEL).messages
        assert "...\n| a | b |\n|---|---|\n| 1 | 2 |" in once
        assert shorten(once, MODEL).messages == once

    def test_code_in_the_documents_stays(self) -> None:
        text = f"{' '.join(TOWN)}\n```\nharbour = build(1874)\n```\n{' '.join(TOWN)}\n\nQuestion: Who is the mayor?"
        assert "```\nharbour = build(1874)\n```" in Shorten([steps.Sentences(share=0.3, embedder=False)])(text).messages

    def test_results_are_judged_by_the_question_before(self) -> None:
        messages = [
            {"role": "user", "content": "Who is the mayor?"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": {"name": "find", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": " ".join(TOWN)},
        ]
        found = Shorten([steps.Sentences(share=0.3, embedder=False)])(messages).messages
        assert "Ada Winter" in found[2]["content"]
        assert "harbour" not in found[2]["content"]

    def test_an_embedder_decides_where_words_do_not(self) -> None:
        def embedder(texts: Sequence[str]) -> Any:
            return np.array([[1.0, 0.0] if "bread" in text or "hungry" in text else [0.0, 1.0] for text in texts])

        text = f"{' '.join(TOWN)}\n\nQuestion: I am hungry, so where?"
        assert TOWN[1] in Shorten([steps.Sentences(share=0.3, embedder=embedder)])(text).messages

    @pytest.mark.parametrize(
        "given", [lambda texts: [], lambda texts: [[math.nan, 1]] * len(texts), lambda texts: 1 / 0], ids=["none", "nan", "raises"]
    )
    def test_an_embedder_that_fails_is_counted(self, given: Any) -> None:
        text = f"{' '.join(TOWN)}\n\nQuestion: Who is the mayor?"
        found = Shorten([steps.Sentences(share=0.3, embedder=given)])(text)
        assert TOWN[2] in found.messages
        assert found.failures == {"embedder": 1}

    def test_a_result_gives_itself(self) -> None:
        shorten = Shorten([steps.Sentences(share=0.3, embedder=False)])
        once = shorten(f"{' '.join(TOWN)}\n\nQuestion: Who is the mayor?", MODEL).messages
        assert shorten(once, MODEL).messages == once

    def test_a_long_first_sentence_is_cut_to_its_clauses(self) -> None:
        long = (
            "The mayor, who likes the sea, has a boat, and the boat, which is green, was bought in 1999 by her uncle, who sold bread. Yes."
        )
        found = Shorten([steps.Sentences(share=0.3, embedder=False)])(f"{long}\n\nQuestion: When was the boat bought?", MODEL)
        assert "1999" in found.messages
        assert "likes the sea" not in found.messages


class TestSelectContext:
    def test_the_most_relevant_come_first(self) -> None:
        found = select_context("When was the harbour of the town built?", TOWN, max_documents=2, embedder=False)
        assert found.indices[0] == 0
        assert len(found) == len(found.relevance) == 2
        assert found.text.startswith(f"Doc 1 (relevance: {found.relevance[0]:.2f})\n{TOWN[0]}")
        assert found.tokens == count_tokens(found.text).tokens

    def test_tokens_are_bounded(self) -> None:
        for most in (10, 30, 60, 500):
            found = select_context("Who is the mayor of the town?", [text * 8 for text in TOWN], max_tokens=most, embedder=False)
            assert found.tokens <= most
        assert "Ada Winter" in select_context("Who is the mayor?", [" ".join(TOWN) * 9], max_tokens=50, embedder=False).text

    def test_what_is_not_relevant_is_left_out(self) -> None:
        found = select_context("Who is the mayor?", TOWN, min_relevance=0.7, embedder=False)
        assert found.indices == (2,)
        assert select_context("zebra crossing", TOWN, min_relevance=0.1, embedder=False).indices == ()

    def test_a_document_that_comes_twice_is_taken_once(self) -> None:
        assert select_context("Who is the mayor?", [TOWN[2], TOWN[2], TOWN[0]], max_documents=2, embedder=False).indices == (0, 2)

    def test_documents_of_frameworks(self) -> None:
        from langchain_core.documents import Document
        from llama_index.core.schema import TextNode

        found = select_context("Who is the mayor?", [Document(TOWN[0]), TextNode(text=TOWN[2])], max_documents=1, embedder=False)
        assert found.indices == (1,)

    def test_an_embedder_that_fails_is_counted(self) -> None:
        def broken(texts: Sequence[str]) -> Any:
            raise OSError("no network")

        found = select_context("Who is the mayor?", TOWN, max_documents=1, embedder=broken)
        assert (found.indices, found.failures) == ((2,), {"embedder": 1})

    def test_half_a_character_fails_no_embedder(self) -> None:
        pytest.importorskip("fastembed")
        found = select_context("When was the harbour built?", ["The harbour was built in 1874.", "half \ud800 of one"], max_documents=1)
        assert (found.indices, found.failures) == ((0,), {})

    @pytest.mark.parametrize("limits", [{"max_tokens": 0}, {"max_documents": 0}])
    def test_a_limit_is_positive(self, limits: dict[str, int]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(limits))):
            select_context("Why?", TOWN, **limits)  # type: ignore[arg-type]

    @settings(deadline=None, max_examples=60)
    @given(st.text(max_size=30), st.lists(st.text(max_size=60), max_size=6), st.integers(1, 80))
    def test_any_texts(self, question: str, documents: list[str], most: int) -> None:
        found = select_context(question, documents, max_tokens=most, embedder=False)
        assert found.tokens <= most
        assert all(0 <= each <= 1 for each in found.relevance)
        assert len(set(found.indices)) == len(found.indices) <= 3


def test_bm25_is_that_of_its_formula() -> None:
    # Two documents, one of which has the term: idf = ln(1 + 1.5 / 1.5) = ln 2; length is the mean, so that the norm is k1 = 1.2.
    scores = bm25(["harbour"], [["harbour", "town"], ["bread", "cake"]])
    assert scores == pytest.approx([math.log(2) * 2.2 / 2.2, 0.0])


def test_words_of_scripts_without_spaces_are_pairs() -> None:
    assert words_of("港口 built 港") == ["港口", "built", "港"]
    assert words_of("市长名") == ["市长", "长名"]
    assert lexical_relevance("市长", ["市长名", "面包店"])[0] > 0


def test_coverage_is_a_share() -> None:
    assert coverage("bridges", ["the bridge", "cats"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Dr. Lee met J. Smith at 3.5 p.m. in the U.S. army. Then she left.", 2),
        ("Er kam am 3. Mai zurück. Das 19. Jahrhundert war lang, z. B. hier.", 2),
        ("He said: “No.” She left! Why?", 3),
        ("一。二！三？四", 4),
        ("यह एक है। यह दो है।", 2),
        ("هل جئت؟ نعم.", 2),
        ("First line\n\nSecond paragraph", 2),
        ("- one\n- two\n- three", 3),
        ("", 0),
    ],
)
def test_sentences(text: str, number: int) -> None:
    assert len(split_sentences(text)) == number


@given(st.text(alphabet="aB .!?\n。3é", max_size=60))
def test_spans_are_the_whole_text(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join(text[start:end] for start, end in spans) == text
