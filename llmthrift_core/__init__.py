"""llmthrift: metering, caching, routing and one cost ledger for applications that call LLMs.

Importing this package does no I/O, starts no thread and loads no database driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.attribution import attribute
from llmthrift_core.cache.rules import cache_mode, cache_rules
from llmthrift_core.errors import BudgetExceededError, LLMThriftError, MissingExtraError, UnknownModelError
from llmthrift_core.exports import lazy_exports
from llmthrift_core.thrift import Thrift
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.alerts.alert import Alert as Alert
    from llmthrift_core.budgets.budget import Budget as Budget
    from llmthrift_core.pricing import Cost as Cost
    from llmthrift_core.pricing import PriceCatalog as PriceCatalog

__version__ = "0.1.0"

__all__ = [
    "Alert",
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

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.alerts.alert": ("Alert",),
        "llmthrift_core.budgets.budget": ("Budget",),
        "llmthrift_core.pricing": ("Cost", "PriceCatalog"),
    },
)
