"""Whether the cache may answer and learn: decided for a block of code, or for one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

CacheMode = Literal["on", "off", "refresh"]

_cache_mode: ContextVar[CacheMode] = ContextVar("llmthrift_cache_mode", default="on")


@contextmanager
def cache_mode(mode: CacheMode) -> Iterator[None]:
    """Decide for every call inside the block whether the cache is used.

    "off" neither reads nor writes; "refresh" asks the model and replaces what was stored; "on" is the default.

    >>> from llmthrift_core import cache_mode
    >>> with cache_mode("off"):
    ...     pass
    """
    token = _cache_mode.set(checked_cache_mode(mode))
    try:
        yield
    finally:
        _cache_mode.reset(token)


def current_cache_mode() -> CacheMode:
    """The mode of the surrounding `cache_mode(...)` block, or "on"."""
    return _cache_mode.get()


def checked_cache_mode(mode: Any) -> CacheMode:
    """Return `mode`; False means "off" and True "on".

    Raises:
        ValueError: not "on", "off" or "refresh".
    """
    if isinstance(mode, bool):
        return "on" if mode else "off"
    if mode not in ("on", "off", "refresh"):
        raise ValueError(f'cache must be "on", "off" or "refresh", not {mode!r}')
    return mode  # type: ignore[no-any-return]
