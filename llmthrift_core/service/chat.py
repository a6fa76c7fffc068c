"""`/v1/chat`, `/v1/generate` and `/v1/estimate`: one prompt, one answer, and what it costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from llmthrift_core.errors import UnknownModelError
from llmthrift_core.service.asking import Service, told_usage
from llmthrift_core.service.attributed import attributed
from llmthrift_core.service.backend import Asked
from llmthrift_core.service.failures import RequestError
from llmthrift_core.service.guard import require
from llmthrift_core.service.schemas import Ask, Estimate, EstimateAsk, Reply
from llmthrift_core.usage import Usage
from llmthrift_core.usage.tokens import count_tokens

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift


def chat_routes(service: Service) -> APIRouter:
    """The endpoints that take one prompt."""
    routes = APIRouter(tags=["chat"])

    async def ask(body: Ask, request: Request) -> dict[str, Any]:
        require(request.state, "call")
        service.check_tier(body.max_tier)
        system = [] if body.system_prompt is None else [{"role": "system", "content": body.system_prompt}]
        given = {"max_tokens": body.max_tokens, "temperature": body.temperature}
        asked = Asked(
            messages=[*system, {"role": "user", "content": body.prompt}],
            tier=service.tier_of(body.model),
            max_tier=body.max_tier,
            parameters={name: value for name, value in given.items() if value is not None},
            use_cache=body.use_cache,
            shorten=body.optimize_prompt is not False and body.compress is not False,
        )
        with attributed(getattr(request.state, "key", None), request.headers, user=body.user, metadata=body.metadata):
            answered, told = await service.answer(asked)
        usage = answered.usage or told_usage(told)
        return {
            "response": answered.choices[0].text or "",
            "model": answered.model,
            "tier": told.get("final_tier"),
            "cached": told["source"] in ("cache", "semantic_cache"),
            "cost": told["cost_usd"],
            "tokens": {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]},
            "llmthrift": told,
        }

    for path in ("/v1/chat", "/v1/generate"):
        name = path.rpartition("/")[2]
        routes.add_api_route(path, ask, methods=["POST"], response_model=Reply, summary="Answer a prompt", operation_id=name)

    @routes.post("/v1/estimate", response_model=Estimate, summary="What a call would cost")
    async def estimate(body: EstimateAsk, request: Request) -> dict[str, Any]:
        require(request.state, "call")
        if (body.prompt is None) == (body.input_tokens is None):
            raise RequestError(400, "give either prompt or input_tokens", param="prompt")
        return await asyncio.to_thread(_estimate, service.thrift, _priced_model(service, body.model), body)

    return routes


def _priced_model(service: Service, model: str) -> tuple[str, str | None]:
    """The name and provider whose price is asked: of a tier's model, or of any model by its name."""
    return service.backend.model_of(model) if model in service.backend.tiers else (model, None)


def _estimate(thrift: Thrift, model: tuple[str, str | None], body: EstimateAsk) -> dict[str, Any]:
    name, provider = model
    tokens = body.input_tokens if body.input_tokens is not None else count_tokens(body.prompt or "", name).tokens
    at = thrift.prices
    try:
        sent = at.cost(Usage(input_tokens=tokens), name, provider=provider)
        made = at.cost(Usage(output_tokens=body.max_tokens), name, provider=provider)
    except UnknownModelError:
        if provider is None:
            raise
        sent, made = at.cost(Usage(input_tokens=tokens), name), at.cost(Usage(output_tokens=body.max_tokens), name)
    return {
        "model": name,
        "input_tokens": tokens,
        "estimated_output_tokens": body.max_tokens,
        "estimated_cost": float(sent.usd + made.usd),
        "input_cost": float(sent.usd),
        "output_cost": float(made.usd),
    }
