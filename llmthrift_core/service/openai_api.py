"""OpenAI's endpoints: `/v1/chat/completions` with streams and tools, `/v1/embeddings`, `/v1/models`."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from array import array
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llmthrift_core.calls.rows import collect_rows
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.service.asking import AUTO, Service, polite_envelope, told_usage
from llmthrift_core.service.attributed import attributed
from llmthrift_core.service.backend import Asked, Choice, Piece, no_embeddings
from llmthrift_core.service.envelope import envelope_of
from llmthrift_core.service.failures import RequestError, as_request_error, error_body
from llmthrift_core.service.guard import require
from llmthrift_core.service.schemas import Completion, Embed
from llmthrift_core.service.streams import EventStream, in_own_task
from llmthrift_core.usage.tokens import count_tokens

_DONE: Final = "data: [DONE]\n\n"


def openai_routes(service: Service) -> APIRouter:
    """The endpoints that OpenAI's clients use."""
    routes = APIRouter(tags=["openai"])

    @routes.post("/v1/chat/completions", summary="Answer a conversation")
    async def completions(body: Completion, request: Request) -> Any:
        require(request.state, "call")
        service.check_tier(body.max_tier)
        asked = Asked(
            messages=body.messages,
            tier=service.tier_of(body.model),
            max_tier=body.max_tier,
            parameters=body.parameters(),
            tools=body.tools or (),
            tool_choice=body.tool_choice,
            number=body.n,
            use_cache=body.use_cache,
            shorten=body.optimize_prompt is not False,
        )
        who = attributed(getattr(request.state, "key", None), request.headers, user=body.user, metadata=body.metadata)
        if not body.stream:
            with who:
                answered, told = await service.answer(asked)
            if answered.body is not None:
                return _json({**answered.body, "usage": answered.usage or told_usage(told), "llmthrift": told})
            choices = [_choice(index, choice) for index, choice in enumerate(answered.choices)]
            head = _head("chat.completion", answered.model, told.get("request_id"))
            return _json({**head, "choices": choices, "usage": answered.usage or told_usage(told), "llmthrift": told})
        pieces = in_own_task(_begun(service, asked, who))
        first = await anext(pieces, None)  # what is refused before anything came has its own status
        wants_usage = bool((body.stream_options or {}).get("include_usage"))
        return EventStream(_events(service, asked, first, pieces, wants_usage))

    @routes.get("/v1/models", summary="The tiers, and what routes between them")
    async def models(request: Request) -> dict[str, Any]:
        require(request.state, "call")
        names = [(AUTO, "llmthrift"), *((tier, service.backend.model_of(tier)[1] or "llmthrift") for tier in service.backend.tiers)]
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in names]}

    @routes.post("/v1/embeddings", summary="Vectors of texts")
    async def embeddings(body: Embed, request: Request) -> dict[str, Any]:
        require(request.state, "call")
        texts = [body.input] if isinstance(body.input, str) else body.input
        model = _embedding_model(service, body)
        with attributed(getattr(request.state, "key", None), request.headers, user=body.user), collect_rows() as rows:
            vectors = await service.backend.embed(texts)
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if body.encoding_format == "base64" else vector}
            for index, vector in enumerate(vectors)
        ]
        told = envelope_of(rows)
        if not rows:  # all of them were kept
            sent = await asyncio.to_thread(lambda: sum(count_tokens(text, model).tokens for text in texts))
            told |= {"model": model, "source": "cache", "cost_usd": 0.0, "input_tokens": sent}
        sent = told["input_tokens"]
        usage = {"prompt_tokens": sent, "total_tokens": sent}
        return {"object": "list", "data": data, "model": model, "usage": usage, "llmthrift": told}

    return routes


def _embedding_model(service: Service, body: Embed) -> str:
    """The name of the embedding model, if it is the one that is asked for. Raises RequestError, ConfigurationError."""
    model = service.backend.embedding_model
    if model is None:
        raise no_embeddings()
    if body.model != "default" and body.model.replace(":", "/").rpartition("/")[2] != model.replace(":", "/").rpartition("/")[2]:
        message = f"the model {body.model!r} is not served here; known are default, {model}"
        raise RequestError(404, message, param="model", code="model_not_found")
    if body.dimensions is not None:
        raise RequestError(400, "dimensions are set where the embedding model is configured, and not by a request", param="dimensions")
    return model


async def _begun(service: Service, asked: Asked, who: Any) -> AsyncGenerator[tuple[Piece | None, dict[str, Any] | None], None]:
    """The pieces of a stream, and at its end the envelope."""
    with who, collect_rows() as rows:
        try:
            async with aclosing(service.backend.stream(asked)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    yield piece, None
        except BudgetExceededError as refused:
            if service.on_budget != "answer":
                raise
            yield Piece(text=service.polite(asked).choices[0].text, finish_reason="stop"), None
            yield None, polite_envelope(asked, refused, rows)
        else:
            yield None, service.tell(rows, asked)


async def _events(service: Service, asked: Asked, first: Any, pieces: Any, wants_usage: bool) -> AsyncGenerator[str, None]:
    head, usage, ended = _head("chat.completion.chunk", asked.tier or AUTO, None), None, False
    try:
        async with aclosing(pieces):
            is_first = True
            while first is not None:
                piece, told = first
                if piece is not None:
                    head = {**head, "model": piece.model or head["model"]}
                    usage = piece.usage or usage
                    ended = ended or piece.finish_reason is not None
                    if piece.chunk is not None:
                        head["id"] = piece.chunk.get("id") or head["id"]
                        is_first = False
                        yield _event(piece.chunk) if piece.data is None else f"data: {piece.data}\n\n"
                    elif (chunk := _chunk(head, piece, is_first)) is not None:
                        is_first = False
                        yield chunk
                if told is not None:
                    if not ended:
                        yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                    last: dict[str, Any] = {**head, "choices": [], "llmthrift": told}
                    yield _event({**last, "usage": usage or told_usage(told)} if wants_usage else last)
                first = await anext(pieces, None)
        yield _DONE
    except Exception as error:  # the status was sent: what went wrong is an event, as OpenAI has it
        found = as_request_error(error, now=service.thrift.now())
        yield _event(error_body(found.status, found.message, code=found.code, **found.more))
        yield _DONE


def _chunk(head: Mapping[str, Any], piece: Piece, is_first: bool) -> str | None:
    delta: dict[str, Any] = {"role": "assistant"} if is_first else {}
    if piece.text:
        delta["content"] = piece.text
    if piece.tool_calls:
        delta["tool_calls"] = [dict(call) for call in piece.tool_calls]
    if not (piece.text or piece.tool_calls or piece.finish_reason):
        return None
    return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": piece.finish_reason}]})


def _event(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _json(body: Mapping[str, Any]) -> Response:
    # With escapes: a model may write half of a pair of surrogates, which no UTF-8 holds.
    return Response(json.dumps(body), media_type="application/json")


def _head(kind: str, model: str, request_id: str | None) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request_id or uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _choice(index: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": choice.refusal}
    if choice.tool_calls:
        message["tool_calls"] = [dict(call) for call in choice.tool_calls]
    return {"index": index, "message": message, "finish_reason": choice.finish_reason, "logprobs": None}


def _packed(vector: list[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()
