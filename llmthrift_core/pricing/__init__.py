"""Prices of calls: `PriceCatalog` answers from genai-prices, then litellm's price map, with the user's overrides on top."""

from llmthrift_core.pricing.catalog import PriceCatalog
from llmthrift_core.pricing.cost import Cost, ModelPrice, Priced, Tier
from llmthrift_core.pricing.litellm import Conflict

__all__ = ["Conflict", "Cost", "ModelPrice", "PriceCatalog", "Priced", "Tier"]
