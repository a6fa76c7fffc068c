"""Divide a monthly spend over features and groups of users, and say what does not add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError

_DAYS_A_MONTH: Final = 30


@dataclass(frozen=True, slots=True)
class Group:
    """Users of one kind, and how many tokens each of them may use a day."""

    users: int
    tokens_a_day: int


@dataclass(frozen=True)
class BudgetDesign:
    """What a month's money buys, and how it would be divided.

    Attributes:
        tokens_a_month: what the money buys at the given price.
        feature_tokens_a_month, feature_usd_a_month: per feature.
        group_tokens_a_month: per group, if everybody uses what they may.
        overcommitment: what all groups may use, as a multiple of what the money buys; None without groups.
        problems: what does not add up, in words. Empty if it does.
    """

    tokens_a_month: int
    feature_tokens_a_month: Mapping[str, int]
    feature_usd_a_month: Mapping[str, Decimal]
    group_tokens_a_month: Mapping[str, int]
    overcommitment: Decimal | None
    problems: tuple[str, ...]

    def budgets(self) -> list[Budget]:
        """The budgets of the features, in dollars a month."""
        return [
            Budget(limit_usd=usd, window="month", match={"feature": feature}, name=f"{feature} a month")
            for feature, usd in self.feature_usd_a_month.items()
        ]


def design(
    *,
    usd_a_month: Decimal | float | str,
    usd_per_thousand_tokens: Decimal | float | str,
    features: Mapping[str, float] | None = None,
    groups: Mapping[str, Group] | None = None,
) -> BudgetDesign:
    """Divide a monthly spend.

    Args:
        usd_per_thousand_tokens: a mean price over input and output.
        features: feature to its share in percent.
        groups: group to its users and their daily tokens.

    Raises:
        ConfigurationError: an amount that is not positive, or a share below 0.

    >>> from llmthrift_core.budgets import Group, design
    >>> groups = {"free": Group(400, 2_000_000), "pro": Group(80, 10_000_000), "team": Group(20, 20_000_000)}
    >>> plan = design(usd_a_month=30_000, usd_per_thousand_tokens="0.01", features={"chat": 50, "search": 30, "other": 20}, groups=groups)
    >>> plan.tokens_a_month, plan.feature_usd_a_month["chat"], plan.overcommitment
    (3000000000, Decimal('15000'), Decimal('20'))
    """
    money, price = _positive("usd_a_month", usd_a_month), _positive("usd_per_thousand_tokens", usd_per_thousand_tokens)
    tokens = int(money / price * 1000)
    problems: list[str] = []
    shares = {name: Decimal(str(share)) for name, share in (features or {}).items()}
    if any(not share.is_finite() or share < 0 for share in shares.values()):
        raise ConfigurationError(f"shares must be percentages from 0, not {dict(features or {})}")
    total = sum(shares.values(), Decimal(0))
    if shares and total != 100:
        problems.append(f"the shares of the features add up to {total.normalize():f}%, not to 100%")
    allowed: dict[str, int] = {}
    for name, group in (groups or {}).items():
        if group.users < 0 or group.tokens_a_day < 0:
            raise ConfigurationError(f"group {name!r} must have users and tokens from 0, not {group.users} and {group.tokens_a_day}")
        allowed[name] = group.users * group.tokens_a_day * _DAYS_A_MONTH
    overcommitment = None
    if allowed:
        wanted = sum(allowed.values())
        overcommitment = (Decimal(wanted) / tokens).quantize(Decimal("0.01")).normalize() if tokens else None
        if overcommitment is not None and overcommitment > 1:
            overcommitment = Decimal(f"{overcommitment:f}")
            problems.append(
                f"the groups may use {counted(wanted, 'token')} a month, {overcommitment:f} times the {tokens:,} that ${money:,} "
                "buy: lower "
                f"their daily tokens by that factor, or count on most users staying far below them and keep a budget over all"
            )
        largest = max(allowed, key=lambda name: allowed[name])
        if len(allowed) > 1 and allowed[largest] * 2 > wanted:
            problems.append(f"group {largest!r} alone may use {allowed[largest] * 100 // wanted}% of it")
    return BudgetDesign(
        tokens_a_month=tokens,
        feature_tokens_a_month={name: int(tokens * share / 100) for name, share in shares.items()},
        feature_usd_a_month={name: money * share / 100 for name, share in shares.items()},
        group_tokens_a_month=allowed,
        overcommitment=overcommitment,
        problems=tuple(problems),
    )


def _positive(name: str, value: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise ConfigurationError(f"{name} must be an amount above 0, not {value!r}")
    return amount
