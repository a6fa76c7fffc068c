"""`ThriftEmbeddings`: LangChain embeddings that are metered, and paid for once per text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

from llmthrift_core.attribution import Attribution, current_attribution
from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.cache.keys import canonical_json, digest, relevant
from llmthrift_core.cache.vectors import Vector, Vectors
from llmthrift_core.calls.beginning import begin_off_loop
from llmthrift_core.calls.request import Request, Response
from llmthrift_core.errors import BudgetError, ConfigurationError, StorageError
from llmthrift_core.model_calls.models import EMBEDDING
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.texts import require_thrift
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.calls.call import Call
    from llmthrift_core.thrift import Thrift

_NAMES = ("model", "model_name", "deployment", "model_id")
_QUERY, _TEXT = b"query", b"text"


class ThriftEmbeddings(Embeddings):
    """Embeddings of any LangChain model, recorded in the ledger and kept in the cache.

    LangChain's embeddings report no usage: tokens are counted offline and marked as estimated. A call that is answered from the cache in
    part is billed for the rest. Budgets are asked before a call. Trouble with cache or ledger is logged, counted, and the call goes on.

    Args:
        thrift: prices, cache, budgets and ledger.
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
        require_thrift(thrift, type(self).__name__)
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
        """One vector for each text.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
        return self._answer(texts, _TEXT, self.embeddings.embed_documents)

    def embed_query(self, text: str) -> Vector:
        """The vector of one text. Raises as `embed_documents`."""
        return self._answer([text], _QUERY, lambda texts: [self.embeddings.embed_query(texts[0])])[0]

    async def aembed_documents(self, texts: list[str]) -> list[Vector]:
        """As `embed_documents`."""
        return await self._aanswer(texts, _TEXT, self.embeddings.aembed_documents)

    async def aembed_query(self, text: str) -> Vector:
        """As `embed_query`."""

        async def embed(texts: list[str]) -> list[Vector]:
            return [await self.embeddings.aembed_query(texts[0])]

        return (await self._aanswer([text], _QUERY, embed))[0]

    # --- steps ---

    def _answer(self, texts: list[str], kind: bytes, embed: Callable[[list[str]], list[Vector]]) -> list[Vector]:
        found, saved = self._known(texts, kind)
        missing = _missing(texts, found)
        if missing:
            call, tokens = self._begin(missing)
            try:
                vectors = embed(missing)
            except BaseException as error:
                _fail(call, error)
                raise
            self._learn(call, missing, tokens, vectors, kind, found)
        self._record_hits(saved)
        return [found[text] for text in texts]

    async def _aanswer(self, texts: list[str], kind: bytes, embed: Callable[[list[str]], Awaitable[list[Vector]]]) -> list[Vector]:
        found, saved = await in_thread(partial(self._known, texts, kind))
        missing = _missing(texts, found)
        if missing:
            call, tokens = await begin_off_loop(self.thrift, partial(self._begin, missing), _give_up)
            try:
                vectors = await embed(missing)
            except (Exception, asyncio.CancelledError) as error:
                await in_thread(partial(_fail, call, error))
                raise
            await in_thread(partial(self._learn, call, missing, tokens, vectors, kind, found))
        if saved:
            await in_thread(partial(self._record_hits, saved))
        return [found[text] for text in texts]

    def _begin(self, texts: list[str]) -> tuple[Call | None, list[int]]:
        """Reserve for a call, and count its texts. No call where the ledger is in trouble, or nothing is recorded.

        Raises:
            BudgetExceededError: a budget refuses it. StorageError: the budgets cannot be reached.
        """
        if is_disabled():
            return None, [0] * len(texts)
        tokens = [self._tokens(text) for text in texts]
        request = Request(
            model=self.model,
            attribution=Attribution(request_type=EMBEDDING).over(current_attribution()),
            outgoing=lambda tier: Outgoing(sum(tokens)),
            max_output_tokens=lambda tier: 0,
        )
        try:
            return self.thrift.begin(request), tokens
        except (BudgetError, StorageError):
            raise
        except Exception as failure:
            self.thrift.note_failure("embeddings", failure)
            return None, tokens

    def _known(self, texts: Sequence[str], kind: bytes) -> tuple[dict[str, Vector], int]:
        """The cached vectors of texts, and how many tokens they save."""
        if not self._cached or is_observing():
            return {}, 0
        return self._vectors.known(texts, kind)

    def _learn(
        self, call: Call | None, texts: list[str], tokens: list[int], vectors: list[Vector], kind: bytes, found: dict[str, Vector]
    ) -> None:
        if call is not None:
            call.finish(Response(usage=Usage(input_tokens=sum(tokens), estimated=True)))
        found.update(zip(texts, vectors, strict=True))
        if self._cached:
            self._vectors.learn(texts, vectors, kind, tokens)

    def _record_hits(self, tokens: int) -> None:
        if not tokens or is_disabled():
            return
        try:
            usage = Usage(input_tokens=tokens, estimated=True)
            self.thrift.ledger.record(self.model, usage, request_type=EMBEDDING, cache="exact")
        except Exception as failure:
            self.thrift.note_failure("embeddings", failure)

    def _tokens(self, text: str) -> int:
        from llmthrift_core.usage.tokens import count_tokens

        try:
            return 0 if is_disabled() else count_tokens(text, self.model).tokens
        except Exception as failure:  # a text of a kind that nobody foresaw
            self.thrift.note_failure("embeddings", failure)
            return 0


def _missing(texts: Sequence[str], found: dict[str, Vector]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text not in found]


def _fail(call: Call | None, error: BaseException) -> None:
    if call is not None:
        call.fail(error)


def _give_up(begun: tuple[Call | None, list[int]]) -> None:
    call, _ = begun
    if call is not None:
        call.abandon()
