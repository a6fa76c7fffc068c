"""Money is integer nano-USD (1e-9 dollars) in the database and `Decimal` dollars in Python.

Per-token prices go below one nano-USD, so rates are integer pico-USD (1e-12 dollars) per token: the terms of a price are
summed exactly and rounded once, half to even, per call.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from llmthrift_core.errors import ConfigurationError

NANO_PER_USD = 1_000_000_000
PICO_PER_NANO = 1_000
_NANO = Decimal(NANO_PER_USD)
_ONE = Decimal(1)
_ONE_NANO = Decimal("1e-9")
_NOTHING = 0 * _ONE_NANO


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
