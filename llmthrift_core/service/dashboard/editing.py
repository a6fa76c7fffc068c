"""Budgets set by hand: the forms below the page of budgets, and what they send. Only in the service, for the scope "admin"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.service.dashboard.session import key_of
from llmthrift_core.service.dashboard.view import Field, Form
from llmthrift_core.service.keys import ApiKeys
from llmthrift_core.thrift import Thrift

_WINDOWS: Final = ("day", "week", "month", "total", "request")
_ON_EXCEED: Final = ("block", "downgrade", "queue", "warn")
_OF_THIS_MACHINE: Final = ("127.0.0.1", "localhost", "::1")
_DOLLARS: Final = "such as 25 or 0.50"


def may_edit(request: Request, keys: ApiKeys) -> bool:
    """Whether budgets may be set: with a key of the scope "admin"; where no key is configured, from a page of this machine itself."""
    if not keys.is_configured:
        return request.url.hostname in _OF_THIS_MACHINE
    found = keys.find(sent) if (sent := key_of(request)) else None
    return found is not None and found.allows("admin")


def is_own_form(request: Request) -> bool:
    """Whether a page of this site sent a form: another site's page cannot say so."""
    if (told := request.headers.get("sec-fetch-site")) is not None:
        return told == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.url.netloc


def forms(thrift: Thrift) -> list[Form]:
    """What may be changed."""
    names = tuple(budget.name for budget in thrift.budgets.all())
    address = "/dashboard/budgets"
    new = Form(
        "Add a budget",
        address,
        "add",
        [
            Field("name", "Name", hint="may be left out", is_needed=False),
            Field("limit_usd", "US dollars", hint=_DOLLARS),
            Field("window", "In each", choices=_WINDOWS),
            Field("per", "For each", hint="user, feature, model, or a tag; empty: everybody together", is_needed=False),
            Field("on_exceed", "When full", choices=_ON_EXCEED),
        ],
        "It begins with what the ledger has of its window. It holds for the next call, in every process that shares the ledger.",
    )
    if not names:
        return [new]
    chosen = Field("name", "Budget", choices=names)
    limit = Field("limit", "New limit", hint="in the unit of the old one")
    change = Form("Change a limit", address, "change", [chosen, limit], "What was spent stays.")
    return [change, new, Form("Remove a budget", address, "remove", [chosen], "What it limited is limited no more.", is_grave=True)]


def edit(thrift: Thrift, sent: Mapping[str, str]) -> None:
    """Do what a form says.

    Raises:
        ConfigurationError: it says nothing that can be done.
        StorageError: the store cannot be written.
    """
    name = sent.get("name", "").strip()
    match sent.get("do"):
        case "add":
            given = {key: sent[key].strip() for key in ("limit_usd", "window", "per", "on_exceed") if sent.get(key, "").strip()}
            if any(budget.name == name for budget in thrift.budgets.all()):
                raise ConfigurationError(f"there is a budget {name!r} already: change its limit, or take another name")
            thrift.budgets.add(Budget(name=name, **given))  # type: ignore[arg-type]
        case "change":
            thrift.budgets.add(_changed(_named(thrift, name), sent.get("limit", "").strip()))
        case "remove":
            thrift.budgets.remove(_named(thrift, name).name)
        case _:
            raise ConfigurationError("the form says neither add, change nor remove")


def _named(thrift: Thrift, name: str) -> Budget:
    for budget in thrift.budgets.all():
        if budget.name == name:
            return budget
    raise ConfigurationError(f"there is no budget {name!r} any more")


def _changed(budget: Budget, limit: str) -> Budget:
    if budget.limit_usd is not None:
        return replace(budget, limit_usd=limit)
    for unit in ("limit_tokens", "limit_requests", "limit_tool_calls", "limit_seconds"):
        if getattr(budget, unit) is not None:
            if not (limit.isascii() and limit.isdecimal()):
                raise ConfigurationError(f"{unit} must be a whole number, not {limit!r}")
            return replace(budget, **{unit: int(limit)})  # type: ignore[arg-type]
    raise ConfigurationError(f"budget {budget.name!r} has no limit")
