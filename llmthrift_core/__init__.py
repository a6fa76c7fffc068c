"""llmthrift: metering, caching, routing and one cost ledger for applications that call LLMs.

Importing this package does no I/O, starts no thread and loads no database driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmthrift_core.attribution import attribute
from llmthrift_core.cache.mode import cache_mode
from llmthrift_core.cache.rules import cache_rules
from llmthrift_core.errors import BudgetExceededError, LLMThriftError, MissingExtraError, UnknownModelError
from llmthrift_core.thrift import Thrift
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.budgets.budget import Budget as Budget
    from llmthrift_core.pricing import Cost as Cost
    from llmthrift_core.pricing import PriceCatalog as PriceCatalog

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "BudgetExceededError",
    "Cost",
    "LLMThriftError",
    "MissingExtraError",
    "PriceCatalog",
    "Thrift",
    "UnknownModelError",
    "Usage",
    "attribute",
    "cache_mode",
    "cache_rules",
]


def __getattr__(name: str) -> Any:
    if name == "Budget":  # a program which only meters needs neither this nor the next
        from llmthrift_core.budgets.budget import Budget

        return Budget
    if name in ("Cost", "PriceCatalog"):  # 20 ms
        from llmthrift_core import pricing

        return getattr(pricing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
