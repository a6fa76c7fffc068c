"""The dashboard's addresses, and the dashboard as an application of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, FastAPI, Request
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from llmthrift_core.errors import ConfigurationError, LLMThriftError
from llmthrift_core.service.dashboard import levers, plans, prompts, spending, watching
from llmthrift_core.service.dashboard.drawing import HEADERS, STATIC, draw, static
from llmthrift_core.service.dashboard.editing import edit, forms, is_own_form, may_edit
from llmthrift_core.service.dashboard.events import KeptPages, events
from llmthrift_core.service.dashboard.session import forget, keep, may_read, reader
from llmthrift_core.service.dashboard.view import Page
from llmthrift_core.service.guard import Guard, Limits
from llmthrift_core.service.keys import ApiKeys
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

logger = logging.getLogger("llmthrift.service")

PAGES: Final[Mapping[str, Callable[[Any, Mapping[str, str]], Page]]] = {
    "spend": spending.spend,
    "explorer": spending.explorer,
    "calls": spending.calls,
    "call": spending.call,
    "runs": spending.runs,
    "opportunities": watching.opportunities,
    "plans": plans.plans,
    "prompts": prompts.prompts,
    "cache": levers.cache,
    "routing": levers.routing,
    "budgets": levers.budgets,
    "experiments": levers.experiments,
    "alerts": watching.alerts,
    "health": watching.health,
}


def create_dashboard(
    thrift: Thrift,
    *,
    api_keys: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
    hosts: Sequence[str] | None = None,
    closes: bool = False,
) -> FastAPI:
    """The dashboard alone, without models: pages on a ledger that only read it.

    Args:
        thrift: the ledger, budgets and caches that it shows.
        api_keys: keys with the scope "read" open it, beside those in the database. Without any none is needed: then bind it to loopback.
        hosts: names under which it may be asked for, so that no site can read it under a name of its own; None: every name.
        closes: the `Thrift` is closed when the application ends.
    """
    require_thrift(thrift, "create_dashboard")
    keys = ApiKeys(thrift.database, thrift.now, api_keys)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        if closes:
            thrift.close()

    app = FastAPI(title="llmthrift dashboard", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(dashboard_routes(thrift, keys))
    app.add_middleware(Guard, limits=Limits(), keys=keys, now=thrift.now)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return app


def dashboard_routes(thrift: Thrift, keys: ApiKeys, *, edits: bool = False) -> APIRouter:
    """The pages, what they load, and the form that asks for a key.

    Args:
        edits: budgets may be set, with the scope "admin".
    """
    routes = APIRouter(include_in_schema=False)
    kept = KeptPages(thrift)

    @routes.get("/")
    async def start(request: Request) -> Response:
        return await page("spend", request)

    @routes.get("/dashboard")
    async def plain() -> Response:
        return RedirectResponse("/")

    @routes.get("/dashboard/static/{name}")
    async def file(name: str) -> Response:
        if name not in STATIC:
            return _html(draw("message.html", title="Not found", text="There is nothing here."), 404)
        return Response(static(name), media_type=STATIC[name], headers={**HEADERS, "Cache-Control": "max-age=300"})

    @routes.get("/dashboard/login")
    async def form() -> Response:
        return _html(draw("login.html", wrong=False))

    @routes.post("/dashboard/login")
    async def login(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _html(draw("message.html", title="Not from here", text="The form was sent by another site."), 403)
        sent = parse_qs((await request.body()).decode("utf-8", "replace")).get("key", [""])[0].strip()
        if await asyncio.to_thread(reader, keys, sent) is None:
            return _html(draw("login.html", wrong=True), 401)
        response = RedirectResponse("/", status_code=303, headers=HEADERS)
        keep(response, sent, is_secure=request.url.scheme == "https")
        return response

    @routes.post("/dashboard/logout")
    async def logout() -> Response:
        response = RedirectResponse("/dashboard/login", status_code=303, headers=HEADERS)
        forget(response)
        return response

    @routes.get("/dashboard/events")
    async def changes(request: Request, watches: str = "calls") -> Response:
        if not await asyncio.to_thread(may_read, request, keys):
            return Response(status_code=401, headers=HEADERS)
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        return StreamingResponse(events(thrift, watches), media_type="text/event-stream", headers=headers)

    @routes.get("/dashboard/{name}")
    async def page(name: str, request: Request) -> Response:
        if not await asyncio.to_thread(may_read, request, keys):
            return RedirectResponse("/dashboard/login", status_code=303, headers=HEADERS)
        if name not in PAGES:
            return _html(draw("message.html", title="Not found", text="There is no such page."), 404)
        try:
            found = await asyncio.to_thread(kept.page, name, PAGES[name], dict(request.query_params))
        except LLMThriftError as error:
            logger.warning("the page %s cannot be drawn: %s", name, type(error).__name__)
            return _html(draw("message.html", place=name, title="This page cannot be drawn", text=str(error)), 503)
        if edits and name == "budgets" and await asyncio.to_thread(may_edit, request, keys):
            found = replace(found, blocks=[*found.blocks, *await asyncio.to_thread(forms, thrift)], watches="")
        return _html(await asyncio.to_thread(draw, "page.html", place=name, page=found, has_keys=keys.is_configured))

    @routes.post("/dashboard/budgets")
    async def change(request: Request) -> Response:
        if not (edits and is_own_form(request) and await asyncio.to_thread(may_edit, request, keys)):
            text = 'Budgets are changed on the page of the service itself, with a key that has the scope "admin".'
            return _html(draw("message.html", place="budgets", title="Not from here", text=text), 403)
        sent = {name: values[0] for name, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
        try:
            await asyncio.to_thread(edit, thrift, sent)
        except ConfigurationError as error:
            return _html(draw("message.html", place="budgets", title="That cannot be", text=str(error)), 400)
        except LLMThriftError as error:
            logger.warning("a budget cannot be changed: %s", type(error).__name__)
            return _html(draw("message.html", place="budgets", title="The budget was not changed", text=str(error)), 503)
        return RedirectResponse("/dashboard/budgets", status_code=303, headers=HEADERS)

    return routes


def _html(text: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(text, status_code=status, headers=HEADERS)
