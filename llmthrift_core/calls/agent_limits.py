"""`AgentLimits`: how an agent spares past a soft limit, and how it ends at the limit. Both adapters keep to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from llmthrift_core.budgets import Budgets
    from llmthrift_core.budgets.scopes import Scope
    from llmthrift_core.calls.shortening import ShorteningPolicy

OnExceeded = Literal["raise", "stop", "end", "summarize", "ask"]
_NAMES: Final = {"usd": "dollars", "tokens": "tokens", "requests": "model calls", "tool_calls": "tool calls", "seconds": "seconds"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """What an agent does before and at the limit of a budget.

    Attributes:
        on_exceeded: what a refusal does.
        soft: share of a budget's limit from which on the agent is to spare; None: never.
        tells_model: past `soft`, each prompt ends with a line that says what is left.
        soft_tier: past `soft`, no tier above this one.
        soft_shorten: past `soft`, what makes prompts shorter, such as `Shorten([steps.History(max_tokens=2_000)])`.
        summary_tokens: how long a summary may be, and about how much of the conversation it is made of.

    Raises:
        ConfigurationError: an option that cannot be used.
    """

    on_exceeded: OnExceeded = "raise"
    soft: float | None = None
    tells_model: bool = True
    soft_tier: str | None = None
    soft_shorten: ShorteningPolicy | None = None
    summary_tokens: int = 500

    def __post_init__(self) -> None:
        if self.on_exceeded not in get_args(OnExceeded):
            raise ConfigurationError(f"on_exceeded must be one of {', '.join(map(repr, get_args(OnExceeded)))}, not {self.on_exceeded!r}")
        if self.soft is not None and not 0 < self.soft <= 1:
            raise ConfigurationError(f"soft must be a share above 0 and up to 1, not {self.soft!r}")
        for name in ("soft_tier", "soft_shorten"):
            if getattr(self, name) is not None and self.soft is None:
                raise ConfigurationError(f"{name}= needs soft=, the share from which on it is used")
        if self.summary_tokens < 1:
            raise ConfigurationError(f"summary_tokens must be a whole number from 1, not {self.summary_tokens!r}")

    def past_soft(self, budgets: Budgets, scope: Scope) -> list[dict[str, Any]]:
        """The budgets of this spender of which at least the share `soft` is spent: rows as of `Budgets.status`."""
        soft = self.soft
        if soft is None:
            return []
        return [row for row in budgets.left(scope) if row["limit"] and float(row["spent"]) >= soft * float(row["limit"])]

    def line_of(self, rows: Sequence[dict[str, Any]]) -> str | None:
        """What is left of budgets, for the model to read; None where it is not told."""
        if not rows or not self.tells_model:
            return None
        left = "; ".join(f"{_amount(row['remaining'])} of {_amount(row['limit'])} {_NAMES[row['unit']]} left" for row in rows)
        return f"[Budget: {left}. Use as few further steps as you can, and answer with what you have.]"


def _amount(value: Any) -> str:
    return f"{value.normalize():f}" if hasattr(value, "normalize") else f"{value:,}"
