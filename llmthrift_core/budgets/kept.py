"""Budgets as they are stored, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from typing import Final

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.store import KeptBudget
from llmthrift_core.errors import StorageError
from llmthrift_core.money import to_usd

_STORED_APART: Final = ("name", "limit_usd", "limit_tokens", "limit_requests", "limit_tool_calls")
_COUNTS: Final = "counts"  # what the stored limit of tokens is a limit of, if not of tokens


def kept_of(budget: Budget) -> KeptBudget:
    """A budget as stores keep it."""
    settings = {name: value for name, value in asdict(budget).items() if name not in _STORED_APART}
    tokens = budget.limit_tokens
    if budget.limit_tool_calls is not None:
        settings[_COUNTS], tokens = "tool_calls", budget.limit_tool_calls
    return KeptBudget(budget.name, budget.limit_nano_usd, tokens, budget.limit_requests, json.dumps(settings, sort_keys=True))


@lru_cache(maxsize=1024)
def budget_of(kept: KeptBudget) -> Budget:
    """A stored budget. Raises StorageError: a newer version may have written it."""
    name, limit_nano_usd, limit_tokens, limit_requests, settings = kept
    try:
        values = json.loads(settings)
        if values.pop(_COUNTS, None) == "tool_calls":
            values["limit_tool_calls"], limit_tokens = limit_tokens, None
        limit_usd = None if limit_nano_usd is None else to_usd(limit_nano_usd)
        return Budget(limit_usd=limit_usd, limit_tokens=limit_tokens, limit_requests=limit_requests, name=name, **values)
    except (ValueError, TypeError) as error:
        # A budget that cannot be read must not be taken for none.
        raise StorageError(f"budget {name!r} cannot be read ({type(error).__name__}); remove it and add it again") from None
