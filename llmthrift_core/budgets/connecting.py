"""Calls that were given up before their request left this machine: while they waited for a connection, or for their turn.

A cancellation does not say where it met its call, but its traceback does. The names of functions are of httpcore 1.0, anyio 4, aiohttp 3,
langchain-core 1 and the clients of OpenAI and Anthropic. Where a release calls them otherwise, a call counts as sent, and may be billed.
"""

from __future__ import annotations

from collections.abc import Iterable
from traceback import walk_tb
from typing import Final

# By package: where no byte of a request has been sent yet.
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
