"""What the errors of real clients say of a bill: refused is free, sent and not answered is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FunctionType
from typing import Any

import anthropic
import botocore.exceptions
import httpx
import openai
import pytest
import requests
import tenacity

from llmthrift_core import BudgetExceededError
from llmthrift_core.budgets.unanswered import may_be_billed, times_sent

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def status(code: int, client: Any = openai) -> Exception:
    error: Exception = client.APIStatusError(f"status {code}", response=httpx.Response(code, request=REQUEST), body=None)
    return error


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def of_aws(code: int) -> Exception:
    told = {"Error": {"Code": "X", "Message": "x"}, "ResponseMetadata": {"HTTPStatusCode": code}}
    return botocore.exceptions.ClientError(told, "Converse")  # type: ignore[arg-type]


def of_google(code: int) -> Exception:
    from google.genai import errors

    return errors.APIError(code, {"error": {"code": code, "status": "X", "message": "x"}})


def during(error: BaseException, outer: BaseException) -> BaseException:
    """`outer`, raised while `error` was handled."""
    try:
        try:
            raise error
        except BaseException:
            raise outer  # noqa: B904 - as clients do
    except BaseException as raised:
        return raised


SENT: dict[str, Callable[[], BaseException]] = {
    "openai timeout": lambda: openai.APITimeoutError(REQUEST),
    "openai timeout, reading": lambda: caused(openai.APITimeoutError(REQUEST), httpx.ReadTimeout("x")),
    "openai connection lost": lambda: caused(openai.APIConnectionError(request=REQUEST), httpx.RemoteProtocolError("x")),
    "openai answer unread": lambda: openai.APIResponseValidationError(httpx.Response(200, request=REQUEST), None),
    "anthropic timeout": lambda: caused(anthropic.APITimeoutError(REQUEST), httpx.ReadTimeout("x")),
    "httpx": lambda: httpx.ReadTimeout("x"),
    "httpx reset": lambda: httpx.ReadError("x"),
    "aws timeout": lambda: botocore.exceptions.ReadTimeoutError(endpoint_url="x"),
    "aws closed": lambda: botocore.exceptions.ConnectionClosedError(endpoint_url="x"),
    "aws model timeout": lambda: of_aws(408),
    "google gateway": lambda: of_google(504),
    "google cancelled": lambda: of_google(499),
    "requests timeout": lambda: requests.ReadTimeout("x"),
    "requests dropped": lambda: during(ConnectionResetError(), requests.ConnectionError("x")),
    "wrapped": lambda: caused(ValueError("model failed"), httpx.ReadTimeout("x")),
    "wrapped unnamed": lambda: during(httpx.ReadTimeout("x"), RuntimeError("model failed")),
    "gateway": lambda: status(504),
    "proxy": lambda: status(524, anthropic),
    "group": lambda: BaseExceptionGroup("x", [ValueError(), TimeoutError()]),
    "timeout": TimeoutError,
    "cancelled": asyncio.CancelledError,
    "abandoned": GeneratorExit,
    "interrupted": KeyboardInterrupt,
    "exit": SystemExit,
    "reset": ConnectionResetError,
}
FREE: dict[str, Callable[[], BaseException]] = {
    **{f"openai {code}": (lambda code=code: status(code)) for code in (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503)},
    **{f"anthropic {code}": (lambda code=code: status(code, anthropic)) for code in (400, 401, 429, 529)},
    "aws throttled": lambda: of_aws(429),
    "aws refused": lambda: of_aws(400),
    "google refused": lambda: of_google(400),
    "google quota": lambda: of_google(429),
    "no connection": lambda: caused(openai.APIConnectionError(request=REQUEST), httpx.ConnectError("x")),
    "connecting took too long": lambda: caused(openai.APITimeoutError(REQUEST), httpx.ConnectTimeout("x")),
    "no free connection": lambda: caused(openai.APITimeoutError(REQUEST), httpx.PoolTimeout("x")),
    "aws no connection": lambda: botocore.exceptions.EndpointConnectionError(endpoint_url="x"),
    "aws connecting": lambda: botocore.exceptions.ConnectTimeoutError(endpoint_url="x"),
    "aws no key": botocore.exceptions.NoCredentialsError,
    "requests connecting": lambda: requests.ConnectTimeout("x"),
    "wrapped refusal": lambda: caused(ValueError("model failed"), of_google(400)),
    "refused": ConnectionRefusedError,
    "unknown host": lambda: caused(httpx.ConnectError("x"), socket.gaierror()),
    "no server": lambda: ConnectionError("start the server"),
    "budget": lambda: BudgetExceededError("no room"),
    "of the program": lambda: ValueError("a bad argument"),
    "budget after a timeout": lambda: during(TimeoutError(), BudgetExceededError("no room")),
}


@pytest.mark.parametrize("error", SENT.values(), ids=SENT)
def test_what_was_sent_and_not_answered_may_be_billed(error: Callable[[], BaseException]) -> None:
    assert may_be_billed(error())


@pytest.mark.parametrize("error", FREE.values(), ids=FREE)
def test_what_was_refused_or_never_sent_is_free(error: Callable[[], BaseException]) -> None:
    assert not may_be_billed(error())


def test_a_client_that_connects_again_after_a_time_out_has_sent_before() -> None:
    async def connect_tcp() -> None:
        raise asyncio.CancelledError

    async def request(retries_taken: int) -> None:
        await waiting()

    names = {"__name__": "httpcore._backends.anyio"}
    waiting = FunctionType(connect_tcp.__code__, {**globals(), **names})
    for tries in (0, 1):
        with pytest.raises(asyncio.CancelledError) as raised:
            asyncio.run(request(tries))
        assert may_be_billed(raised.value) is bool(tries)


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    assert not may_be_billed(first)


def test_a_request_was_sent_as_often_as_its_client_says() -> None:
    again = httpx.Request("POST", "http://127.0.0.1/v1", headers={"x-stainless-retry-count": "2"})
    assert times_sent(caused(openai.APITimeoutError(again), httpx.ReadTimeout("x"))) == 3
    assert times_sent(caused(ValueError("model failed"), anthropic.APITimeoutError(again))) == 3
    assert times_sent(openai.APITimeoutError(REQUEST)) == times_sent(httpx.ReadTimeout("x")) == times_sent(None) == 1


def test_a_request_was_sent_as_often_as_tenacity_tried() -> None:
    tried: list[int] = []

    def ask() -> None:
        tried.append(1)
        raise httpx.ReadTimeout("x")

    retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(3), reraise=True)
    with pytest.raises(httpx.ReadTimeout) as raised:
        retrying(ask)
    assert times_sent(raised.value) == len(tried) == 3
    twice = tenacity.Retrying(stop=tenacity.stop_after_attempt(2))
    with pytest.raises(tenacity.RetryError) as given_up:
        twice(lambda: retrying(ask))
    assert times_sent(given_up.value) == 6
    assert len(tried) == 9
