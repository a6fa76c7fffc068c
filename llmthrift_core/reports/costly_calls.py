"""`CostlyCall`: the most expensive calls of a run, and why each is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Any, Final

from llmthrift_core.display import counted
from llmthrift_core.money import to_usd

Row = Mapping[str, Any]
TierOf = Callable[[str, str | None], str | None]

_LONG: Final = 2.0  # times the median of the run
_SHARE_OF_PREMIUM: Final = 0.5
_SHARE_OF_REASONING: Final = 0.5  # of the output
_SHARE_OF_WRITES: Final = 0.25  # of the input
_LEAST_TOKENS: Final = 500  # below that no prompt or answer is long


@dataclass(frozen=True, slots=True)
class CostlyCall:
    """One of the most expensive calls of a run.

    Attributes:
        request_id: of the call.
        model: that answered it.
        cost_usd: what it cost.
        share: of the cost of all model calls in the run, 0 to 1.
        why: what makes it expensive, each a sentence that begins with the kind of reason: "retry", "fallback", "escalation", "rejected",
            "failed", "premium model", "reasoning", "cache write", "long input", "long output", "searches", "input", "output".
    """

    request_id: str
    model: str
    cost_usd: Decimal
    share: float
    why: tuple[str, ...]


def costly_calls(rows: Sequence[Row], *, most: int, tier_of: TierOf) -> tuple[CostlyCall, ...]:
    """The most expensive calls of a run, most expensive first.

    Args:
        rows: all calls of the run.
        tier_of: the tier of a model by its name and provider, or None.
    """
    priced = [row for row in rows if row["cost_nano_usd"]]
    whole = sum(row["cost_nano_usd"] for row in priced)
    priced.sort(key=lambda row: (-row["cost_nano_usd"], row["at_us"], row["request_id"]))
    usual = Usual.of_run(rows, tier_of)
    return tuple(
        CostlyCall(row["request_id"], row["model"], to_usd(row["cost_nano_usd"]), row["cost_nano_usd"] / whole, tuple(reasons(row, usual)))
        for row in priced[:most]
    )


@dataclass(frozen=True, slots=True)
class Usual:
    """What a call is compared with.

    Attributes:
        calls: how many it is made of.
        input_tokens, output_tokens: of a usual call.
        name: what these are, such as "the median of this run".
        has_cheaper_models: some of the calls were answered by a model that is not premium.
        tier_of: the tier of a model by its name and provider, or None.
    """

    calls: int
    input_tokens: float
    output_tokens: float
    name: str
    has_cheaper_models: bool
    tier_of: TierOf

    @classmethod
    def of_run(cls, rows: Sequence[Row], tier_of: TierOf) -> Usual:
        """The medians of a run's answered calls."""
        answered = [row for row in rows if row["cache"] is None and row["error"] is None] or list(rows)
        return cls(
            len(answered),
            float(median(row["input_tokens"] for row in answered)) if answered else 0.0,
            float(median(row["output_tokens"] for row in answered)) if answered else 0.0,
            "the median of this run",
            any(tier_of(model, provider) != "premium" for model, provider in {(row["model"], row["provider"]) for row in answered}),
            tier_of,
        )


def reasons(row: Row, usual: Usual) -> Iterator[str]:
    """Why a priced call costs more than others, in sentences."""
    sent, made = row["input_tokens"], row["output_tokens"]
    match row["attempt_reason"]:
        case "retry":
            yield "retry: an attempt before it had failed"
        case "fallback":
            yield "fallback: another model had failed"
        case "escalation":
            yield "escalation: a cheaper answer was rejected"
    if row["escalated"]:
        yield "rejected: its answer was paid for and not kept"
    if row["error"]:
        yield f"failed: {row['error']}, and billed all the same"
    if usual.tier_of(row["model"], row["provider"]) == "premium":
        others = "; the run also uses cheaper ones" if usual.has_cheaper_models else ""
        yield f"premium model: {row['model']}{others}"
    if row["reasoning_tokens"] >= _SHARE_OF_REASONING * made > 0:
        yield f"reasoning: {row['reasoning_tokens']:,} of {counted(made, 'output token')}"
    if row["cache_write_tokens"] >= _SHARE_OF_WRITES * sent > 0:
        yield f"cache write: {row['cache_write_tokens']:,} of {counted(sent, 'input token')}, at more than the price of input"
    if sent >= _LEAST_TOKENS and usual.calls > 1 and sent >= _LONG * usual.input_tokens:
        yield f"long input: {counted(sent, 'token')}{_times(sent, usual.input_tokens, usual.name)}"
    if made >= _LEAST_TOKENS and usual.calls > 1 and made >= _LONG * usual.output_tokens:
        yield f"long output: {counted(made, 'token')}{_times(made, usual.output_tokens, usual.name)}"
    if row["web_searches"]:
        yield f"searches: {row['web_searches']:,} by the provider"
    yield _larger_part(row)


def _times(tokens: int, usual: float, name: str) -> str:
    return f", {tokens / usual:.1f} times {name}" if usual else ""


def _larger_part(row: Row) -> str:
    sent, made, cost = row["input_cost_nano_usd"] or 0, row["output_cost_nano_usd"] or 0, row["cost_nano_usd"]
    if sent >= made:
        return f"input: {sent / cost:.0%} of its cost are {counted(row['input_tokens'], 'input token')}"
    return f"output: {made / cost:.0%} of its cost are {counted(row['output_tokens'], 'output token')}"
