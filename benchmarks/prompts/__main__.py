"""python -m benchmarks.prompts context|sentences|agents|speed [EVERY]: answers and values kept beside peers, dollars, and time."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.prompts.agents import agents
from benchmarks.prompts.questions import CANDIDATES, Asked, Vectors, questions, with_others
from llmthrift_core.display import plain_table
from llmthrift_core.prompts import Shorten, analyze, select_context, steps
from llmthrift_core.prompts.relevance import bm25
from llmthrift_core.prompts.sentences import split_sentences
from llmthrift_core.prompts.terms import words_of
from llmthrift_core.usage.tokens import count_tokens

MODEL = "gpt-4o"
Pick = Callable[[Asked, list[str]], list[int]]


def context(every: int) -> None:
    """The share of answers that are in the best one, two, three of twenty paragraphs."""
    vectors = Vectors()
    asked = questions(every)
    rows = []
    for language in sorted({each.language for each in asked}):
        own = [each for each in asked if each.language == language]
        among = sorted({each.paragraph for each in own})
        mixed = [with_others(each, among, seed) for seed, each in enumerate(own)]
        for name, pick in _pickers(vectors).items():
            picked = [pick(each, documents)[:3] for each, documents in zip(own, mixed, strict=True)]
            shares = []
            for most in (1, 2, 3):
                kept = sum(
                    any(each.answer in documents[place] for place in places[:most])
                    for each, documents, places in zip(own, mixed, picked, strict=True)
                )
                shares.append(f"{kept / len(own):.3f}")
            rows.append([f"{language} {name}", *shares])
    print(f"{len(asked):,} questions, {CANDIDATES} paragraphs each: the answer is in the best")
    print(plain_table(["", "1", "2", "3"], rows))


def _pickers(vectors: Vectors) -> dict[str, Pick]:
    def ours(embedder: Any, each: Asked, documents: list[str]) -> list[int]:
        return list(select_context(each.question, documents, max_tokens=100_000, max_documents=3, embedder=embedder).indices)

    def by_bm25(each: Asked, documents: list[str]) -> list[int]:
        scores = bm25(words_of(each.question), [words_of(text) for text in documents])
        return sorted(range(len(documents)), key=lambda place: -scores[place])

    def by_vectors(each: Asked, documents: list[str]) -> list[int]:
        found = vectors([each.question, *documents])
        return [int(place) for place in np.argsort(-(found[1:] @ found[0]), kind="stable")]

    def at_random(each: Asked, documents: list[str]) -> list[int]:
        return random.Random(each.question).sample(range(len(documents)), 3)

    def embeddings_filter(each: Asked, documents: list[str]) -> list[int]:
        from langchain_classic.retrievers.document_compressors import EmbeddingsFilter
        from langchain_core.documents import Document

        given = [Document(text, metadata={"place": place}) for place, text in enumerate(documents)]
        found = EmbeddingsFilter(embeddings=_for_langchain(vectors), k=3).compress_documents(given, each.question)
        return [document.metadata["place"] for document in found]

    peers: dict[str, Pick] = (
        {"LangChain EmbeddingsFilter": embeddings_filter} if find_spec("langchain_classic") and find_spec("langchain_community") else {}
    )
    return {
        **peers,
        "select_context": partial(ours, vectors),
        "select_context, words alone": partial(ours, False),
        "BM25 on words": by_bm25,
        "MiniLM": by_vectors,
        "random": at_random,
    }


def sentences(every: int) -> None:
    """The share of answers that are still there, and the share of tokens that is left."""
    vectors = Vectors()
    asked = questions(every)
    rows = []
    for language in sorted({each.language for each in asked}):
        own = [each for each in asked if each.language == language]
        for name, shorten in _shorteners(vectors).items():
            cells = []
            for share in (0.45, 0.30):
                kept = left = whole = 0
                for each in own:
                    short = shorten(each, share)
                    kept += each.answer in short
                    left += count_tokens(short, MODEL).tokens
                    whole += count_tokens(each.paragraph, MODEL).tokens
                cells.append(f"{kept / len(own):.3f} at {left / whole:.3f}")
            rows.append([f"{language} {name}", *cells])
    print(f"{len(asked):,} questions: answers kept, at the share of the tokens that is left")
    print(plain_table(["", "share=.45", "share=.30"], rows))


def _shorteners(vectors: Vectors) -> dict[str, Callable[[Asked, float], str]]:
    steps_of: dict[tuple[Any, float], Shorten] = {}

    def ours(embedder: Any, each: Asked, share: float) -> str:
        key = (embedder is False, share)
        if key not in steps_of:
            steps_of[key] = Shorten([steps.Sentences(share=share, embedder=embedder)])
        tail = f"\n\nQuestion: {each.question}"
        return str(steps_of[key](each.paragraph + tail, MODEL).messages).removesuffix(tail)

    def until(order: Callable[[Asked, list[str]], list[int]], each: Asked, share: float) -> str:
        found = split_sentences(each.paragraph)
        sizes = [count_tokens(text, MODEL).tokens for text in found]
        left, kept = share * sum(sizes), set()
        for place in order(each, found):
            if kept and 0.65 * sizes[place] > left:
                break
            kept.add(place)
            left -= sizes[place]
        return " ".join(found[place] for place in sorted(kept))

    def llama_index(each: Asked, share: float) -> str:
        from llama_index.core.postprocessor import SentenceEmbeddingOptimizer
        from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

        optimizer = SentenceEmbeddingOptimizer(
            embed_model=_for_llama_index(vectors), percentile_cutoff=share, tokenizer_fn=split_sentences, context_before=0, context_after=0
        )
        nodes = [NodeWithScore(node=TextNode(text=each.paragraph), score=1.0)]
        return optimizer.postprocess_nodes(nodes, QueryBundle(each.question))[0].node.get_content()

    def bm25_order(each: Asked, found: list[str]) -> list[int]:
        scores = bm25(words_of(each.question), [words_of(text) for text in found])
        return sorted(range(len(found)), key=lambda place: -scores[place])

    known: dict[str, Callable[[Asked, float], str]] = {
        "Sentences": partial(ours, vectors),
        "Sentences, words alone": partial(ours, False),
        "LlamaIndex SentenceEmbeddingOptimizer": llama_index,
        "BM25 on words": partial(until, bm25_order),
        "leading sentences": partial(until, lambda each, found: list(range(len(found)))),
        "random sentences": partial(until, lambda each, found: random.Random(each.question).sample(range(len(found)), len(found))),
    }
    return known


def _for_langchain(vectors: Vectors) -> Any:
    from langchain_core.embeddings import Embeddings

    class Remembered(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[float(each) for each in vector] for vector in vectors(texts)]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return Remembered()


def _for_llama_index(vectors: Vectors) -> Any:
    from llama_index.core.embeddings import BaseEmbedding

    class Remembered(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return [float(each) for each in vectors([text])[0]]

        def _get_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

    return Remembered()


def speed(every: int) -> None:
    """Milliseconds of processor time, cold and warm, by the size of the conversation."""
    paragraphs = list(dict.fromkeys(each.paragraph for each in questions()))
    rows = []
    lossless = Shorten.lossless()
    for messages in (2, 100, 200):
        conversation = [
            {"role": ("user", "assistant")[place % 2], "content": f"{place}: {paragraphs[place % len(paragraphs)] * 3}"}
            for place in range(messages)
        ]
        tokens = analyze(conversation, MODEL).total_tokens
        for name, run in (("analyze", lambda given: analyze(given, MODEL)), ("Shorten.lossless", lambda given: lossless(given, MODEL))):
            fresh = [{**message, "content": message["content"] + f" {name}"} for message in conversation]
            times = []
            for _ in range(8):
                start = time.process_time()
                run(fresh)
                times.append(1_000 * (time.process_time() - start))
            rows.append([f"{name}, {tokens:,} tokens in {messages} messages", f"{times[0]:.1f}", f"{sorted(times[1:])[3]:.1f}"])
    print(plain_table(["ms of processor time", "first", "again"], rows))


if __name__ == "__main__":
    commands = {"context": context, "sentences": sentences, "agents": agents, "speed": speed}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 1)
