"""Calling models for a request: which tier a model's name means, the envelope, and the polite answer of a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from llmthrift_core.calls.rows import collect_rows
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.service.backend import Answered, Asked, Choice
from llmthrift_core.service.envelope import envelope_of
from llmthrift_core.service.failures import RequestError, refusal

if TYPE_CHECKING:
    from llmthrift_core.ledger.record import CallRecord
    from llmthrift_core.service.backend import ChatBackend
    from llmthrift_core.thrift import Thrift

AUTO: Final = "auto"
_POLITE: Final = "The budget for this is used up for now. Please try again later."


@dataclass(slots=True)
class Service:
    """What the endpoints work with.

    Attributes:
        on_budget: "refuse" answers 429 where a budget has no room, "answer" says so politely.
    """

    thrift: Thrift
    backend: ChatBackend
    on_budget: Literal["refuse", "answer"] = "refuse"

    def tier_of(self, model: str) -> str | None:
        """The tier that a model's name means; None for "auto", which routes.

        Raises:
            RequestError: 404, with the names that are known.
        """
        tiers = list(self.backend.tiers)
        if model == AUTO:
            return None
        if model in tiers:
            return model
        for tier in tiers:
            name, provider = self.backend.model_of(tier)
            if model == name or (provider is not None and model in (f"{provider}/{name}", f"{provider}:{name}")):
                return tier
        known = ", ".join([AUTO, *tiers])
        raise RequestError(404, f"the model {model!r} is not served here; known are {known}", param="model", code="model_not_found")

    def check_tier(self, name: str | None) -> None:
        """Refuse a tier that does not exist. Raises RequestError."""
        if name is not None and name not in self.backend.tiers:
            raise RequestError(400, f"max_tier={name!r} is not a tier; known are {', '.join(self.backend.tiers)}", param="max_tier")

    async def answer(self, asked: Asked) -> tuple[Answered, dict[str, Any]]:
        """The answer and its envelope.

        Raises:
            BudgetExceededError: a budget has no room, where that is not answered politely.
        """
        with collect_rows() as rows:
            try:
                answered = await self.backend.answer(asked)
            except BudgetExceededError as refused:
                if self.on_budget != "answer":
                    raise
                return self.polite(asked), polite_envelope(asked, refused, rows)
        return answered, self.tell(rows, asked)

    def tell(self, rows: Sequence[CallRecord], asked: Asked) -> dict[str, Any]:
        """The envelope of a call; a hit's tier is the one whose model had answered."""
        told = envelope_of(rows, tier=asked.tier)
        if told.get("final_tier") is None and (model := told.get("model")):
            names = {tier: self.backend.model_of(tier)[0] for tier in self.backend.tiers}
            fitting = [tier for tier, name in names.items() if model == name or model.startswith(f"{name}-")]
            told["final_tier"] = max(fitting, key=lambda tier: len(names[tier]), default=None)
        return told

    def polite(self, asked: Asked) -> Answered:
        """What is said where a budget has no room."""
        return Answered([Choice(_POLITE)], asked.tier or AUTO, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})


def polite_envelope(asked: Asked, refused: BudgetExceededError, rows: Sequence[CallRecord]) -> dict[str, Any]:
    """The envelope of an answer that says that a budget has no room."""
    told = envelope_of(rows, tier=asked.tier)
    return {**told, "cost_usd": told["cost_usd"] or 0.0, "source": "budget_limit", "budget": refusal(refused)}


def told_usage(told: Mapping[str, Any]) -> dict[str, int]:
    """The usage of an envelope in OpenAI's format, where the model told none: as the ledger counted it."""
    sent, made = told.get("input_tokens") or 0, told.get("output_tokens") or 0
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}
