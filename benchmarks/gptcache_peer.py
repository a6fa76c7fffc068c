"""GPTCache with SQLite and FAISS, as its own documentation sets it up: a peer of the semantic cache, and a store of it.

The peer is asked through `gptcache.adapter.api`, with the distance that its vector store reports and its usual threshold of 0.8: of a
largest squared distance of 4, that is a cosine of at least 0.6.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.measure import compare, table
from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, GPTCacheStore, SemanticCache

IS_INSTALLED = find_spec("gptcache") is not None and find_spec("faiss") is not None
_IN_MEMORY = "sqlite://"
_COSINE = 0.6  # where GPTCache's threshold lies
_ENTRIES, _LOOKUPS, _INSERTS, _DIMENSIONS = 2_000, 300, 120, 384


def opened(embed: Callable[[str], Any], dimensions: int, *, sql_url: str, index: str, most: int) -> Any:
    """A GPTCache that keeps up to so many entries. The libraries that its stores need are there: it installs nothing."""
    with warnings.catch_warnings(action="ignore"):
        from gptcache import Cache
        from gptcache.manager import CacheBase, VectorBase, get_data_manager
        from gptcache.processor.pre import get_prompt
        from gptcache.similarity_evaluation import SearchDistanceEvaluation

        manager = get_data_manager(
            CacheBase("sqlite", sql_url=sql_url), VectorBase("faiss", dimension=dimensions, index_path=index), max_size=most
        )
        cache = Cache()
        cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=lambda text, **_: embed(text),
            data_manager=manager,
            similarity_evaluation=SearchDistanceEvaluation(),
        )
    return cache


def stream(questions: Sequence[str], answers: Sequence[str], embed: Callable[[str], Any], dimensions: int) -> tuple[float, float, float]:
    """Shares of hits, of wrong hits, and of checks (there are none) among all questions, each asked once and stored if it is a miss."""
    from gptcache.adapter.api import get, put

    hits = wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        cache = opened(embed, dimensions, sql_url=_IN_MEMORY, index=f"{folder}/index", most=len(questions))
        for question, answer in zip(questions, answers, strict=True):
            found = get(question, cache_obj=cache)
            if found is None:
                put(question, answer, cache_obj=cache)
            else:
                hits += 1
                wrong += found != answer
    return hits / len(questions), wrong / len(questions), 0.0


def latency() -> str:
    """A table of lookups and inserts without embedding, taking turns: GPTCache, the bridge over it, and this library alone.

    The same cosine decides for each. About half of the lookups are hits; each insert follows a lookup that missed.
    """
    from gptcache.adapter.api import get, put

    grouped, apart = _clusters(_ENTRIES + _LOOKUPS // 2), _apart(_LOOKUPS // 2 + _INSERTS)
    vectors = grouped | apart
    texts, near = list(grouped)[:_ENTRIES], list(grouped)[_ENTRIES:]
    far, stored = list(apart)[: len(near)], list(apart)[len(near) :]
    looked = [text for pair in zip(near, far, strict=True) for text in pair]
    limit = len(vectors)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after GPTCache's own exit handlers, which write into it
    with Thrift(f"{folder}/thrift.db") as thrift:

        def gptcache(name: str) -> Any:
            sql_url = f"sqlite:///{folder}/{name}.db"
            cache = opened(vectors.__getitem__, _DIMENSIONS, sql_url=sql_url, index=f"{folder}/{name}.index", most=limit)
            cache.import_data(texts, ["answer"] * len(texts))
            return cache

        peer = gptcache("peer")
        bridge = SemanticCache(thrift, policy=FixedThreshold(_COSINE), store=GPTCacheStore(gptcache("bridge")))
        own = SemanticCache(thrift, lambda given: np.array([vectors[text] for text in given]), FixedThreshold(_COSINE))
        for text in texts:
            own.store(text, "answer")
        for text in texts:  # read once, as they are after a while
            bridge.lookup(text)
        lookups = compare(
            {
                "GPTCache": lambda n: get(looked[n], cache_obj=peer),
                "llmthrift over GPTCache": lambda n: bridge.lookup(looked[n]),
                "llmthrift": lambda n: own.lookup(looked[n]),
            },
            calls=_LOOKUPS // 6,
            warmup=_LOOKUPS // 6,
        )
        for text in stored:  # a question is stored after it was looked up and missed
            bridge.lookup(text)
            own.lookup(text)
        inserts = compare(
            {
                "GPTCache": lambda n: put(stored[n], "answer", cache_obj=peer),
                "llmthrift over GPTCache": lambda n: bridge.store(stored[n], "answer"),
                "llmthrift": lambda n: own.store(stored[n], "answer"),
            },
            calls=_INSERTS // 6,
            warmup=_INSERTS // 6,
        )
        bridge.close()
        own.close()
    usual = lookups["GPTCache"].p50, inserts["GPTCache"].p50
    rows = [
        (
            name,
            f"{lookup.p50 / 1e3:.2f} ms",
            f"{lookup.p99 / 1e3:.2f} ms",
            f"{usual[0] / lookup.p50:.1f}x",
            f"{inserts[name].p50 / 1e3:.2f} ms",
            f"{usual[1] / inserts[name].p50:.1f}x",
        )
        for name, lookup in lookups.items()
    ]
    header = ("", "lookup p50", "lookup p99", "GPTCache / this", "insert p50", "GPTCache / this")
    return table(f"Beside GPTCache with SQLite and FAISS, {_ENTRIES:,} entries, without embedding", header, rows)


def _clusters(number: int) -> dict[str, Any]:
    """Texts and vectors in groups of about twenty."""
    chance = np.random.default_rng(7)
    centres = chance.normal(size=(number // 20, _DIMENSIONS))
    rows = [(int(centre), place) for place, centre in enumerate(chance.integers(len(centres), size=number))]
    return {f"question about {_word(c)} in {_word(n)} words": _unit(centres[c] + 0.6 * chance.normal(size=_DIMENSIONS)) for c, n in rows}


def _apart(number: int) -> dict[str, Any]:
    """Texts and vectors that are near to nothing."""
    chance = np.random.default_rng(8)
    return {f"something else, {_word(place)}": _unit(chance.normal(size=_DIMENSIONS)) for place in range(number)}


def _word(number: int) -> str:
    """Without digits, which the guard would compare."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _unit(vector: Any) -> Any:
    return (vector / np.linalg.norm(vector)).astype(np.float32)
