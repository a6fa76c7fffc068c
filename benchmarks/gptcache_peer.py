"""GPTCache with SQLite and FAISS, as its own documentation sets it up: a peer of the semantic cache, and a store of it.

The peer is asked through `gptcache.adapter.api`, with the distance that its vector store reports and its usual threshold of 0.8: of a
largest squared distance of 4, that is a cosine of at least 0.6.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks.measure import Timing, compare
from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, GPTCacheStore, SemanticCache

IS_INSTALLED = find_spec("gptcache") is not None and find_spec("faiss") is not None
_IN_MEMORY = "sqlite://"
_COSINE = 0.6  # where GPTCache's threshold lies


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


def latency(texts: Sequence[str], asked: Sequence[str], vectors: Mapping[str, Any]) -> dict[str, dict[str, Timing]]:
    """Microseconds of lookups and inserts without embedding, taking turns: of GPTCache, of the bridge over it, and of this library.

    Args:
        texts: what is stored, each with the answer "answer". asked: half of them for lookups, half for inserts.
    """
    import numpy as np
    from gptcache.adapter.api import get, put

    dimensions = len(next(iter(vectors.values())))
    looked, stored = asked[: len(asked) // 2], asked[len(asked) // 2 :]
    limit = len(texts) + len(asked)
    apart = np.random.default_rng(1).normal(size=(len(stored), dimensions)).astype(np.float32)
    vectors = {**vectors, **dict(zip(stored, apart / np.linalg.norm(apart, axis=1, keepdims=True), strict=True))}
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after GPTCache's own exit handlers, which write into it
    with Thrift(f"{folder}/thrift.db") as thrift:

        def gptcache(name: str) -> Any:
            sql_url = f"sqlite:///{folder}/{name}.db"
            cache = opened(vectors.__getitem__, dimensions, sql_url=sql_url, index=f"{folder}/{name}.index", most=limit)
            cache.import_data(list(texts), ["answer"] * len(texts))
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
            calls=len(looked) // 6,
            rounds=5,
            warmup=len(looked) // 6,
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
            calls=len(stored) // 6,
            rounds=5,
            warmup=len(stored) // 6,
        )
        bridge.close()
        own.close()
    return {"lookup": lookups, "insert": inserts}
