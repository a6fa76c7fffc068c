"""The ledger: an append-only record of model calls and cache hits, and the sums that reports read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmthrift_core.ledger.record import CallRecord

if TYPE_CHECKING:
    from llmthrift_core.ledger.ledger import Ledger as Ledger

__all__ = ["CallRecord", "Ledger"]


def __getattr__(name: str) -> Any:
    if name == "Ledger":  # loads SQLAlchemy
        from llmthrift_core.ledger.ledger import Ledger

        return Ledger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
