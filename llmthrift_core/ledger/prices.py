"""What the ledger needs of a price catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llmthrift_core.usage import Usage


class Priced(Protocol):
    """The price of one call in nano-USD."""

    @property
    def nano_usd(self) -> int: ...

    @property
    def input_nano_usd(self) -> int: ...

    @property
    def output_nano_usd(self) -> int: ...

    @property
    def price_version(self) -> str: ...


class Prices(Protocol):
    """A catalog that prices a call at a time, or answers None."""

    def price(self, usage: Usage, model: str, provider: str | None, at_us: int) -> Priced | None: ...

    def missing(self, usage: Usage, model: str, provider: str | None, at_us: int) -> Sequence[str]:
        """The units that leave a call of a known model without a price."""
