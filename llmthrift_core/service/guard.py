"""What stands before every request: its size, its time, how many there are at once, and its key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers, QueryParams

from llmthrift_core.display import counted
from llmthrift_core.service.dashboard.session import is_page
from llmthrift_core.service.failures import RequestError, respond

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from llmthrift_core.service.keys import ApiKey, ApiKeys
    from llmthrift_core.service.keys import Scope as KeyScope

_KEY_NAMES: Final = frozenset({"api_key", "apikey", "api-key", "key", "token", "access_token"})
_HOW: Final = "send it as `Authorization: Bearer KEY`"
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
_OPEN: Final = frozenset({"/health", "/health/live", "/health/ready"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service takes.

    Attributes:
        max_body_bytes: of a request.
        max_concurrency: requests at once that call models; more are refused with 429 and Retry-After.
        body_seconds: how long a client may take to send its request.
    """

    max_body_bytes: int = 10_000_000
    max_concurrency: int = 1_000
    body_seconds: float = 30.0


class Guard:
    """ASGI middleware that refuses what must not reach an endpoint."""

    def __init__(self, app: ASGIApp, *, limits: Limits, keys: ApiKeys, now: Callable[[], float]) -> None:
        self._app, self._limits, self._keys, self._now = app, limits, keys, now
        self._running = 0
        self._minutes: dict[str, tuple[int, int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        calls = scope["method"] == "POST" and scope["path"].startswith("/v1/")
        try:
            key = await self._key_of(scope)
            self._check_size(Headers(scope=scope))
            if calls and self._running >= self._limits.max_concurrency:
                message = f"{counted(self._running, 'request is', 'requests are')} running, which is the limit; try again"
                raise RequestError(429, message, code="too_many_requests", headers={"Retry-After": "1"})
            scope.setdefault("state", {})["key"] = key
            bounded = self._bounded(receive)
        except Exception as error:
            await respond(error, now=self._now())(scope, receive, send)
            return
        self._running += calls
        has_begun = False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, bounded, noted)
        except Exception as error:
            if has_begun:
                raise
            await respond(error, now=self._now())(scope, receive, send)
        finally:
            self._running -= calls

    async def _key_of(self, scope: Scope) -> ApiKey | None:
        """The key of a request. None: none is needed, or the dashboard asks for it by itself."""
        if named := _KEY_NAMES & {name.lower() for name in QueryParams(scope["query_string"])}:
            raise RequestError(
                400, f"a key does not belong in a URL ({min(named)}=...), where logs keep it: send it as `Authorization: Bearer KEY`"
            )
        if scope["path"] in _OPEN or is_page(scope["path"]):
            return None
        sent = _sent_key(Headers(scope=scope))
        # To a thread only where the database is asked: every few seconds, and not for each request.
        is_needed, key = self._found(sent) if self._keys.remembers(sent) else await asyncio.to_thread(self._found, sent)
        if not is_needed:
            return None
        if sent is None:
            raise RequestError(401, f"this service needs a key: {_HOW}", code="missing_api_key", headers=_CHALLENGE)
        if key is None:
            raise RequestError(401, "this key is unknown, revoked or past its time", code="invalid_api_key", headers=_CHALLENGE)
        self._count(key)
        return key

    def _found(self, sent: str | None) -> tuple[bool, ApiKey | None]:
        """Whether a key is needed, and what the one that was sent may do."""
        is_needed = self._keys.is_configured
        return is_needed, self._keys.find(sent) if is_needed and sent is not None else None

    def _count(self, key: ApiKey) -> None:
        if key.requests_per_minute is None:
            return
        minute = int(time.time() // 60)
        at, count = self._minutes.get(key.id, (minute, 0))
        count = count if at == minute else 0
        if count >= key.requests_per_minute:
            message = f"this key may send {counted(key.requests_per_minute, 'request')} a minute"
            raise RequestError(429, message, code="rate_limit_exceeded", headers={"Retry-After": str(60 - int(time.time() % 60))})
        self._minutes[key.id] = (minute, count + 1)

    def _check_size(self, headers: Headers) -> None:
        told = headers.get("content-length")
        if told is not None and "transfer-encoding" in headers:  # proxies differ in where such a request ends
            message = "a request has a Content-Length or a Transfer-Encoding, and not both"
            raise RequestError(400, message, code="ambiguous_length", headers={"Connection": "close"})
        if told is not None and told.isdigit() and int(told) > self._limits.max_body_bytes:
            raise self._too_large()

    def _too_large(self) -> RequestError:
        return RequestError(413, f"a request may have {self._limits.max_body_bytes:,} bytes", code="request_too_large")

    def _bounded(self, receive: Receive) -> Receive:
        """As `receive`, for a body within the limits of size and time."""
        size, is_whole = 0, False
        until = time.monotonic() + self._limits.body_seconds

        async def bounded() -> Message:
            nonlocal size, is_whole
            if is_whole:  # what comes now is the client's leaving
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0.001))
            except TimeoutError:
                raise RequestError(408, f"the request was not whole after {self._limits.body_seconds:g} seconds") from None
            size += len(message.get("body", b""))
            if size > self._limits.max_body_bytes:
                raise self._too_large()
            is_whole = not message.get("more_body", False)
            return message

        return bounded


def require(state: Any, scope: KeyScope) -> None:
    """Refuse a request whose key may not do this.

    Raises:
        RequestError: 403.
    """
    key: ApiKey | None = getattr(state, "key", None)
    if key is not None and not key.allows(scope):
        raise RequestError(403, f"this key may not do that: it needs the scope {scope!r}", code="missing_scope")


def _sent_key(headers: Headers) -> str | None:
    sent = headers.get("authorization", "")
    kind, _, key = sent.partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or None
