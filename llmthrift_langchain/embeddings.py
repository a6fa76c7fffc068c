"""`ThriftEmbeddings`: LangChain embeddings that are metered, and paid for once per text."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.usage import Usage
from llmthrift_langchain.llm_string import relevant

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_NAMES = ("model", "model_name", "deployment", "model_id")
_REQUEST_TYPE = "embedding"


class ThriftEmbeddings(Embeddings):
    """Embeddings of any LangChain model, recorded in the ledger and kept in the cache.

    LangChain's embeddings report no usage: tokens are counted offline and marked as estimated. A call that is answered from the cache in
    part is billed for the rest. Trouble with cache or ledger is logged, counted, and the call goes on.

    Args:
        thrift: prices, cache and ledger.
        embeddings: the model.
        cache: whether vectors are kept; False only meters.
        namespace: of the vectors in the cache.
        ttl_seconds: how long a vector is kept; None is for ever, since a model's vectors do not change.

    Raises:
        ConfigurationError: `embeddings` is no embeddings object.

    >>> from langchain_core.embeddings import DeterministicFakeEmbedding
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_langchain import ThriftEmbeddings
    >>> embeddings = ThriftEmbeddings(Thrift(":memory:"), DeterministicFakeEmbedding(size=8))
    >>> embeddings.embed_query("a") == embeddings.embed_query("a")
    True
    """

    def __init__(
        self,
        thrift: Thrift,
        embeddings: Embeddings,
        *,
        cache: bool = True,
        namespace: str = "embeddings",
        ttl_seconds: float | None = None,
    ) -> None:
        if not callable(getattr(embeddings, "embed_documents", None)) or not callable(getattr(embeddings, "embed_query", None)):
            raise ConfigurationError(f"embeddings must be a LangChain Embeddings object, not {type(embeddings).__name__}")
        self.thrift = thrift
        self.embeddings = embeddings
        names = (getattr(embeddings, name, None) for name in _NAMES)
        self.model = next((name for name in names if isinstance(name, str)), type(embeddings).__name__)
        size = getattr(embeddings, "dimensions", None)
        self.dimensions: int | None = size if isinstance(size, int) else None
        self._cached = cache
        self._policy = CachePolicy(namespace=namespace, ttl_seconds=ttl_seconds, max_entries=1_000_000, max_bytes=None)
        kind = type(embeddings)
        settings = {name: value for name, value in vars(embeddings).items() if isinstance(value, str | int | float)}
        self._identity = digest("embeddings", f"{kind.__module__}.{kind.__qualname__}".encode(), canonical_json(relevant(settings)))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text."""
        found, saved = self._known(texts, b"document")
        missing = _missing(texts, found)
        if missing:
            started = time.perf_counter()
            self._learn(missing, self._call(missing, self.embeddings.embed_documents, started), b"document", found, started)
        self._record_hits(saved)
        return [found[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        found, saved = self._known([text], b"query")
        missing = _missing([text], found)
        if missing:
            started = time.perf_counter()
            vectors = self._call(missing, lambda texts: [self.embeddings.embed_query(texts[0])], started)
            self._learn(missing, vectors, b"query", found, started)
        self._record_hits(saved)
        return found[text]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`."""
        return await self._answer(texts, b"document")

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`."""
        return (await self._answer([text], b"query"))[0]

    # --- steps ---

    async def _answer(self, texts: list[str], kind: bytes) -> list[list[float]]:
        found, saved = await asyncio.to_thread(self._known, texts, kind)
        missing = _missing(texts, found)
        if missing:
            started = time.perf_counter()
            try:
                if kind == b"query":
                    vectors = [await self.embeddings.aembed_query(missing[0])]
                else:
                    vectors = await self.embeddings.aembed_documents(missing)
            except Exception as error:
                self._record(0, started, error=error)
                raise
            await asyncio.to_thread(self._learn, missing, vectors, kind, found, started)
        self._record_hits(saved)
        return [found[text] for text in texts]

    def _call(self, texts: list[str], call: Any, started: float) -> list[list[float]]:
        try:
            vectors: list[list[float]] = call(texts)
        except Exception as error:
            self._record(0, started, error=error)
            raise
        return vectors

    def _known(self, texts: Sequence[str], kind: bytes) -> tuple[dict[str, list[float]], int]:
        """The cached vectors of texts, and how many tokens they save: a text that is given twice is saved twice."""
        found: dict[str, list[float]] = {}
        saved = 0
        if not self._cached or is_disabled() or is_observing():
            return found, saved
        for text, times in Counter(texts).items():
            entry = self.thrift.cache.lookup(self._key(text, kind), self._policy)
            if entry is not None and len(entry.payload) % 8 == 0 and entry.payload:
                found[text] = list(struct.unpack(f"<{len(entry.payload) // 8}d", entry.payload))
                try:
                    saved += times * entry.usage.input_tokens
                except ValueError:  # a row that is not ours
                    continue
        return found, saved

    def _learn(self, texts: list[str], vectors: list[list[float]], kind: bytes, found: dict[str, list[float]], started: float) -> None:
        tokens = [self._tokens(text) for text in texts]
        self._record(sum(tokens), started)
        for text, vector, taken in zip(texts, vectors, tokens, strict=True):
            found[text] = vector
            if self._cached and not is_disabled():
                try:
                    payload = struct.pack(f"<{len(vector)}d", *vector)
                except (struct.error, TypeError):
                    continue  # not numbers: whoever asked for them will see
                usage = Usage(input_tokens=taken, estimated=True)
                self.thrift.cache.store(self._key(text, kind), self._policy, payload, model=self.model, usage=usage)

    def _record(self, tokens: int, started: float, *, error: Exception | None = None) -> None:
        if is_disabled():
            return
        try:
            usage = Usage() if error is not None else Usage(input_tokens=tokens, estimated=True)
            seconds = time.perf_counter() - started
            self.thrift.ledger.record(self.model, usage, request_type=_REQUEST_TYPE, latency_seconds=seconds, error=error)
        except Exception as failure:
            self.thrift.note_failure("embeddings", failure)

    def _record_hits(self, tokens: int) -> None:
        if not tokens or is_disabled():
            return
        try:
            usage = Usage(input_tokens=tokens, estimated=True)
            self.thrift.ledger.record(self.model, usage, request_type=_REQUEST_TYPE, cache="exact")
        except Exception as failure:
            self.thrift.note_failure("embeddings", failure)

    def _tokens(self, text: str) -> int:
        from llmthrift_core.tokens import count_tokens

        try:
            return 0 if is_disabled() else count_tokens(text, self.model).tokens
        except Exception as failure:  # a text of a kind that nobody foresaw
            self.thrift.note_failure("embeddings", failure)
            return 0

    def _key(self, text: str, kind: bytes) -> bytes:
        return self._policy.key(self._identity, kind, text.encode("utf-8", "surrogatepass"))


def _missing(texts: Sequence[str], found: dict[str, list[float]]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text not in found]
