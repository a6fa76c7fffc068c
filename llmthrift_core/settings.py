"""The environment variables that llmthrift reads, in one place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from llmthrift_core.errors import ConfigurationError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
_SWITCHES = ("LLMTHRIFT_DISABLED", "LLMTHRIFT_OBSERVE", "LLMTHRIFT_FLUSH_ON_SIGTERM", "LLMTHRIFT_METER")
# Every call asks for switches that are rarely set. os.environ raises and catches a KeyError for those, its own mapping does not.
_variables = getattr(os.environ, "_data", None)
_acting: ContextVar[bool] = ContextVar("llmthrift_acting", default=False)
_DISABLED, _OBSERVE = (os.environ.encodekey(name) for name in ("LLMTHRIFT_DISABLED", "LLMTHRIFT_OBSERVE"))


def is_disabled() -> bool:
    """LLMTHRIFT_DISABLED=1: every door is a pass-through."""
    if _variables is not None and _DISABLED not in _variables:
        return False
    return _is_on("LLMTHRIFT_DISABLED", "")


def is_observing() -> bool:
    """LLMTHRIFT_OBSERVE=1: measure only; serve, reroute and refuse nothing. Not within `acting`."""
    if _variables is not None and _OBSERVE not in _variables:
        return False
    return not _acting.get() and _is_on("LLMTHRIFT_OBSERVE", "")


@contextmanager
def acting() -> Iterator[None]:
    """Within it, in this context alone, the doors do what they are for, in observe mode too: for calls that no caller waits for."""
    token = _acting.set(True)
    try:
        yield
    finally:
        _acting.reset(token)


def flushes_on_sigterm() -> bool:
    """LLMTHRIFT_FLUSH_ON_SIGTERM=0: the signal SIGTERM is left alone; what the ledger has queued is lost then."""
    return _is_on("LLMTHRIFT_FLUSH_ON_SIGTERM", "1")


def default_url() -> str:
    """$LLMTHRIFT_URL, else ./llmthrift.db."""
    return os.environ.get("LLMTHRIFT_URL") or "llmthrift.db"


def default_valkey_url() -> str | None:
    """$LLMTHRIFT_VALKEY_URL, or None."""
    return os.environ.get("LLMTHRIFT_VALKEY_URL") or None


def default_webhook_secret() -> str | None:
    """$LLMTHRIFT_WEBHOOK_SECRET, or None."""
    return os.environ.get("LLMTHRIFT_WEBHOOK_SECRET") or None


def check_switches() -> None:
    """Refuse a switch whose value says neither yes nor no.

    Raises:
        ConfigurationError: such a value.
    """
    for name in _SWITCHES:
        value = os.environ.get(name, "")
        if value.lower() not in _TRUE | _FALSE:
            raise ConfigurationError(f"{name}={value!r} says neither yes nor no; set it to 1 or 0, or leave it out")


def _is_on(name: str, default: str) -> bool:
    return os.environ.get(name, default).lower() in _TRUE
