"""Rows of FOCUS from sums of the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from llmthrift_core.exporters.columns import DECIMAL_DIGITS
from llmthrift_core.exporters.focus_sums import CallGroup, CostGroup
from llmthrift_core.exporters.token_kinds import CostDivider, Part
from llmthrift_core.moments import to_us
from llmthrift_core.money import to_usd
from llmthrift_core.reports.report import SAVINGS

_STEP: Final = Decimal(1).scaleb(-DECIMAL_DIGITS)
_UNKNOWN: Final = "Unknown"
# How providers write their names; others are shown as they are recorded.
_PROVIDERS: Final = {
    "anthropic": "Anthropic",
    "aws": "Amazon Web Services",
    "azure": "Microsoft Azure",
    "bedrock": "Amazon Web Services",
    "cohere": "Cohere",
    "deepseek": "DeepSeek",
    "fireworks": "Fireworks AI",
    "google": "Google",
    "groq": "Groq",
    "mistral": "Mistral AI",
    "openai": "OpenAI",
    "openrouter": "OpenRouter",
    "perplexity": "Perplexity",
    "together": "Together AI",
    "x-ai": "xAI",
    "xai": "xAI",
}
_SAVED: Final = {
    "cache_saved_nano_usd": "from the cache",
    "routing_saved_nano_usd": "by routing",
    "shortening_saved_nano_usd": "by shorter prompts",
    "prefix_saved_nano_usd": "by the provider's prompt cache",
    "batch_saved_nano_usd": "by batch rates",
}
_METERS: Final = {"tokens": "tokens", "searches": "searches", "attempts": "calls"}


class FocusRows:
    """Makes rows of FOCUS.

    Args:
        divider: divides what calls did cost over the kinds of their tokens.
        maker: who makes a model, where no provider is recorded.
        billing_account: the BillingAccountId of every row.
    """

    def __init__(self, divider: CostDivider, *, maker: Callable[[str], str | None], billing_account: str) -> None:
        self._divider = divider
        self._maker = maker
        self._account = billing_account

    def of_calls(self, day: date, group: CallGroup) -> Iterator[dict[str, Any]]:
        """What a group of calls did cost, by kind of token, and what was saved."""
        provider = group.provider or self._maker(group.model)
        base = self._base(day, _PROVIDERS.get((provider or "").lower(), provider or _UNKNOWN), group.feature, group.tags)
        sku = f"{provider or _UNKNOWN.lower()}/{group.model}"
        base |= {
            "ServiceCategory": "AI and Machine Learning",
            "ServiceSubcategory": "Generative AI",
            "ServiceName": "Model inference",
            "ResourceId": group.model,
            "ResourceName": group.model,
            "ResourceType": "Model",
            "SkuId": sku,
            "x_Model": group.model,
        }
        parts = self._divider.divide(group.sums, model=group.model, provider=group.provider, day_us=to_us(day))
        for part in parts:
            yield base | _usage(part, f"{sku}/{part.kind}", group)
        for name in SAVINGS:
            if nano_usd := group.sums[name]:
                how = f"from the {group.cache} cache" if group.cache and name == "cache_saved_nano_usd" else _SAVED[name]
                yield base | _credit(nano_usd, f"{group.model}: saved {how}", group.sums["attempts"])

    def of_cost(self, day: date, group: CostGroup) -> dict[str, Any]:
        """A cost that is not a model call."""
        row = self._base(day, _UNKNOWN, group.feature, group.tags)
        row |= {
            "ServiceCategory": "Other",
            "ServiceSubcategory": "Other (Other)",
            "ServiceName": group.kind,
            "ChargeDescription": group.kind,
            "ChargeCategory": "Usage",
            **_costs(group.cost_nano_usd),
            "x_Attempts": group.count,
        }
        if group.cost_nano_usd < 0:  # money back: no quantity was used, and a price is never negative
            return row | {"ChargeCategory": "Adjustment"}
        price = _unit_price(group.cost_nano_usd, group.count)
        return row | {
            **_quantity(group.count, "Units", price),
            "SkuId": group.kind,
            "SkuMeter": group.kind,
            "SkuPriceId": group.kind,
            "PricingCategory": "Standard",
        }

    def _base(self, day: date, provider: str, feature: str | None, tags: str | None) -> dict[str, Any]:
        begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
        month = begins.replace(day=1)
        named: dict[str, str] = json.loads(tags) if tags else {}
        if feature is not None:
            named.setdefault("feature", feature)
        return {
            "BillingAccountId": self._account,
            "BillingAccountName": self._account,
            "BillingAccountType": "Account",
            "BillingCurrency": "USD",
            "BillingPeriodStart": month,
            "BillingPeriodEnd": (month + timedelta(days=32)).replace(day=1),
            "ChargePeriodStart": begins,
            "ChargePeriodEnd": begins + timedelta(days=1),
            "ChargeFrequency": "Usage-Based",
            "InvoiceIssuerName": provider,
            "ProviderName": provider,
            "PublisherName": provider,
            "ServiceProviderName": provider,
            "HostProviderName": None if provider == _UNKNOWN else provider,
            "Tags": json.dumps(named, sort_keys=True, ensure_ascii=False) if named else None,
            "x_Feature": feature,
        }


def _usage(part: Part, sku_price: str, group: CallGroup) -> dict[str, Any]:
    tier = group.service_tier
    return {
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{group.model}: {part.kind}" + (f" ({tier})" if tier else ""),
        **_costs(part.cost_nano_usd),
        **_quantity(part.quantity, part.unit, _unit_price(part.cost_nano_usd, part.quantity)),
        "PricingCategory": "Other" if tier in ("batch", "flex", "priority") else "Standard",
        "SkuMeter": f"{part.kind} {_METERS[part.unit]}",
        "SkuPriceId": f"{sku_price}/{tier}" if tier else sku_price,
        "SkuPriceDetails": json.dumps({"x_TokenKind": part.kind, **({"x_ServiceTier": tier} if tier else {})}),
        "x_TokenKind": part.kind,
        "x_Attempts": group.sums["attempts"],
    }


def _credit(saved_nano_usd: int, description: str, attempts: int) -> dict[str, Any]:
    return {
        "ChargeCategory": "Credit",
        "ChargeDescription": description,
        "BilledCost": 0,
        "EffectiveCost": 0,
        "ListCost": saved_nano_usd,
        "ContractedCost": saved_nano_usd,
        "x_Attempts": attempts,
        "x_SavedCost": saved_nano_usd,
    }


def _costs(nano_usd: int) -> dict[str, Any]:
    return dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), nano_usd)


def _quantity(count: int, unit: str, price: Decimal) -> Mapping[str, Any]:
    return {
        "PricingQuantity": count,
        "PricingUnit": unit,
        "ConsumedQuantity": count,
        "ConsumedUnit": unit,
        "ListUnitPrice": price,
        "ContractedUnitPrice": price,
    }


def _unit_price(nano_usd: int, count: int) -> Decimal:
    """The mean price: times the quantity it is the cost again, to the nano-dollar."""
    return (to_usd(nano_usd) / count).quantize(_STEP, rounding=ROUND_HALF_EVEN)
