"""`create_app`: the service as a FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.service.asking import Service
from llmthrift_core.service.backend import ChatBackend
from llmthrift_core.service.chat import chat_routes
from llmthrift_core.service.dashboard.routes import dashboard_routes
from llmthrift_core.service.direct.backend import make_backend
from llmthrift_core.service.failures import RequestError, error_body, respond
from llmthrift_core.service.guard import Guard, Limits
from llmthrift_core.service.keys import ApiKeys
from llmthrift_core.service.ledger_api import ledger_routes
from llmthrift_core.service.openai_api import openai_routes
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

GROUP = "llmthrift.backends"
"""The entry points that make a backend of models: `(thrift, models, options) -> ChatBackend`, or None where the models are not its own."""


def create_app(
    thrift: Thrift,
    *,
    models: Mapping[str, Any] | None = None,
    backend: ChatBackend | None = None,
    api_keys: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
    on_budget: Literal["refuse", "answer"] = "refuse",
    limits: Limits | None = None,
    closes: bool = False,
    **options: Any,
) -> FastAPI:
    """A FastAPI application that answers through models behind cache, router, budgets and ledger.

    It speaks OpenAI's format (`/v1/chat/completions`, `/v1/embeddings`, `/v1/models`), where a model's name may be a tier, "auto" or a
    tier's model; llmthrift's own (`/v1/chat`, `/v1/generate`, `/v1/estimate`); and tells what the ledger knows (`/v1/costs...`,
    `/v1/cache/stats`, `/health`, `/metrics`). `/openapi.json` describes all of it, and `/` shows the ledger
    to people.

    Args:
        thrift: prices, cache, budgets and ledger.
        models: name of tier -> LangChain chat model, LlamaIndex LLM, or a model's name. Cheapest first.
        backend: calls the models, instead of the one of their framework.
        api_keys: keys that open the service beside those in the database (`llmthrift keys create`). Without any key configured none is
            needed, and one that is sent is ignored: then bind it to loopback only.
        on_budget: "refuse" answers 429 where a budget has no room, "answer" a polite sentence whose `source` is "budget_limit".
        limits: of bodies and of requests at once.
        closes: the `Thrift` is closed when the application ends.
        options: as for the framework's router: cache, policy, shorten, max_tier, embeddings, `tuning=` a
            configuration's name, ...

    Raises:
        ConfigurationError: no models, or options that cannot be used.
    """
    require_thrift(thrift, "create_app")
    if on_budget not in ("refuse", "answer"):
        raise ConfigurationError(f'on_budget must be "refuse" or "answer", not {on_budget!r}')
    if backend is None:
        backend = backend_of(thrift, models or {}, **options)
    service = Service(thrift, backend, on_budget)
    keys = ApiKeys(thrift.database, thrift.now, api_keys)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.backend.aclose()
        thrift.close() if closes else thrift.flush()

    app = FastAPI(
        title="llmthrift",
        version=version("llmthrift"),
        summary="Chat models behind a cache, a router, budgets and one ledger.",
        lifespan=life,
        # Their pages load scripts from elsewhere; /openapi.json is the document.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service, app.state.keys = service, keys
    for routes in (openai_routes(service), chat_routes(service), ledger_routes(service), dashboard_routes(thrift, keys, edits=True)):
        app.include_router(routes)
    _answer_failures(app, thrift)
    app.add_middleware(Guard, limits=limits or Limits(), keys=keys, now=thrift.now)
    return app


def backend_of(thrift: Thrift, models: Mapping[str, Any], **options: Any) -> ChatBackend:
    """What calls the models: by OpenAI's protocol where all of them speak it, else the framework that they belong to.

    Raises:
        ConfigurationError: no framework takes these models, or there are none.
    """
    if not models:
        raise ConfigurationError('models is empty; give at least one, cheapest first: models={"economy": cheap, "premium": strong}')
    by_framework = partial(_by_framework, thrift, models, **options)
    embeds = None if options.get("embeddings") is None else by_framework
    chatting = {name: value for name, value in options.items() if name != "embeddings"}
    return make_backend(thrift, models, embeds=embeds, **chatting) or by_framework()


def _by_framework(thrift: Thrift, models: Mapping[str, Any], **options: Any) -> ChatBackend:
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        try:
            make = entry.load()
        except ImportError:  # the framework is not installed
            continue
        if (backend := make(thrift, models, **options)) is not None:
            found: ChatBackend = backend
            return found
    kinds = ", ".join(f"{name}: {type(model).__name__}" for name, model in models.items())
    raise ConfigurationError(f"no installed framework takes these models ({kinds}); give LangChain chat models, LlamaIndex LLMs, or names")


def _answer_failures(app: FastAPI, thrift: Thrift) -> None:
    async def not_found(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestError):
            return respond(error, now=thrift.now())
        status = error.status_code if isinstance(error, HTTPException) else 500
        told = {404: f"there is nothing at {request.url.path}", 405: f"{request.method} is not for {request.url.path}"}
        return JSONResponse(error_body(status, told.get(status, "the request cannot be served")), status_code=status)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"] if each not in ("body", "query"))
        told = {
            "json_invalid": "the body is no JSON",
            "extra_forbidden": f"unknown field {place!r}",
            "model_attributes_type": "the body must be a JSON object, sent as application/json",
            "missing": f"{place!r} is missing" if place else "the body is missing",
        }
        message = told.get(first["type"], f"{place}: {first['msg']}" if place else str(first["msg"]))
        return respond(RequestError(400, message, param=place or None, code=first["type"]), now=thrift.now())

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, not_found)
