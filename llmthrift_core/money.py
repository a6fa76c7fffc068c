"""Money is integer nano-USD (1e-9 dollars) in the database and `Decimal` dollars in Python.

Per-token prices go below one nano-USD, so rates are integer pico-USD (1e-12 dollars) per token: the terms of a price are
summed exactly and rounded once, half to even, per call. What people give to plans is read exactly, as a `Fraction`.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from fractions import Fraction
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError

NANO_PER_USD = 1_000_000_000
PICO_PER_NANO = 1_000
_NANO = Decimal(NANO_PER_USD)
_ONE = Decimal(1)
_ONE_NANO = Decimal("1e-9")
_NOTHING = 0 * _ONE_NANO
Number = Decimal | Fraction | int | float | str
DAYS_PER_MONTH: Final = 30
_DIGITS: Final = Decimal("1e-12")
_PRECISION: Final = 120  # digits: enough for the product of six of the largest numbers
MOST: Final = 10**15
"""The largest number that a plan takes, and the inverse of the smallest above 0: beyond, somebody has mistaken a unit."""


def to_nano_usd(usd: Decimal | int | float | str) -> int:
    """Dollars to integer nano-USD, rounded half to even. A float is read as it prints (0.1 is one tenth).

    Raises:
        ConfigurationError: not a finite number.
    """
    try:
        amount = usd if isinstance(usd, Decimal) else Decimal(str(usd))
        return int((amount * _NANO).quantize(_ONE, rounding=ROUND_HALF_EVEN))
    except (InvalidOperation, ValueError, OverflowError):
        raise ConfigurationError(
            f"not an amount in US dollars: {usd!r}; give a finite number, such as Decimal('0.25') or \"0.25\""
        ) from None


def to_usd(nano_usd: int) -> Decimal:
    """Integer nano-USD to exact Decimal dollars."""
    return Decimal(nano_usd) * _ONE_NANO if nano_usd else _NOTHING


def pico_to_nano(pico_usd: int) -> int:
    """Integer pico-USD to nano-USD, rounded half to even.

    >>> pico_to_nano(2_500), pico_to_nano(3_500), pico_to_nano(-2_500)
    (2, 4, -2)
    """
    nano, rest = divmod(pico_usd, PICO_PER_NANO)
    if rest > 500 or (rest == 500 and nano & 1):
        nano += 1
    return nano


def exact(name: str, given: Any, *, least: int | None = 0) -> Fraction:
    """A number as it prints: 0.1 is one tenth.

    Args:
        name: of the argument.
        least: the smallest that makes sense; None is none.

    Raises:
        ConfigurationError: what is no finite number, or too small, or beyond `MOST`.
    """
    if isinstance(given, bool):
        raise ConfigurationError(f"{name} must be a number, not {given!r}")
    try:  # digits first: of a huge exponent no fraction is made
        size: Any = given if isinstance(given, Fraction | int) else Decimal(str(given))
        is_out = bool(size) and not 1 <= abs(size) * MOST <= MOST**2
    except (InvalidOperation, ValueError, OverflowError):
        raise ConfigurationError(f"{name} must be a finite number, not {given!r}") from None
    if isinstance(size, Decimal) and not size.is_finite():
        raise ConfigurationError(f"{name} must be a finite number, not {given!r}")
    if is_out:
        told = f"{size:.3g}" if isinstance(size, Decimal) else "one of that size"
        raise ConfigurationError(f"{name} must be 0, or between 1e-15 and 1e15 in size, not {told}")
    found = Fraction(size)
    if least is not None and found < least:
        raise ConfigurationError(f"{name} must be at least {least}, not {given}")
    return found


def positive(name: str, given: Any) -> Fraction:
    """A number above zero.

    Raises:
        ConfigurationError: it is not.
    """
    found = exact(name, given)
    if not found:
        raise ConfigurationError(f"{name} must be more than 0")
    return found


def money(value: Fraction) -> Decimal:
    """Dollars with at most twelve decimals, rounded half to even; exact where that is enough."""
    with localcontext(prec=_PRECISION):
        short = (Decimal(value.numerator) / Decimal(value.denominator)).quantize(_DIGITS, rounding=ROUND_HALF_EVEN).normalize()
        exponent = short.as_tuple().exponent
        return short.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else short  # 2500 and not 2.5E+3
