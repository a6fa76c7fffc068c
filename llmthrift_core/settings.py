"""The environment variables that llmthrift reads, in one place."""

from __future__ import annotations

import os

_TRUE = frozenset({"1", "true", "yes", "on"})
# Every call asks for switches that are rarely set. os.environ raises and catches a KeyError for those, its own mapping does not.
_variables = getattr(os.environ, "_data", None)
_DISABLED, _OBSERVE = (os.environ.encodekey(name) for name in ("LLMTHRIFT_DISABLED", "LLMTHRIFT_OBSERVE"))


def is_disabled() -> bool:
    """LLMTHRIFT_DISABLED=1: every door is a pass-through."""
    if _variables is not None and _DISABLED not in _variables:
        return False
    return os.environ.get("LLMTHRIFT_DISABLED", "").lower() in _TRUE


def is_observing() -> bool:
    """LLMTHRIFT_OBSERVE=1: measure only; serve, reroute and refuse nothing."""
    if _variables is not None and _OBSERVE not in _variables:
        return False
    return os.environ.get("LLMTHRIFT_OBSERVE", "").lower() in _TRUE


def flushes_on_sigterm() -> bool:
    """LLMTHRIFT_FLUSH_ON_SIGTERM=0: the signal SIGTERM is left alone; what the ledger has queued is lost then."""
    return os.environ.get("LLMTHRIFT_FLUSH_ON_SIGTERM", "1").lower() in _TRUE


def default_url() -> str:
    """$LLMTHRIFT_URL, else ./llmthrift.db."""
    return os.environ.get("LLMTHRIFT_URL") or "llmthrift.db"


def default_valkey_url() -> str | None:
    """$LLMTHRIFT_VALKEY_URL, or None."""
    return os.environ.get("LLMTHRIFT_VALKEY_URL") or None
