"""Models that speak OpenAI's protocol behind the HTTP service, without a framework between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from llmthrift_core.calls.adapter_call import aasked_again, abegin, abreak_off, aescalated, afailed, afinish, agrow
from llmthrift_core.service.backend import Answered, Asked, Choice, Piece, no_embeddings
from llmthrift_core.service.direct.call import DirectCall, arguments_of
from llmthrift_core.service.direct.models import OPTIONS, Models, models_of
from llmthrift_core.service.direct.upstream import UpstreamError, close_connections, upstream_of
from llmthrift_core.service.direct.wire import Chunks, Completion, check_messages, text_of
from llmthrift_core.settings import is_disabled

if TYPE_CHECKING:
    from llmthrift_core.service.backend import ChatBackend
    from llmthrift_core.service.direct.upstream import Upstream
    from llmthrift_core.thrift import Thrift

_USAGE = {"stream_options": {"include_usage": True}}
_Chunk = tuple[dict[str, Any], str | None]


def make_backend(
    thrift: Thrift, models: Mapping[str, Any], *, embeds: Callable[[], ChatBackend] | None = None, **options: Any
) -> DirectBackend | None:
    """The backend of these models; None where one of them does not speak OpenAI's protocol, or a framework is needed for an option.

    Args:
        models: by tier a name such as "openai:gpt-4o-mini", or a pair of it and its options.
        embeds: makes the backend of a framework that has the embedding model; None: there is none.
    """
    if any(name not in OPTIONS and value is not None for name, value in options.items()):
        return None
    upstreams = {tier: upstream_of(given, thrift.prices) for tier, given in models.items()}
    found = {tier: each for tier, each in upstreams.items() if each is not None}
    if len(found) < len(models):
        return None
    return DirectBackend(thrift, found, embeds=None if embeds is None else embeds(), **options)


class DirectBackend:
    """Sends a request on as it came, with the model, the limits and the shorter prompt that were chosen for it.

    Args:
        upstreams: by tier, cheapest first.
        embeds: the backend of a framework that has an embedding model, or None.
        options: as `models_of` takes them.
    """

    def __init__(self, thrift: Thrift, upstreams: Mapping[str, Upstream], *, embeds: ChatBackend | None = None, **options: Any) -> None:
        self._embeds = embeds
        self._models = models_of(thrift, upstreams, ask=self._ask, **{name: value for name, value in options.items() if name in OPTIONS})
        self._alone = {tier: self._models.only(tier) for tier in self._models.tiers.names}
        self._usage_untold: set[str] = set()  # servers that refuse to be asked for a stream's usage

    @property
    def tiers(self) -> Sequence[str]:
        """The names of the tiers, cheapest first."""
        return self._models.tiers.names

    def model_of(self, tier: str) -> tuple[str, str | None]:
        """The name and the provider of a tier's model."""
        return self._models.named[tier]

    async def answer(self, asked: Asked) -> Answered:
        """The whole answer."""
        check_messages(asked.messages)
        if is_disabled():
            return _answered(Completion(await self._upstream(asked).complete(self._plain(asked))))
        async with DirectCall(self._chosen(asked), asked, stream=False) as call:
            await abegin(call)
            while True:
                try:
                    if (answer := call.ready) is None:
                        answer = Completion(await self._upstream(asked, call).complete(call.body()))
                except BaseException as error:
                    if not await afailed(call, error):
                        raise
                else:
                    if await aasked_again(call, answer) or await aescalated(call, answer):
                        continue
                    await afinish(call, answer)
                    return _answered(answer)

    async def stream(self, asked: Asked) -> AsyncIterator[Piece]:
        """The answer as it comes."""
        check_messages(asked.messages)
        if is_disabled():
            chunks, text = Chunks(), None
            async with aclosing(self._opened(self._upstream(asked), {**self._plain(asked), "stream": True})) as opened:
                async for chunk, text in opened:
                    chunks.add(chunk)
                    yield _piece(chunk, text)
            return
        async with DirectCall(self._chosen(asked), asked, stream=True) as call:
            await abegin(call)
            while True:
                # A stream is held where its answer may be rejected, and until it says something where an empty one is asked for again.
                is_held, waits, kept = call.holds_stream, call.request.limiting is not None, list[Piece]()
                try:
                    async with aclosing(self._chunks(asked, call)) as came:
                        async for chunk, text in came:
                            brought = call.came(chunk)
                            await agrow(call)
                            kept.append(_piece(chunk, text))
                            waits = waits and not brought
                            if not (is_held or waits):
                                for piece in kept:
                                    yield piece
                                kept.clear()
                except BaseException as error:
                    if call.has_begun:
                        await abreak_off(call, error)
                        raise
                    if not await afailed(call, error):
                        raise
                else:
                    whole = call.together()
                    if await aasked_again(call, whole) or await aescalated(call, whole, is_out=not is_held):
                        continue
                    await afinish(call, whole)
                    for piece in kept:
                        yield piece
                    return

    @property
    def embedding_model(self) -> str | None:
        """The name of the embedding model; None: there is none."""
        return None if self._embeds is None else self._embeds.embedding_model

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector of each text. Raises ConfigurationError: there is no embedding model."""
        if self._embeds is None:
            raise no_embeddings()
        return await self._embeds.embed(texts)

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await close_connections()

    def _chosen(self, asked: Asked) -> Models:
        return self._models if asked.tier is None else self._alone[asked.tier]

    def _upstream(self, asked: Asked, call: DirectCall | None = None) -> Upstream:
        return self._chosen(asked).upstream(None if call is None else call.call.tier)

    def _plain(self, asked: Asked) -> dict[str, Any]:
        upstream = self._upstream(asked)
        return {"model": upstream.name, "messages": list(asked.messages), **upstream.parameters, **arguments_of(asked)}

    async def _ask(self, asked: Asked) -> str:
        answered = await self.answer(asked)
        return answered.choices[0].text or ""

    async def _chunks(self, asked: Asked, call: DirectCall) -> AsyncGenerator[_Chunk, None]:
        """The chunks of the attempt under way: of a model's stream, or of an answer that is there."""
        if (answer := call.ready) is not None:
            for chunk in answer.replayed():
                yield chunk, None
            return
        async with aclosing(self._opened(self._upstream(asked, call), {**call.body(), "stream": True})) as opened:
            async for came in opened:
                yield came

    async def _opened(self, upstream: Upstream, body: dict[str, Any]) -> AsyncGenerator[_Chunk, None]:
        """The chunks of a stream, which is asked for its usage unless the server is known to refuse that."""
        asks = upstream.base_url not in self._usage_untold
        try:
            async with aclosing(upstream.stream({**body, **_USAGE} if asks else body)) as chunks:
                async for came in chunks:
                    yield came
        except UpstreamError as error:
            if not asks or error.status_code not in (400, 422) or "stream_options" not in f"{error.param} {error}":
                raise
            self._usage_untold.add(upstream.base_url)
            async with aclosing(upstream.stream(body)) as chunks:
                async for came in chunks:
                    yield came


def _answered(answer: Completion) -> Answered:
    body = answer.body
    choices = [
        Choice(
            text_of(choice.get("message") or {}) or None,
            (choice.get("message") or {}).get("tool_calls") or (),
            choice.get("finish_reason") or "stop",
            (choice.get("message") or {}).get("refusal"),
        )
        for choice in body["choices"]
    ]
    return Answered(choices, str(body.get("model") or "unknown"), body.get("usage"), body)


def _piece(chunk: Mapping[str, Any], text: str | None) -> Piece:
    """A chunk as the service gives it on. The one that tells the usage has no choices, and is told at the end."""
    choices = chunk.get("choices") or ()
    ends = [choice.get("finish_reason") for choice in choices]
    usage = chunk.get("usage") or None
    end = next((end for end in ends if end), None)
    return Piece(finish_reason=end, model=chunk.get("model"), usage=usage, chunk=chunk if choices else None, data=text)
