"""What the ledger says: costs by day and by anything, alerts, the cache, health, and metrics."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from llmthrift_core.alerts.alert import ON, Alert
from llmthrift_core.service.asking import Service
from llmthrift_core.service.guard import require
from llmthrift_core.service.schemas import Invalidate

if TYPE_CHECKING:
    from llmthrift_core.exporters import PrometheusExporter
    from llmthrift_core.thrift import Thrift

_WARN_AT = 0.8


def ledger_routes(service: Service) -> APIRouter:
    """The endpoints that read the ledger."""
    routes, thrift = APIRouter(tags=["ledger"]), service.thrift

    @cache
    def exporter() -> PrometheusExporter:
        from llmthrift_core.exporters import PrometheusExporter

        return PrometheusExporter(thrift)

    @routes.get("/v1/costs", summary="What was spent and saved")
    async def costs(request: Request, since: str | None = None, until: str | None = None) -> dict[str, Any]:
        require(request.state, "read")
        found = await asyncio.to_thread(thrift.savings, since, until)
        return dict(plain(found.to_dict()))

    @routes.get("/v1/costs/daily", summary="Cost by day")
    async def daily(request: Request, days: int = 7, tz: str | None = None) -> dict[str, Any]:
        require(request.state, "read")
        since = datetime.fromtimestamp(thrift.now(), UTC).date() - timedelta(days=max(days, 1) - 1)
        found = await asyncio.to_thread(lambda: thrift.report(by="day", since=since, tz=tz))
        return {"days": [plain(row) for row in found.rows], "total": plain(found.total)}

    @routes.get("/v1/costs/by-model", summary="Cost by model")
    async def by_model(request: Request, since: str | None = None, until: str | None = None) -> dict[str, Any]:
        require(request.state, "read")
        found = await asyncio.to_thread(thrift.report, "model", since, until)
        return {"models": [plain(row) for row in found.rows], "total": plain(found.total)}

    @routes.get("/v1/costs/report", summary="Cost by anything")
    async def report(
        request: Request, start_date: str | None = None, end_date: str | None = None, group_by: str = "model", tz: str | None = None
    ) -> dict[str, Any]:
        require(request.state, "read")
        found = await asyncio.to_thread(lambda: thrift.report(by=group_by, since=start_date, until=end_date, tz=tz))
        return {"group_by": found.by, "rows": [plain(row) for row in found.rows], "total": plain(found.total), "notes": list(found.notes)}

    @routes.get("/v1/costs/alerts", summary="Budgets that are near their limits, and what else somebody should look at")
    async def alerts(request: Request) -> dict[str, Any]:
        require(request.state, "read")
        return await asyncio.to_thread(_alerts, thrift)

    @routes.get("/v1/cache/stats", summary="What the cache does")
    async def cache_stats(request: Request) -> dict[str, Any]:
        require(request.state, "read")
        health = await asyncio.to_thread(thrift.health)
        total = await asyncio.to_thread(lambda: thrift.report().total)
        requests = total["requests"]
        return {
            "requests": requests,
            "hits": total["cache_hits"],
            "hit_rate": total["cache_hits"] / requests if requests else None,
            "saved_usd": float(total["cache_saved_usd"]),
            "cache": plain(health.get("cache", {})),
        }

    @routes.post("/v1/cache/invalidate", summary="Forget cached answers")
    async def invalidate(body: Invalidate, request: Request) -> dict[str, int]:
        require(request.state, "admin")
        given = {name: value for name, value in body.model_dump().items() if value is not None}
        return {"removed": await asyncio.to_thread(lambda: thrift.invalidate(**given))}

    @routes.get("/health", summary="Whether everything is recorded and served")
    async def health() -> JSONResponse:
        found = await asyncio.to_thread(thrift.health)
        return JSONResponse(plain(found), status_code=200 if found.get("status") in ("ok", "disabled") else 503)

    @routes.get("/health/live", summary="Whether the process answers")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/health/ready", summary="Whether the database answers")
    async def ready() -> dict[str, str]:
        await asyncio.to_thread(thrift.report)
        return {"status": "ok"}

    @routes.get("/metrics", summary="For Prometheus", response_class=PlainTextResponse)
    async def metrics(request: Request) -> PlainTextResponse:
        require(request.state, "read")
        text = await asyncio.to_thread(lambda: exporter().to_text())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def plain(value: Any) -> Any:
    """The value as JSON has it: money as numbers, times in ISO format."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _alerts(thrift: Thrift) -> dict[str, Any]:
    rows, today = thrift.budgets.status(), thrift.report(by="day", since=datetime.fromtimestamp(thrift.now(), UTC).date()).total
    daily = [row for row in rows if row["window"] == "day" and row["unit"] == "usd" and not row["scope"]]
    near = [(row, used) for row in rows if (used := _used(row)) is not None and used >= _WARN_AT]
    # Those that this process was given, else every kind with its usual threshold. Nobody is told.
    notices = thrift.alerts.look(thrift.alerts.list() or [Alert(on=on) for on in ON])  # type: ignore[arg-type]
    return {
        "warnings": [{**plain(row), "used": round(used, 4)} for row, used in near],
        "alerts": [{"on": each.on, "name": each.alert, "text": each.text, "scope": plain(each.scope)} for each in notices],
        "daily_limit": float(daily[0]["limit"]) if daily else None,
        "daily_spent": float(today["cost_usd"]),
        "daily_remaining": float(daily[0]["remaining"]) if daily else None,
    }


def _used(row: dict[str, Any]) -> float | None:
    return float(row["spent"] + row["reserved"]) / float(row["limit"]) if row["limit"] else None
