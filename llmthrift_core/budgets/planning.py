"""Divide a monthly spend over features and groups of users, and say what does not add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.display import Plan, counted, drawn_bars
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.money import DAYS_PER_MONTH, Number, exact, money, positive
from llmthrift_core.texts import as_pairs

if TYPE_CHECKING:
    from llmthrift_core.display import Drawn


@dataclass(frozen=True, slots=True)
class Group:
    """Users of one kind, and how many tokens each of them may use a day."""

    users: int
    tokens_a_day: int


@dataclass(frozen=True, repr=False)
class BudgetDesign(Plan):
    """What a month's money buys, and how it would be divided.

    Attributes:
        usd_a_month: the money.
        tokens_a_month: what the money buys at the given price.
        feature_tokens_a_month, feature_usd_a_month: per feature.
        group_tokens_a_month: per group, if everybody uses what they may.
        overcommitment: what all groups may use, as a multiple of what the money buys; None without groups.
        problems: what does not add up, in words. Empty if it does.
    """

    usd_a_month: Decimal
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

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """All of it, the features, and the most that groups may use."""
        rows: list[list[Any]] = [["all", self.tokens_a_month, self.usd_a_month]]
        rows += [[f"feature {name}", tokens, self.feature_usd_a_month[name]] for name, tokens in self.feature_tokens_a_month.items()]
        rows += [[f"group {name}, at most", tokens, ""] for name, tokens in self.group_tokens_a_month.items()]
        return ["design", "tokens a month", "dollars a month"], rows

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows with `design`, `tokens_a_month` and `usd_a_month`, which is None for a group."""
        _, rows = self.table()
        return [{"design": name, "tokens_a_month": tokens, "usd_a_month": None if usd == "" else usd} for name, tokens, usd in rows]

    def remarks(self) -> list[str]:
        """What does not add up."""
        return [f"{problem[0].upper()}{problem[1:]}." for problem in self.problems]

    def _drawn(self, alt: Any) -> Drawn:
        """Tokens a month: what the money buys, what features get of it, and what groups may use."""
        rows = [{"name": name, "high": tokens, "kind": name.partition(" ")[0]} for name, tokens, _ in self.table()[1]]
        return drawn_bars(alt, rows, title="tokens a month")


def design(
    *,
    usd_a_month: Number,
    usd_per_thousand_tokens: Number,
    features: Mapping[str, Number] | None = None,
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
    spend, price = positive("usd_a_month", usd_a_month), positive("usd_per_thousand_tokens", usd_per_thousand_tokens)
    tokens = int(spend / price * 1000)
    problems: list[str] = []
    shares = {str(name): exact(f"share of {name}", share) for name, share in as_pairs("features", features or {}).items()}
    total = sum(shares.values(), Fraction(0))
    if shares and total != 100:
        problems.append(f"the shares of the features add up to {float(total):g}%, not to 100%")
        if total <= 1:
            problems.append("shares are percentages: 50 is one half")
    allowed: dict[str, int] = {}
    for name, group in as_pairs("groups", groups or {}).items():
        if not isinstance(group, Group):
            raise ConfigurationError(f"group {name!r} must be a Group(users, tokens_a_day), not {group!r}")
        users, daily = exact(f"users of group {name}", group.users), exact(f"tokens_a_day of group {name}", group.tokens_a_day)
        allowed[str(name)] = int(users * daily * DAYS_PER_MONTH)
    overcommitment = None
    if allowed:
        wanted = sum(allowed.values())
        overcommitment = money(Fraction(round(Fraction(wanted, tokens) * 100), 100)) if tokens else None
        if overcommitment is not None and overcommitment > 1:
            problems.append(
                f"the groups may use {counted(wanted, 'token')} a month, {overcommitment:f} times the {tokens:,} that ${money(spend):,} "
                "buy: lower "
                f"their daily tokens by that factor, or count on most users staying far below them and keep a budget over all"
            )
        largest = max(allowed, key=lambda name: allowed[name])
        if len(allowed) > 1 and allowed[largest] * 2 > wanted:
            problems.append(f"group {largest!r} alone may use {allowed[largest] * 100 // wanted}% of it")
    return BudgetDesign(
        usd_a_month=money(spend),
        tokens_a_month=tokens,
        feature_tokens_a_month={name: int(tokens * share / 100) for name, share in shares.items()},
        feature_usd_a_month={name: money(spend * share / 100) for name, share in shares.items()},
        group_tokens_a_month=allowed,
        overcommitment=overcommitment,
        problems=tuple(problems),
    )
