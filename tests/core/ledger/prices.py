"""A price list that tests can compute by heart."""

from __future__ import annotations

from typing import NamedTuple

from llmthrift_core.usage import Usage


class FlatPriced(NamedTuple):
    nano_usd: int
    input_nano_usd: int
    output_nano_usd: int
    uncached_nano_usd: int | None
    price_version: str


class FlatPrices:
    """$1 per million input tokens and $2 per million output tokens, for the models that are known. There are no discounts."""

    def __init__(self, *known: str) -> None:
        self.known = set(known or ("m", "n"))

    def price(self, usage: Usage, model: str, provider: str | None, at_us: int) -> FlatPriced | None:
        if model not in self.known:
            return None
        sent, made = usage.input_tokens * 1_000, usage.output_tokens * 2_000
        return FlatPriced(sent + made, sent, made, sent + made, "flat 1")

    def missing(self, usage: Usage, model: str, provider: str | None, at_us: int) -> list[str]:
        return []
