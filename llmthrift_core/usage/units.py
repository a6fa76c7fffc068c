"""Units that providers bill for: those of genai-prices, and how they nest.

A unit is a set of dimensions: `input_tokens` is (family=tokens, direction=input), `cache_read_tokens` adds
token_type=cache_read. A unit whose dimensions contain another's is a part of it; prices apply to what is left of a unit
without its parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache


@dataclass(frozen=True, slots=True)
class Unit:
    """One billable unit.

    Attributes:
        key: the name of a count, such as "cache_read_tokens".
        price_key: the name of its price in genai-prices, such as "cache_read_mtok".
        per: how many of them a listed price is for, such as 1,000,000.
        dimensions: what is counted, as (dimension, value) pairs.
        direction: "input", "output", or None for what is billed beside the tokens.
    """

    key: str
    price_key: str
    per: int
    dimensions: frozenset[tuple[str, str]]
    direction: str | None

    def is_part_of(self, other: Unit) -> bool:
        """Is every one of these also one of those? True for the unit itself."""
        return other.dimensions <= self.dimensions


@cache
def all_units() -> dict[str, Unit]:
    """Every unit by its key, as the installed genai-prices defines them."""
    from genai_prices.data_units import unit_data  # 40 ms: only once prices are really used

    units: dict[str, Unit] = {}
    for key, raw in unit_data.items():
        dimensions: dict[str, str] = raw["dimensions"]
        units[key] = Unit(key, raw["price_key"], raw["per"], frozenset(dimensions.items()), dimensions.get("direction"))
    return units


@cache
def _by_dimensions() -> dict[frozenset[tuple[str, str]], Unit]:
    return {unit.dimensions: unit for unit in all_units().values()}


def joint_unit(left: Unit, right: Unit) -> Unit | None:
    """The unit that is part of both where neither contains the other, such as cached audio; None where they cannot overlap."""
    if left.is_part_of(right) or right.is_part_of(left):
        return None
    ours = dict(left.dimensions)
    if any(ours.get(name, value) != value for name, value in right.dimensions):
        return None
    return _by_dimensions().get(left.dimensions | right.dimensions)


def unreported_units(reported: Iterable[str]) -> frozenset[str]:
    """Counts that must exist but were not reported: totals of reported parts, and overlaps of reported units.

    genai-prices refuses to take these for zero, since the price of the whole depends on them.

    >>> sorted(unreported_units(["input_tokens", "cache_read_tokens", "input_audio_tokens"]))
    ['cache_audio_read_tokens']
    """
    return _unreported(frozenset(reported))


@lru_cache(maxsize=256)
def _unreported(reported: frozenset[str]) -> frozenset[str]:
    # Remembered: a provider reports the same few sets of counts all the time.
    units = all_units()
    known = [units[key] for key in reported if key in units]
    missing: set[str] = set()
    for index, left in enumerate(known):
        missing.update(key for key, unit in units.items() if left.is_part_of(unit))
        for right in known[index + 1 :]:
            joint = joint_unit(left, right)
            if joint is not None:
                missing.add(joint.key)
    return frozenset(missing - {unit.key for unit in known})
