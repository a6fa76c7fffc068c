"""`ThriftEmbedding`: LlamaIndex embeddings that are metered, bounded, and paid for once per text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import ConfigDict, Field, PrivateAttr

from llmthrift_core.attribution import FIELDS, Attribution, current_attribution
from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.cache.rules import current_cache_mode
from llmthrift_core.cache.vectors import Vector, Vectors
from llmthrift_core.calls.beginning import begin_off_loop
from llmthrift_core.calls.request import Request, Response
from llmthrift_core.errors import BudgetError, ConfigurationError, StorageError
from llmthrift_core.ledger import ids
from llmthrift_core.model_calls.models import EMBEDDING
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.texts import require_thrift
from llmthrift_core.usage import Usage
from llmthrift_llamaindex.identity import identity_of, model_of, provider_of
from llmthrift_llamaindex.response import embedding_usage
from llmthrift_llamaindex.runs import active_tags, attribution_of_tags, current_run, follow_runs, path_to

if TYPE_CHECKING:
    from llmthrift_core.calls.call import Call
    from llmthrift_core.thrift import Thrift

_QUERY: Final = b"query"
_TEXT: Final = b"text"


class ThriftEmbedding(BaseEmbedding):
    """Embeddings of any LlamaIndex model, recorded in the ledger, kept in the cache, and stopped by budgets.

    A vector is kept by model, parameters (dimensions among them), query or text, and text. A batch that is known in part is called for
    the rest. LlamaIndex's embeddings report no usage: tokens are counted offline and marked as estimated. Trouble with cache or ledger is
    logged, counted, and the call goes on.

    Args:
        thrift: prices, cache, budgets and ledger. May be given first, without a name.
        embedding: the model, second. Its own `embeddings_cache`, which mixes queries, texts and models, is passed by.
        cache: whether vectors are kept; False only meters.
        namespace: of the vectors in the cache.
        ttl_seconds: how long a vector is kept; None is for ever, since a model's vectors do not change.

    Raises:
        ConfigurationError: `embedding` is no embedding of LlamaIndex.

    >>> from llama_index.core import MockEmbedding
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_llamaindex import ThriftEmbedding
    >>> thrift = Thrift(":memory:")
    >>> embedding = ThriftEmbedding(thrift, MockEmbedding(embed_dim=2))
    >>> [embedding.get_query_embedding("a") for _ in range(2)]
    [[0.5, 0.5], [0.5, 0.5]]
    >>> thrift.report().total["cache_hits"]
    1
    """

    thrift: Any = Field(exclude=True)
    embedding: Any = Field(exclude=True)
    cache: bool = True
    namespace: str = "embeddings"
    ttl_seconds: float | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    _vectors: Vectors | None = PrivateAttr(default=None)
    _provider: str | None = PrivateAttr(default=None)

    def __init__(self, thrift: Thrift | None = None, embedding: BaseEmbedding | None = None, **fields: Any) -> None:
        if thrift is not None:
            fields["thrift"] = thrift
        require_thrift(fields.get("thrift"), type(self).__name__)
        given = embedding if embedding is not None else fields.pop("embedding", None)
        if not isinstance(given, BaseEmbedding) or isinstance(given, ThriftEmbedding):
            raise ConfigurationError(f"embedding must be an embedding of LlamaIndex, and no ThriftEmbedding, not {type(given).__name__}")
        told = {"model_name": model_of(given), "embed_batch_size": given.embed_batch_size, "num_workers": given.num_workers}
        super().__init__(embedding=given, callback_manager=given.callback_manager, **{**told, **fields})
        follow_runs()
        self._provider = provider_of(given)
        if self.cache and not is_disabled():
            self._vectors = Vectors(
                self.thrift.cache,
                model=self.model_name,
                identity=identity_of(given),
                namespace=self.namespace,
                ttl_seconds=self.ttl_seconds,
            )

    @classmethod
    def class_name(cls) -> str:
        """The class's name in events."""
        return "ThriftEmbedding"

    @property
    def dimensions(self) -> int | None:
        """The length of a vector, where the model was asked for one."""
        size = getattr(self.embedding, "dimensions", None)
        return size if isinstance(size, int) else None

    @property
    def llmthrift_thrift(self) -> Thrift:
        """Where this embedding records, so that a handler need not."""
        recorded: Thrift = self.thrift
        return recorded

    # --- what LlamaIndex calls, between the events that it emits for us; the model's own private methods emit none ---

    def _get_query_embedding(self, query: str) -> Vector:
        return self._answer([query], _QUERY, lambda texts: [self.embedding._get_query_embedding(texts[0])])[0]

    def _get_text_embedding(self, text: str) -> Vector:
        return self._answer([text], _TEXT, lambda texts: [self.embedding._get_text_embedding(texts[0])])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Vector]:
        return self._answer(texts, _TEXT, self.embedding._get_text_embeddings)

    async def _aget_query_embedding(self, query: str) -> Vector:
        async def call(texts: list[str]) -> list[Vector]:
            return [await self.embedding._aget_query_embedding(texts[0])]

        return (await self._aanswer([query], _QUERY, call))[0]

    async def _aget_text_embedding(self, text: str) -> Vector:
        async def call(texts: list[str]) -> list[Vector]:
            return [await self.embedding._aget_text_embedding(texts[0])]

        return (await self._aanswer([text], _TEXT, call))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Vector]:
        return await self._aanswer(texts, _TEXT, self.embedding._aget_text_embeddings)

    # --- steps ---

    def _answer(self, texts: list[str], kind: bytes, embed: Callable[[list[str]], list[Vector]]) -> list[Vector]:
        if is_disabled():
            return embed(texts)
        found, missing, saved = self._look_up(texts, kind)
        if missing:
            call = self._begin(missing)
            try:
                if self.embedding.rate_limiter is not None:
                    self.embedding.rate_limiter.acquire()
                vectors = embed(missing)
            except BaseException as error:
                _fail(call, error)
                raise
            self._finish(call, missing, vectors, kind, found)
        self._record_hits(saved)
        return [found[text] for text in texts]

    async def _aanswer(self, texts: list[str], kind: bytes, embed: Callable[[list[str]], Any]) -> list[Vector]:
        if is_disabled():
            plain: list[Vector] = await embed(texts)
            return plain
        found, missing, saved = await in_thread(partial(self._look_up, texts, kind))
        if missing:
            call = await begin_off_loop(self.thrift, partial(self._begin, missing), _give_up)
            try:
                if self.embedding.rate_limiter is not None:
                    await self.embedding.rate_limiter.async_acquire()
                vectors = await embed(missing)
            except BaseException as error:
                if isinstance(error, Exception | asyncio.CancelledError):
                    await in_thread(partial(_fail, call, error))
                else:
                    _fail(call, error)
                raise
            await in_thread(partial(self._finish, call, missing, vectors, kind, found))
        if saved:
            await in_thread(partial(self._record_hits, saved))
        return [found[text] for text in texts]

    def _look_up(self, texts: list[str], kind: bytes) -> tuple[dict[str, Vector], list[str], int]:
        """The known vectors, the texts without one, each once, and the tokens that are saved."""
        found: dict[str, Vector] = {}
        saved = 0
        if self._vectors is not None and not is_observing() and current_cache_mode() == "on":
            try:
                found, saved = self._vectors.known(texts, kind)
            except Exception as error:
                self.thrift.note_failure("embeddings", error)
        return found, [text for text in dict.fromkeys(texts) if text not in found], saved

    def _begin(self, texts: list[str]) -> Call | None:
        """Reserve for a call. None where the ledger is in trouble.

        Raises:
            BudgetExceededError: a budget refuses it.
        """
        identity = ids.new_request_id()
        trace, parent = current_run()
        request = Request(
            model=self.model_name,
            provider=self._provider,
            attribution=self._attribution(),
            request_id=identity,
            run_id=identity,
            trace_id=trace or identity,
            parent_id=parent,
            path=path_to(parent),
            outgoing=lambda tier: Outgoing(embedding_usage(texts, self.model_name).input_tokens),
            max_output_tokens=lambda tier: 0,
        )
        try:
            call: Call = self.thrift.begin(request)
        except (BudgetError, StorageError):
            raise
        except Exception as error:
            self.thrift.note_failure("embeddings", error)
            return None
        return call

    def _finish(self, call: Call | None, texts: list[str], vectors: list[Vector], kind: bytes, found: dict[str, Vector]) -> None:
        found.update(zip(texts, vectors, strict=True))
        from llmthrift_core.usage.tokens import count_tokens

        tokens = [count_tokens(text, self.model_name).tokens for text in texts]
        if call is not None:
            call.finish(Response(usage=Usage(input_tokens=sum(tokens), estimated=True)))
        if self._vectors is not None and current_cache_mode() != "off":
            try:
                self._vectors.learn(texts, vectors, kind, tokens)
            except Exception as error:
                self.thrift.note_failure("embeddings", error)

    def _record_hits(self, tokens: int) -> None:
        if not tokens:
            return
        try:
            who = self._attribution()
            named = {name: getattr(who, name) for name in FIELDS}
            usage = Usage(input_tokens=tokens, estimated=True)
            self.thrift.ledger.record(self.model_name, usage, provider=self._provider, cache="exact", tags=dict(who.tags), **named)
        except Exception as error:
            self.thrift.note_failure("embeddings", error)

    def _attribution(self) -> Attribution:
        given = attribution_of_tags(active_tags()).over(current_attribution())
        return given if given.request_type is not None else Attribution(request_type=EMBEDDING).over(given)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> ThriftEmbedding:
        return self.model_copy()

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in ("cache", "namespace", "ttl_seconds", "embed_batch_size", "num_workers")}
        return _remade, (self.thrift, self.embedding, fields)


def _fail(call: Call | None, error: BaseException) -> None:
    if call is not None:
        call.fail(error)


def _give_up(call: Call | None) -> None:
    if call is not None:
        call.abandon()


def _remade(thrift: Thrift, embedding: BaseEmbedding, fields: dict[str, Any]) -> ThriftEmbedding:
    return ThriftEmbedding(thrift, embedding, **fields)
