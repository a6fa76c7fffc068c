"""Servers that speak OpenAI's protocol: how they are named, and one pool of connections to them."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import aiohttp

from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog

PROVIDER: Final = "openai"
_HOME: Final = "https://api.openai.com/v1"
_OPTIONS: Final = frozenset({"base_url", "temperature", "max_tokens", "timeout", "max_retries"})
_TIMEOUT_SECONDS: Final = 600.0  # as OpenAI's own client waits
_CONNECT_SECONDS: Final = 30.0
_RETRIES: Final = 2
_LONGEST_PAUSE_SECONDS: Final = 8.0
_LONGEST_ASKED_PAUSE_SECONDS: Final = 60.0
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")
_BEFORE_AN_ANSWER: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ConnectionTimeoutError)
_MOST_CONNECTIONS: Final = 1_000  # as OpenAI's own client; more requests wait for one that is free
_NAMES: Final = {
    400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError", 409: "ConflictError",
    422: "UnprocessableEntityError", 429: "RateLimitError",
}  # fmt: skip


class UpstreamError(Exception):
    """A server refused a request, or failed.

    Attributes:
        status_code: of its answer.
        code, param: what it says of its error; None where it says nothing.
        retry_after: seconds, as it asked for; None where it did not.
    """

    def __init__(self, status_code: int, told: Mapping[str, Any], retry_after: float | None = None) -> None:
        super().__init__(str(told.get("message") or f"status {status_code}"))
        self.status_code, self.retry_after = status_code, retry_after
        self.code, self.param = told.get("code"), told.get("param")


_KINDS: Final = {status: type(name, (UpstreamError,), {"__module__": __name__}) for status, name in _NAMES.items()}
_OURS: Final = type("InternalServerError", (UpstreamError,), {"__module__": __name__})
_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Upstream:
    """A model behind OpenAI's protocol. Its key comes from $OPENAI_API_KEY, and is read when a request is sent.

    Attributes:
        name: of the model.
        base_url: of its server, such as "https://api.openai.com/v1".
        parameters: that a request has unless it says otherwise.
        timeout_seconds: how long the next bytes may take.
        retries: after a refusal for the time being, or a connection that broke before an answer.
    """

    name: str
    base_url: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float = _TIMEOUT_SECONDS
    retries: int = _RETRIES

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own server."""
        return self.base_url.startswith("https://api.openai.com/")

    @property
    def limit_name(self) -> str:
        """What the longest answer is called: other servers know the old name alone, OpenAI's newer models the new one alone."""
        return "max_completion_tokens" if self.is_openai else "max_tokens"

    def headers(self) -> dict[str, str]:
        """Of a request.

        Raises:
            ConfigurationError: OpenAI's own server is asked without a key.
        """
        found = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            found["Authorization"] = f"Bearer {key}"
        elif self.is_openai:
            raise ConfigurationError(f"{self.name} needs a key: set $OPENAI_API_KEY")
        for name, header in (("OPENAI_ORG_ID", "OpenAI-Organization"), ("OPENAI_PROJECT_ID", "OpenAI-Project")):
            if told := os.environ.get(name):
                found[header] = told
        return found

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """The answer to a request, whose status is below 300.

        Args:
            path: below the base URL, such as "/chat/completions".

        Raises:
            UpstreamError: the server refused it, or failed, also after the retries.
            aiohttp.ClientError: there is no connection.
            TimeoutError: nothing came in time.
        """
        data, headers = json.dumps(body).encode(), self.headers()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self.timeout_seconds)
        retries_taken = 0  # a name that `budgets.unanswered` looks for
        while True:
            pause: float | None = None
            try:
                response = await _session().post(
                    f"{self.base_url}{path}", data=data, headers=headers, timeout=timeout, allow_redirects=False
                )
            except _BEFORE_AN_ANSWER:
                if retries_taken >= self.retries:
                    raise
            else:
                async with response:
                    if response.status < 300:
                        yield response
                        return
                    error = await _error_of(response)
                pause = error.retry_after
                if retries_taken >= self.retries or not _is_for_now(response):
                    raise error
            retries_taken += 1
            await asyncio.sleep(_pause(retries_taken, pause))

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A whole answer. Raises as `post`; UpstreamError also for what is no answer."""
        async with self.post("/chat/completions", body) as response:
            try:
                answer = json.loads(await response.read())
            except ValueError:
                answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
            raise _OURS(502, {"message": "the server's answer is none of OpenAI's format"})
        return answer

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[tuple[dict[str, Any], str], None]:
        """The chunks of an answer, each read and as it came. Raises as `post`."""
        async with self.post("/chat/completions", body) as response:
            async for data in _events(response):
                if data == b"[DONE]":
                    return
                try:
                    text = data.decode()
                    chunk = json.loads(text)
                except ValueError:
                    continue
                if isinstance(chunk, dict):
                    if isinstance(told := chunk.get("error"), Mapping):
                        raise _OURS(502, told)
                    yield chunk, text


def upstream_of(given: Any, prices: PriceCatalog) -> Upstream | None:
    """The model that a name such as "openai:gpt-4o-mini" means; None where it is not called by OpenAI's protocol.

    Args:
        given: "provider:model", or the name of a model that OpenAI makes; or a pair of it and its options: base_url, temperature,
            max_tokens, timeout and max_retries.
    """
    name, options = given if isinstance(given, tuple) else (given, {})
    if not isinstance(name, str) or not options.keys() <= _OPTIONS:
        return None
    provider, separator, model = name.partition(":")
    if not separator:
        provider, model = prices.maker(name) or "", name
    if provider != PROVIDER or not model:
        return None
    base = options.get("base_url") or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or _HOME
    made = Upstream(
        model,
        str(base).rstrip("/"),
        {},
        options.get("timeout") or _TIMEOUT_SECONDS,
        options.get("max_retries", _RETRIES),
    )
    given_parameters = {"temperature": options.get("temperature"), made.limit_name: options.get("max_tokens")}
    made.parameters.update({key: value for key, value in given_parameters.items() if value is not None})  # type: ignore[attr-defined]
    made.headers()  # a key that is missing is told now
    return made


async def close_connections() -> None:
    """Close the pool of the running event loop."""
    if (session := _sessions.pop(asyncio.get_running_loop(), None)) is not None:
        await session.close()


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None or session.closed:
        has_proxy = any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES)
        # What a server sets as a cookie is nothing to the next user's request.
        session = _sessions[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_MOST_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar(), trust_env=has_proxy
        )
    return session


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The data of server-sent events of one line, however long."""
    begun: list[bytes] = []
    async for block in response.content.iter_any():
        first, *rest = block.split(b"\n")
        begun.append(first)
        for line in rest:
            whole, begun = b"".join(begun), [line]
            if whole.startswith(b"data:"):
                yield whole[5:].strip()


async def _error_of(response: aiohttp.ClientResponse) -> UpstreamError:
    try:
        body = json.loads(await response.read())
    except (ValueError, aiohttp.ClientError):
        body = None
    told = body.get("error", body) if isinstance(body, Mapping) else None
    found = told if isinstance(told, Mapping) else {"message": told}
    status = response.status if response.status >= 400 else 502  # a redirection, which is not followed with a key
    kind = _OURS if status >= 500 else _KINDS.get(status, UpstreamError)
    error: UpstreamError = kind(status, found, _seconds(response.headers.get("Retry-After")))
    return error


def _is_for_now(response: aiohttp.ClientResponse) -> bool:
    told = response.headers.get("x-should-retry")
    return told != "false" and (told == "true" or response.status in (408, 409, 429) or response.status >= 500)


def _seconds(told: str | None) -> float | None:
    try:
        seconds = float(told or "")
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def _pause(tries: int, asked: float | None) -> float:
    """Seconds to wait, as OpenAI's own client does."""
    if asked is not None and asked <= _LONGEST_ASKED_PAUSE_SECONDS:
        return asked
    return float(min(0.5 * 2 ** (tries - 1), _LONGEST_PAUSE_SECONDS) * (1 - 0.25 * random.random()))  # noqa: S311
