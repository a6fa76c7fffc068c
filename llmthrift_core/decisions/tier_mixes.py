"""What a bill becomes when shares of its tokens go to cheaper tiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from llmthrift_core.display import Plan, drawn_bars
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.money import Number, exact, money, positive
from llmthrift_core.texts import as_pairs

if TYPE_CHECKING:
    from llmthrift_core.display import Drawn


@dataclass(frozen=True, slots=True)
class TierShare:
    """One tier of a mix.

    Attributes:
        name: of the tier.
        share: of the tokens, 0 to 1.
        usd_per_million: its price.
        usd: what its tokens cost.
    """

    name: str
    share: float
    usd_per_million: Decimal
    usd: Decimal


@dataclass(frozen=True, repr=False)
class TierMix(Plan):
    """A bill on one model, and the same tokens on several tiers.

    Attributes:
        spent_usd: all of it on one model.
        usd_per_million: that model's price.
        tokens: that this pays for.
        tiers: the mix.
        usd: what the mix costs.
        claimed_usd: what somebody said that it costs; None: nobody did.
    """

    spent_usd: Decimal
    usd_per_million: Decimal
    tokens: int
    tiers: Sequence[TierShare]
    usd: Decimal
    claimed_usd: Decimal | None = None

    @property
    def saved_usd(self) -> Decimal:
        """spent_usd - usd."""
        return self.spent_usd - self.usd

    @property
    def saved_share(self) -> float:
        """saved_usd / spent_usd."""
        return float(self.saved_usd / self.spent_usd)

    @property
    def is_claim_right(self) -> bool | None:
        """Whether the claim is the mix's cost to the dollar; None without a claim."""
        return None if self.claimed_usd is None else abs(self.claimed_usd - self.usd) < 1

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """One row a tier, and the sums."""
        rows = [[tier.name, f"{tier.share:.0%}", tier.usd_per_million, tier.usd] for tier in self.tiers]
        return ["tier", "share", "usd a million", "usd"], [
            *rows,
            ["mix", "", "", self.usd],
            ["all on one", "", self.usd_per_million, self.spent_usd],
        ]

    def remarks(self) -> list[str]:
        """What is saved, and whether the claim follows."""
        lines = [f"{self.tokens / 1_000_000:,.0f} million tokens: saves ${self.saved_usd:,.2f} ({self.saved_share:.1%})."]
        if self.claimed_usd is not None:
            says = "follows" if self.is_claim_right else "does not follow"
            lines.append(f"The claimed ${self.claimed_usd:,.2f} {says} from these shares and prices: they make ${self.usd:,.2f}.")
        return lines

    def _drawn(self, alt: Any) -> Drawn:
        """All on one, and the tiers of the mix one behind the other."""
        rows: list[dict[str, Any]] = [{"name": "all on one", "high": self.spent_usd, "kind": "one model"}]
        low = Decimal(0)
        for tier in self.tiers:
            rows.append({"name": "mix", "low": low, "high": low + tier.usd, "kind": tier.name})
            low += tier.usd
        if self.claimed_usd is not None:
            rows.append({"name": "claimed", "high": self.claimed_usd, "kind": "claimed"})
        return drawn_bars(alt, rows, title="US dollars")


def tier_mix(
    *, spent_usd: Number, usd_per_million: Number, tiers: Mapping[str, tuple[Number, Number]], claimed_usd: Number | None = None
) -> TierMix:
    """What a bill becomes when shares of its tokens go to other tiers, at one price for input and output.

    Args:
        spent_usd: the bill, all of it on one model.
        usd_per_million: that model's price.
        tiers: name -> (share of the tokens, US dollars a million tokens); the shares add up to 1.
        claimed_usd: a published result to check.

    Raises:
        ConfigurationError: shares that do not add up to 1, or a number that makes no sense.

    >>> from llmthrift_core.decisions import tier_mix
    >>> mix = tier_mix(spent_usd=100, usd_per_million=5, tiers={"small": (0.8, 0.5), "large": (0.2, 5)})
    >>> mix.usd, round(mix.saved_share, 2)
    (Decimal('28'), 0.72)
    """
    spent, price = positive("spent_usd", spent_usd), positive("usd_per_million", usd_per_million)
    millions = spent / price
    found: list[TierShare] = []
    shares = total = Fraction(0)
    for name, given in as_pairs("tiers", tiers).items():
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise ConfigurationError(f"a tier is (share, usd_per_million), such as (0.7, 0.15), not {given!r}")
        share, rate = exact(f"share of {name}", given[0]), exact(f"price of {name}", given[1])
        shares, usd = shares + share, millions * share * rate
        total += usd
        found.append(TierShare(str(name), float(share), money(rate), money(usd)))
    if shares != 1:
        raise ConfigurationError(
            f"the shares of {', '.join(each.name for each in found) or 'no tier'} add up to {float(shares):g}, not to 1"
        )
    claimed = None if claimed_usd is None else money(exact("claimed_usd", claimed_usd))
    return TierMix(money(spent), money(price), round(millions * 1_000_000), tuple(found), money(total), claimed)
