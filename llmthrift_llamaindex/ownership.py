"""Who records a call: the outermost door. Doors inside of it, and handlers that see its events, yield to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llmthrift_core.calls.call import Call
    from llmthrift_core.thrift import Thrift

_owner: Final[ContextVar[str | None]] = ContextVar("llmthrift_llamaindex_owner", default=None)


@contextmanager
def owned_by(call: Call) -> Iterator[None]:
    """While the block runs, what calls a model in this context is part of this call."""
    token = _owner.set(call.call_id)
    try:
        yield
    finally:
        _owner.reset(token)


def owning_call(thrift: Thrift) -> Call | None:
    """The open call of this Thrift that the running code is part of."""
    call_id = _owner.get()
    return None if call_id is None else thrift.open_call(call_id)
