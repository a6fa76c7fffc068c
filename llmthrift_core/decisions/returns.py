"""Return on investment: value against cost a month, when it has paid for itself, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from llmthrift_core.display import Plan, drawn_bars
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.money import Number, exact, money
from llmthrift_core.texts import as_pairs

if TYPE_CHECKING:
    from llmthrift_core.display import Drawn


@dataclass(frozen=True, repr=False)
class Roi(Plan):
    """Value against cost, a month.

    Attributes:
        value, cost: US dollars a month, by stream and component.
        net_usd: value_usd - cost_usd.
        percent: net_usd / cost_usd * 100; None where nothing is paid.
        setup_usd, setup_months: what is paid before there is value, and how long that takes.
        payback_month: when the net has paid for the set-up, in months from its beginning; None: never.
        sensitivity: the percentage if one thing were otherwise: "all value halved", each stream halved, "all cost doubled".
    """

    value: Mapping[str, Decimal]
    cost: Mapping[str, Decimal]
    value_usd: Decimal
    cost_usd: Decimal
    net_usd: Decimal
    percent: float | None
    setup_usd: Decimal
    setup_months: float
    payback_month: float | None
    sensitivity: Mapping[str, float | None]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Streams, components and the net."""
        rows: list[list[Any]] = [[name, amount] for name, amount in self.value.items()]
        rows += [[name, -amount] for name, amount in self.cost.items()]
        return ["a month", "usd"], [*rows, ["net", self.net_usd]]

    def remarks(self) -> list[str]:
        """The return, the pay-back and the sensitivity."""
        paid = "never" if self.payback_month is None else f"after {self.payback_month:.2f} months"
        return [
            f"Return: {_shown(self.percent)}; paid back {paid}.",
            *(f"{name}: {_shown(percent)}" for name, percent in self.sensitivity.items()),
        ]

    def _drawn(self, alt: Any) -> Drawn:
        """Value to the right, cost to the left, and the net."""
        rows = [{"name": name, "high": amount, "kind": "value"} for name, amount in self.value.items()]
        rows += [{"name": name, "high": -amount, "kind": "cost"} for name, amount in self.cost.items()]
        return drawn_bars(alt, [*rows, {"name": "net", "high": self.net_usd, "kind": "net"}], title="US dollars a month")


def roi(*, value: Mapping[str, Number], cost: Mapping[str, Number], setup_usd: Number = 0, setup_months: Number = 0) -> Roi:
    """What comes back for what is paid.

    Args:
        value: US dollars a month by stream: saved time, quality, revenue.
        cost: US dollars a month by component: API, vector store, GPUs, upkeep.
        setup_usd: paid once, before there is any value.
        setup_months: how long that takes; the pay-back counts from its beginning.

    Raises:
        ConfigurationError: no value or cost, or what is no amount.

    >>> from llmthrift_core.decisions import roi
    >>> roi(value={"review": 81_000}, cost={"all": 13_500}, setup_usd=30_000, setup_months=2).percent
    500.0
    """
    streams = {str(name): exact(f"value of {name!r}", amount, least=None) for name, amount in as_pairs("value", value).items()}
    parts = {str(name): exact(f"cost of {name!r}", amount) for name, amount in as_pairs("cost", cost).items()}
    if not streams or not parts:
        raise ConfigurationError("value and cost must each name at least one amount a month, such as value={'saved time': 5_000}")
    gained, paid = sum(streams.values(), Fraction(0)), sum(parts.values(), Fraction(0))
    setup, months = exact("setup_usd", setup_usd), exact("setup_months", setup_months)
    net = gained - paid
    others = {"all value halved": _percent(gained / 2, paid)}
    others |= {f"{name} halved": _percent(gained - amount / 2, paid) for name, amount in streams.items()}
    others["all cost doubled"] = _percent(gained, 2 * paid)
    return Roi(
        value={name: money(amount) for name, amount in streams.items()},
        cost={name: money(amount) for name, amount in parts.items()},
        value_usd=money(gained),
        cost_usd=money(paid),
        net_usd=money(net),
        percent=_percent(gained, paid),
        setup_usd=money(setup),
        setup_months=float(months),
        payback_month=float(months + setup / net) if net > 0 else None,
        sensitivity=others,
    )


def _percent(gained: Fraction, paid: Fraction) -> float | None:
    return float((gained - paid) / paid * 100) if paid else None


def _shown(percent: float | None) -> str:
    return "unknown, since nothing is paid" if percent is None else f"{percent:,.1f}%"
