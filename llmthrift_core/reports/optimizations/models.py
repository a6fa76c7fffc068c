"""Findings about models: premium ones, prices that changed, and the same model sold for less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from llmthrift_core.display import percent, usd
from llmthrift_core.money import to_usd
from llmthrift_core.reports.optimizations import lines
from llmthrift_core.reports.optimizations.figures import Figures, Row, priced_as, tiers
from llmthrift_core.reports.optimizations.opportunity import Estimate, Opportunity, opportunity, sum_of_sample

_PREMIUM_SHARE: Final = 0.5
_PREMIUM_SAVED: Final = 0.3  # the usual rule of thumb, of the cost of premium models
_LEAST_SHARE: Final = 0.05  # of the cost: what a model must have to be worth a line
_CHANGED: Final = 0.05  # of a price
_REPRICED: Final = 200  # calls of a model that are priced again
_COMPARED: Final = 50  # calls that are priced on other models
_MODELS: Final = 20
_SELLERS: Final = (
    "openai",
    "anthropic",
    "google",
    "azure",
    "aws",
    "deepseek",
    "mistral",
    "openrouter",
    "groq",
    "together",
    "fireworks",
    "cerebras",
    "novita",
    "x-ai",
)
"""Whose price for the same name is looked at; identifiers of genai-prices."""


def premium_models(figures: Figures) -> Iterator[Opportunity]:
    """Premium models that cost more than half of everything."""
    tier = tiers(figures)
    costs = {model: sums["cost_nano_usd"] for model, sums in figures.models.items() if tier(model) == "premium"}
    premium = sum(costs.values())
    if not figures.cost or premium <= _PREMIUM_SHARE * figures.cost:
        return
    names = ", ".join(sorted(costs, key=lambda model: -costs[model])[:3])
    rows = sorted((row for row in figures.paid if row.model in costs), key=lambda row: -(row.cost_nano_usd or 0))
    observed = figures.total["observed_routing_nano_usd"]
    known = [float(row.observed_routing_nano_usd) for row in figures.newest if row.observed_routing_nano_usd is not None]
    if known:
        scale = observed / sum(known) if sum(known) > 0 else 1.0
        estimate = sum_of_sample(known, sampled=len(figures.newest), of=len(figures.newest)).times(scale)
        basis, assumed = "ledger", "observe mode asked the router for each call; the answers of the cheaper models would have been as good"
        if observed <= 0:
            return
    else:
        estimate = Estimate(_PREMIUM_SAVED * premium, 0.0, 2 * _PREMIUM_SAVED * premium)
        basis, assumed = "rule of thumb", "30% of the cost of premium models; run the router in observe mode to know"
    yield opportunity(
        "premium_models",
        f"{percent(premium / figures.cost)} of the cost, {usd(to_usd(premium))}, is that of premium models: {names}.",
        estimate,
        evidence=[row.request_id for row in rows],
        how=lines.ROUTER,
        basis="ledger" if basis == "ledger" else "rule of thumb",
        assumed=assumed,
    )


def repriced_models(figures: Figures) -> Iterator[Opportunity]:
    """Models whose price is another one today, or who have none any more; and what would be cheapest now."""
    for model, rows in _large_models(figures):
        paid, today, unknown = 0, 0, 0
        for row in rows:
            now = priced_as(figures, row, row.model, row.provider)
            if now is None:
                unknown += 1
            else:
                paid, today = paid + (row.cost_nano_usd or 0), today + now
        if unknown == len(rows):
            yield opportunity(
                "model_retired_or_repriced",
                f"{model} has no price any more: it is retired, or sold under another name. {_cheapest_now(figures, model)}",
                Estimate(0.0, 0.0, 0.0),
                evidence=[row.request_id for row in rows],
                how=lines.asked_where(),
                basis="ledger",
                assumed="the price list of today",
            )
        elif paid and abs(today / paid - 1) > _CHANGED:
            change = today / paid - 1
            scale = figures.models[model]["cost_nano_usd"] / sum(row.cost_nano_usd or 0 for row in rows)
            saved = max(0.0, (paid - today) * scale)
            yield opportunity(
                "model_retired_or_repriced",
                f"{model} costs {change:+.0%} today, against what its calls were charged. {_cheapest_now(figures, model)}",
                Estimate(saved, saved, saved),
                evidence=[row.request_id for row in rows],
                how=lines.on_another(_cheapest_name(figures, model) or model),
                basis="ledger",
                assumed="the same calls at today's price; a lower one needs no action",
            )


def cheaper_sellers(figures: Figures) -> Iterator[Opportunity]:
    """The same name for less at another seller."""
    for model, rows in _large_models(figures):
        ((own, _),) = Counter(row.provider for row in rows).most_common(1)
        some = [row for row in rows if row.provider == own][:_REPRICED]
        own_price = sum(row.cost_nano_usd or 0 for row in some)
        best: tuple[float, str] | None = None
        for seller in _SELLERS:
            if seller == own:
                continue
            if priced_as(figures, rows[0], model, seller) is None:
                continue
            paid_there = sum(priced_as(figures, row, model, seller) or 0 for row in some)
            if paid_there < (1 - _CHANGED) * own_price and (best is None or paid_there / own_price < best[0]):
                best = paid_there / own_price, seller
        if best is None:
            continue
        share, seller = best
        saved = (1 - share) * figures.models[model]["cost_nano_usd"]
        yield opportunity(
            "cheaper_seller",
            f"{model} costs {1 - share:.0%} less at {seller} than {'where it is called' if own is None else f'at {own}'}.",
            Estimate(saved, saved, saved),
            evidence=[row.request_id for row in rows],
            how=lines.sold_elsewhere(model, seller),
            basis="ledger",
            assumed="list prices; the seller serves the same weights, and fast enough",
        )


def _large_models(figures: Figures) -> Iterator[tuple[str, list[Row]]]:
    """Models with a share of the cost that is worth a line, each with its newest paid calls."""
    for model, sums in sorted(figures.models.items(), key=lambda item: -item[1]["cost_nano_usd"]):
        rows = [row for row in figures.paid if row.model == model and row.cost_nano_usd]
        if rows and sums["cost_nano_usd"] >= _LEAST_SHARE * figures.cost:
            yield model, rows[:_REPRICED]


def _cheapest_now(figures: Figures, model: str) -> str:
    best = _cheapest_name(figures, model)
    if best is None:
        return ""
    if best == model:
        return "It is the cheapest of the models in use."
    return f"Of the models in use, {best} is the cheapest for its calls today."


def _cheapest_name(figures: Figures, model: str) -> str | None:
    """Which of the models in use is cheapest today for what this one was asked; None where only one is known."""
    rows = [row for row in figures.paid if row.model == model][:_COMPARED]
    costs: dict[str, int] = {}
    for other in sorted(figures.models, key=lambda name: -figures.models[name]["requests"])[:_MODELS]:
        prices = [priced_as(figures, row, other, None) for row in rows]
        if rows and None not in prices:
            costs[other] = sum(price or 0 for price in prices)
    return min(costs, key=lambda name: costs[name]) if len(costs) > 1 else None
