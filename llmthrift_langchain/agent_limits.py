"""What an agent's middleware knows of the budgets around it: what is left, in words for the model, and whether the soft limit is passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables.config import var_child_runnable_config

from llmthrift_core.attribution import current_attribution
from llmthrift_core.budgets.scopes import Scope
from llmthrift_langchain.run_metadata import attribution_of_metadata
from llmthrift_langchain.runs import root_of, surrounding

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_NAMES = {"usd": "dollars", "tokens": "tokens", "requests": "model calls", "tool_calls": "tool calls", "seconds": "seconds"}


def scope_here() -> Scope:
    """Who is about to spend, as a model called from here would."""
    metadata = (var_child_runnable_config.get() or {}).get("metadata")
    root = root_of(surrounding())
    return Scope(attribution_of_metadata(metadata).over(current_attribution()), None, None if root is None else str(root))


def past_soft(thrift: Thrift, soft: float) -> list[dict[str, Any]]:
    """The budgets of whoever is about to spend of which at least the share `soft` is spent: rows as of `Budgets.status`."""
    return [row for row in thrift.budgets.left(scope_here()) if row["limit"] and float(row["spent"]) >= soft * float(row["limit"])]


def line_of(rows: Sequence[dict[str, Any]]) -> str:
    """What is left of budgets, for a model to read."""
    left = "; ".join(f"{_amount(row['remaining'])} of {_amount(row['limit'])} {_NAMES[row['unit']]} left" for row in rows)
    return f"[Budget: {left}. Use as few further steps as you can, and answer with what you have.]"


def with_line(messages: Sequence[AnyMessage], line: str) -> list[AnyMessage]:
    """The messages with a line at their end, so that what comes before stays in the provider's prompt cache."""
    return [*messages, HumanMessage(line)]


def _amount(value: Any) -> str:
    return f"{value.normalize():f}" if hasattr(value, "normalize") else f"{value:,}"
