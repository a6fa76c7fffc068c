"""Metering of every LangChain run of a block of code (`thrift_callbacks`), or of a process that was started with LLMTHRIFT_METER=1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.settings import is_disabled
from llmthrift_langchain.handler import ThriftCallbackHandler

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_METER = "LLMTHRIFT_METER"
_active: ContextVar[ThriftCallbackHandler | None] = ContextVar("llmthrift_handler", default=None)
_process: ContextVar[ThriftCallbackHandler | None] = ContextVar("llmthrift_process_handler", default=None)


class _ProcessHandler(ThriftCallbackHandler):
    """The one handler of a process that was started with LLMTHRIFT_METER=1."""

    _instance: _ProcessHandler | None = None
    _creation = ForkedLock()

    def __new__(cls) -> _ProcessHandler:
        with cls._creation:
            if cls._instance is None:
                cls._instance = super().__new__(cls)
            return cls._instance

    def __init__(self) -> None:
        if not hasattr(self, "thrift"):
            from llmthrift_core.thrift import Thrift

            super().__init__(thrift := Thrift(open_now=False))
            if not is_disabled():
                _ = thrift.ledger  # whose modules take a while to load


@cache
def _hook() -> None:
    # Once per process. The module costs 20 ms to import, so only those pay who use it.
    from langchain_core.tracers.context import register_configure_hook

    register_configure_hook(_active, inheritable=True)
    register_configure_hook(_process, inheritable=True, handle_class=_ProcessHandler, env_var=_METER)


if os.environ.get(_METER):
    _hook()
    _ProcessHandler()  # not when LangChain first asks for it: that may be on an event loop


@contextmanager
def thrift_callbacks(thrift: Thrift, **attribution: Any) -> Iterator[ThriftCallbackHandler]:
    """Meter every LangChain run that starts inside the block, without touching any config.

    For a whole process start it with the environment variable LLMTHRIFT_METER=1 instead: then every run of a program that imports
    `llmthrift_langchain` is recorded in the database named by LLMTHRIFT_URL.

    Args:
        thrift: where to record.
        attribution: defaults, as for `ThriftCallbackHandler`.
    """
    _hook()
    handler = ThriftCallbackHandler(thrift, **attribution)
    token = _active.set(handler)
    try:
        yield handler
    finally:
        _active.reset(token)
