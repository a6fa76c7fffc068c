"""The environment variables that llmthrift reads, in one place."""

from __future__ import annotations

import os

_TRUE = frozenset({"1", "true", "yes", "on"})


def is_disabled() -> bool:
    """LLMTHRIFT_DISABLED=1: every door is a pass-through."""
    return os.environ.get("LLMTHRIFT_DISABLED", "").lower() in _TRUE


def is_observing() -> bool:
    """LLMTHRIFT_OBSERVE=1: measure only; serve, reroute and refuse nothing."""
    return os.environ.get("LLMTHRIFT_OBSERVE", "").lower() in _TRUE


def default_url() -> str:
    """$LLMTHRIFT_URL, else ./llmthrift.db."""
    return os.environ.get("LLMTHRIFT_URL") or "llmthrift.db"
