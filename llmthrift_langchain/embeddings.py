"""`ThriftEmbeddings`: LangChain embeddings that are metered, and paid for once per text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from llmthrift_core.asking import EMBEDDING
from llmthrift_core.budgets.unanswered import may_be_billed, times_sent
from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.cache.parameters import relevant
from llmthrift_core.cache.vectors import Vector, Vectors
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_NAMES = ("model", "model_name", "deployment", "model_id")
_QUERY, _TEXT = b"query", b"text"


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
        self._cached = cache and not is_disabled()
        kind = type(embeddings)
        settings = {name: value for name, value in vars(embeddings).items() if isinstance(value, str | int | float)}
        identity = digest("embeddings", f"{kind.__module__}.{kind.__qualname__}".encode(), canonical_json(relevant(settings)))
        if self._cached:
            self._vectors = Vectors(thrift.cache, model=self.model, identity=identity, namespace=namespace, ttl_seconds=ttl_seconds)

    def embed_documents(self, texts: list[str]) -> list[Vector]:
        """One vector for each text."""
        found, saved = self._known(texts, _TEXT)
        missing = _missing(texts, found)
        if missing:
            started = time.perf_counter()
            self._learn(missing, self._call(missing, self.embeddings.embed_documents, started), _TEXT, found, started)
        self._record_hits(saved)
        return [found[text] for text in texts]

    def embed_query(self, text: str) -> Vector:
        """The vector of one text."""
        found, saved = self._known([text], _QUERY)
        missing = _missing([text], found)
        if missing:
            started = time.perf_counter()
            vectors = self._call(missing, lambda texts: [self.embeddings.embed_query(texts[0])], started)
            self._learn(missing, vectors, _QUERY, found, started)
        self._record_hits(saved)
        return found[text]

    async def aembed_documents(self, texts: list[str]) -> list[Vector]:
        """As `embed_documents`."""
        return await self._answer(texts, _TEXT)

    async def aembed_query(self, text: str) -> Vector:
        """As `embed_query`."""
        return (await self._answer([text], _QUERY))[0]

    # --- steps ---

    async def _answer(self, texts: list[str], kind: bytes) -> list[Vector]:
        found, saved = await asyncio.to_thread(self._known, texts, kind)
        missing = _missing(texts, found)
        if missing:
            started = time.perf_counter()
            try:
                if kind == _QUERY:
                    vectors = [await self.embeddings.aembed_query(missing[0])]
                else:
                    vectors = await self.embeddings.aembed_documents(missing)
            except (Exception, asyncio.CancelledError) as error:
                await asyncio.to_thread(self._record_failed, missing, started, error)
                raise
            await asyncio.to_thread(self._learn, missing, vectors, kind, found, started)
        if saved:
            await asyncio.to_thread(self._record_hits, saved)
        return [found[text] for text in texts]

    def _call(self, texts: list[str], call: Any, started: float) -> list[Vector]:
        try:
            vectors: list[Vector] = call(texts)
        except BaseException as error:
            self._record_failed(texts, started, error)
            raise
        return vectors

    def _known(self, texts: Sequence[str], kind: bytes) -> tuple[dict[str, Vector], int]:
        """The cached vectors of texts, and how many tokens they save."""
        if not self._cached or is_observing():
            return {}, 0
        return self._vectors.known(texts, kind)

    def _learn(self, texts: list[str], vectors: list[Vector], kind: bytes, found: dict[str, Vector], started: float) -> None:
        tokens = [self._tokens(text) for text in texts]
        self._record(sum(tokens), started)
        found.update(zip(texts, vectors, strict=True))
        if self._cached:
            self._vectors.learn(texts, vectors, kind, tokens)

    def _record_failed(self, texts: list[str], started: float, error: BaseException) -> None:
        """What was sent and not answered may have been billed, as often as it was sent."""
        tokens = sum(self._tokens(text) for text in texts) * times_sent(error) if may_be_billed(error) else 0
        self._record(tokens, started, error=error)

    def _record(self, tokens: int, started: float, *, error: BaseException | None = None) -> None:
        if is_disabled():
            return
        try:
            usage = Usage() if error is not None and not tokens else Usage(input_tokens=tokens, estimated=True)
            seconds = time.perf_counter() - started
            self.thrift.ledger.record(self.model, usage, request_type=EMBEDDING, latency_seconds=seconds, error=error)
        except Exception as failure:
            self.thrift.note_failure("embeddings", failure)

    def _record_hits(self, tokens: int) -> None:
        if not tokens or is_disabled():
            return
        try:
            usage = Usage(input_tokens=tokens, estimated=True)
            self.thrift.ledger.record(self.model, usage, request_type=EMBEDDING, cache="exact")
        except Exception as failure:
            self.thrift.note_failure("embeddings", failure)

    def _tokens(self, text: str) -> int:
        from llmthrift_core.tokens import count_tokens

        try:
            return 0 if is_disabled() else count_tokens(text, self.model).tokens
        except Exception as failure:  # a text of a kind that nobody foresaw
            self.thrift.note_failure("embeddings", failure)
            return 0


def _missing(texts: Sequence[str], found: dict[str, Vector]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text not in found]
