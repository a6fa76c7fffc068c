"""Calls that may be billed though no answer came of them. Providers' errors are told by their status codes, names and causes.

    refused      4xx, 429, 5xx, an error of our own, what never left this machine     free
    unsent       given up while it waited for a connection                            free
    unanswered   sent, and then a time-out, a cancellation, a broken connection       may be billed

Providers do not bill requests that they refuse, nor those that fail on their side (5xx), but a gateway's time-out (408, 499, 504, 524)
says only that nobody waited any longer: the model may have answered. An answer that came and that the client could not take (2xx) was
billed too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Final, Protocol

from llmthrift_core.errors import LLMThriftError
from llmthrift_core.model_calls.provider_errors import causes_of, names_of, status_of
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.budgets.budgets import Budgets
    from llmthrift_core.budgets.hold import Hold


_WAITED_TOO_LONG: Final = frozenset({408, 499, 504, 524, 598, 599})

_FREE: Final = (LLMThriftError, ConnectionRefusedError, BrokenPipeError, socket.gaierror)
_GIVEN_UP: Final = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
_SENT: Final = (
    *_GIVEN_UP,
    GeneratorExit,
    TimeoutError,
    ConnectionResetError,
    ConnectionAbortedError,
)

# Names of classes and of their bases, of httpx, httpcore, requests, urllib3, aiohttp, botocore and the providers' own clients.
_UNSENT_NAMES: Final = frozenset(
    {
        "ClientConnectorError", "ConnectError", "ConnectTimeout", "ConnectTimeoutError", "ConnectionTimeoutError",
        "CredentialRetrievalError",
        "EndpointConnectionError", "InvalidSchema", "InvalidURL", "LocalProtocolError", "MissingSchema", "NameResolutionError",
        "NewConnectionError", "NoCredentialsError", "PartialCredentialsError", "PoolTimeout", "ProxyConnectionError", "ProxyError",
        "SSLCertVerificationError", "SSLError", "UnsupportedProtocol", "WriteError", "WriteTimeout",
    }
)  # fmt: skip
_SENT_NAMES: Final = frozenset(
    {
        "APIResponseValidationError", "ChunkedEncodingError", "ClientOSError", "ClientPayloadError", "CloseError", "ConnectionClosedError",
        "ContentFilterFinishReasonError", "DeadlineExceeded", "DecodingError", "IncompleteRead", "IncompleteReadError",
        "LengthFinishReasonError", "ProtocolError", "ReadError", "ReadTimeout", "ReadTimeoutError", "RemoteProtocolError",
        "ResponseStreamingError", "ServerDisconnectedError", "ServerTimeoutError", "SocketTimeoutError",
    }
)  # fmt: skip
# What clients raise in the place of one of the above. Their causes say more, and a status is made up.
_WRAPPING_NAMES: Final = frozenset(
    {
        "APIConnectionError",
        "APITimeoutError",
        "ConnectionError",
        "HTTPClientError",
        "NetworkError",
        "RetryError",
        "Timeout",
        "TimeoutException",
    }
)
_ASKED_AGAIN: Final = ("input_tokens", "output_tokens", "input_audio_tokens", "web_searches")
_RETRIES: Final = "x-stainless-retry-count"
_RPC_SENT: Final = frozenset({"DEADLINE_EXCEEDED", "CANCELLED"})


def may_be_billed(error: BaseException) -> bool:
    """Whether a provider may have worked on a call that ended with this error. What is not known to have been sent is not billed.

    >>> may_be_billed(TimeoutError()), may_be_billed(ConnectionRefusedError()), may_be_billed(ValueError())
    (True, False, False)
    """
    if was_never_sent(error):
        return False
    broke = False
    for each in causes_of(error):
        found = _told_by(each)
        if found is not None:
            return found
        # A plain ConnectionError is how some clients say that there is no server.
        broke = broke or (bool(_WRAPPING_NAMES & names_of(each)) and type(each) is not ConnectionError)
    return broke


def was_never_sent(error: BaseException) -> bool:
    """Whether a call was given up by its caller before its request left this machine, as far as that can be told."""
    return isinstance(error, _GIVEN_UP) and is_before_sending(causes_of(error))


def name_of_end(error: BaseException | None) -> str:
    """What a row says of a call that gave no whole answer: the error's class, or that its reader left."""
    if error is None:
        return "unknown"
    return "abandoned" if isinstance(error, GeneratorExit) else type(error).__name__


