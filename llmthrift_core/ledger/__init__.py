"""The ledger: an append-only record of model calls and cache hits, and the sums that reports read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports
from llmthrift_core.ledger.record import CallRecord

if TYPE_CHECKING:
    from llmthrift_core.ledger.ledger import Ledger as Ledger

__all__ = ["CallRecord", "Ledger"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.ledger.ledger": ("Ledger",),
    },
)
