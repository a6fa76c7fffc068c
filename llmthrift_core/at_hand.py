"""A check whether an answer is counted and priced at once or by the ledger's writer: an event loop must not wait for files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from llmthrift_core import tokens
from llmthrift_core.request import Response


class Listed(Protocol):
    """What a price catalog says of itself."""

    def is_at_hand(self, model: str, provider: str | None, service_tier: str | None = None) -> bool: ...


def is_at_hand(prices: Listed, models: Iterable[tuple[str, str | None]], response: Response) -> bool:
    """Whether an answer can be counted and priced here and now: off an event loop always, on it where no file is read for that.

    Args:
        models: names and providers whose prices are asked for; the first one has answered.
    """
    if asyncio._get_running_loop() is None:
        return True
    if response.reads_ledger:  # of a database
        return False
    models = list(models)
    if not response.is_reported and not tokens.is_loaded(models[0][0]):
        return False
    tier = None if response.usage is None else response.usage.service_tier
    return all(prices.is_at_hand(*each, tier) for each in models)