def times_sent(error: BaseException | None) -> int:
    """How often a client sent a request that ended with this error, by its own retries, as far as the error tells: at least once.

    The clients of OpenAI and Anthropic count their retries in a header. Others use tenacity, whose frames are in the traceback.
    """
    if error is None:
        return 1
    return (1 + _retries_in_header(error)) * _tries_of_tenacity(error)


def _retries_in_header(error: BaseException) -> int:
    for each in causes_of(error):
        try:
            headers = getattr(getattr(each, "request", None), "headers", None)
        except RuntimeError:  # httpx's, which have none
            continue
        told = headers.get(_RETRIES) if isinstance(headers, Mapping) else None
        if isinstance(told, str) and told.isdecimal() and len(told) < 4:
            return int(told)
    return 0


def _tries_of_tenacity(error: BaseException) -> int:
    states: dict[int, int] = {}  # its functions hand the same one around
    for each in causes_of(error):
        for frame, _ in walk_tb(each.__traceback__):
            if str(frame.f_globals.get("__name__")).startswith("tenacity"):
                state = frame.f_locals.get("retry_state")
                number = getattr(state, "attempt_number", None)
                if isinstance(number, int):
                    states[id(state)] = max(number, 1)
    return prod(states.values())


class HasBudgets(Protocol):
    """A Thrift: its budgets are opened when they are asked for."""

    @property
    def budgets(self) -> Budgets: ...


def may_have_taken(host: HasBudgets, hold: Hold | None, needed: Mapping[str, Any], times: int = 1) -> Usage:
    """What an attempt may have used that was sent, and of whose answer nothing came: as much as was, or would be, set aside for it.

    Args:
        needed: the arguments of `Budgets.may_take`; "outgoing" is None where the door cannot count.
        times: how often it was sent.
    """
    usage = None if hold is None else hold.expected_usage
    if usage is None:
        usage = Usage(estimated=True) if needed["outgoing"] is None else host.budgets.may_take(**needed)
    return usage if times == 1 else replace(usage, **{name: getattr(usage, name) * times for name in _ASKED_AGAIN})


def _told_by(error: BaseException) -> bool | None:
    """What one exception of a chain says; None if nothing."""
    if isinstance(error, _FREE):
        return False
    names = names_of(error)
    if names & _UNSENT_NAMES:
        return False
    if isinstance(error, _SENT) or names & _SENT_NAMES:
        return True
    if isinstance(error, BaseExceptionGroup):
        return any(may_be_billed(each) for each in error.exceptions)
    if names & _WRAPPING_NAMES:
        return None
    status = status_of(error)
    if isinstance(status, str):
        return status in _RPC_SENT
    return None if status is None else status in _WAITED_TOO_LONG or 200 <= status < 300


# By package: where no byte of a request has been sent yet. A cancellation does not say where it met its call, but its traceback does. The
# names are of httpcore 1.0, anyio 4, aiohttp 3, langchain-core 1 and the clients of OpenAI and Anthropic. Where a release calls them
# otherwise, a call counts as sent, and may be billed.
_BEFORE: Final[dict[str, frozenset[str]]] = {
    "httpcore": frozenset({"connect_tcp", "connect_unix_socket", "start_tls", "wait_for_connection", "_connect"}),
    "anyio": frozenset({"connect_tcp", "connect_unix", "getaddrinfo"}),
    "aiohttp": frozenset({"connect", "_create_connection", "_create_direct_connection", "_resolve_host"}),
    "asyncio": frozenset({"create_connection", "sock_connect", "getaddrinfo"}),
    "langchain_core": frozenset({"aacquire", "acquire", "on_chat_model_start", "on_llm_start"}),  # rate limiters; handlers
    "openai": frozenset({"to_thread"}),  # it asks for its platform
    "anthropic": frozenset({"to_thread"}),
}
# What a client remembers of the tries before this one, by the names of its variables.
_TRIES: Final = (("retries_taken", 1), ("retry_state", 2))


def is_before_sending(errors: Iterable[BaseException]) -> bool:
    """Whether the traceback of an exception, or of one that led to it, ends where nothing was sent, and no earlier try was.

    Args:
        errors: the exception and its causes.
    """
    waits = False
    for error in errors:
        for frame, _ in walk_tb(error.__traceback__):
            package = str(frame.f_globals.get("__name__")).partition(".")[0]
            waits = waits or frame.f_code.co_name in _BEFORE.get(package, ())
            for name, least in _TRIES:
                told = frame.f_locals.get(name)
                told = getattr(told, "attempt_number", told)
                if isinstance(told, int) and told >= least:
                    return False
    return waits
