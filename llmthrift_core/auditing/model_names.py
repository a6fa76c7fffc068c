"""Names of models in the code: withdrawn ones, and those that no price list knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Final

from llmthrift_core.auditing.findings import Remark
from llmthrift_core.auditing.model_uses import ModelUse, ModelUses
from llmthrift_core.errors import UnknownModelError
from llmthrift_core.pricing.catalog import PriceCatalog

LAST_DAYS: Final = {
    # OpenAI's page of deprecations
    "text-davinci-003": "2024-01-04",
    "text-davinci-002": "2024-01-04",
    "code-davinci-002": "2023-03-23",
    "gpt-3.5-turbo-0301": "2024-09-13",
    "gpt-3.5-turbo-0613": "2024-09-13",
    "gpt-3.5-turbo-16k-0613": "2024-09-13",
    "gpt-4-vision-preview": "2024-12-06",
    "gpt-4-1106-vision-preview": "2024-12-06",
    "gpt-4-32k": "2025-06-06",
    "gpt-4-32k-0314": "2025-06-06",
    "gpt-4-32k-0613": "2025-06-06",
    "gpt-4.5-preview": "2025-07-14",
    "o1-preview": "2025-07-28",
    "o1-mini": "2025-10-27",
    # Anthropic's page of deprecations, and DEPRECATED_MODELS of its client
    "claude-1.3": "2024-11-06",
    "claude-instant-1.1": "2024-11-06",
    "claude-instant-1.2": "2024-11-06",
    "claude-2.0": "2025-07-21",
    "claude-2.1": "2025-07-21",
    "claude-3-sonnet-20240229": "2025-07-21",
    "claude-3-5-sonnet-20240620": "2025-10-28",
    "claude-3-5-sonnet-20241022": "2025-10-28",
    "claude-3-5-sonnet-latest": "2025-10-28",
    "claude-3-opus-20240229": "2026-01-05",
    "claude-3-opus-latest": "2026-01-05",
    "claude-3-7-sonnet-latest": "2026-02-19",
    "claude-3-7-sonnet-20250219": "2026-02-19",
    "claude-3-5-haiku-latest": "2026-02-19",
    "claude-3-5-haiku-20241022": "2026-02-19",
    "claude-opus-4-0": "2026-06-15",
    "claude-opus-4-20250514": "2026-06-15",
    "claude-sonnet-4-0": "2026-06-15",
    "claude-sonnet-4-20250514": "2026-06-15",
    # Google's page of the Gemini API's deprecations
    "gemini-pro": "2025-02-15",
    "gemini-1.0-pro": "2025-02-15",
    "gemini-1.5-pro": "2025-09-24",
    "gemini-1.5-flash": "2025-09-24",
    "gemini-1.5-flash-8b": "2025-09-24",
    "gemini-1.5-pro-latest": "2025-09-24",
    "gemini-1.5-flash-latest": "2025-09-24",
}
"""The last day of models, as their providers announced it."""

_LOCAL: Final = (
    "Ollama",
    "HuggingFace",
    "LlamaCpp",
    "LMStudio",
    "vLLM",
    "Vllm",
    "OpenAILike",
    "Fake",
    "Mock",
    "Azure",
    "Databricks",
    "NVIDIA",
)
_SERVERS: Final = ("base_url", "openai_api_base", "api_base", "anthropic_api_url", "azure_endpoint", "endpoint_url", "azure_deployment")


class UnpricedNames:
    """Names without a price, each with the closest that have one. What is similar is looked for once for each name."""

    def __init__(self, prices: PriceCatalog) -> None:
        self._prices = prices
        self._closest: dict[str, tuple[str, ...] | None] = {}

    def closest(self, name: str) -> tuple[str, ...] | None:
        """Up to three similar names, or None for a name that has a price."""
        if name not in self._closest:
            error = _unknown(name, self._prices)
            self._closest[name] = None if error is None else tuple(close for close in error.closest if close != name)[:3]
        return self._closest[name]


def find_doubtful_models(uses: ModelUses, unpriced: UnpricedNames, today: Callable[[], date]) -> Iterator[Remark]:
    """Models that are withdrawn, or have no price."""
    for use in uses:
        name = use.model(uses.module)
        if not name or _is_own_server(use, uses):
            continue
        plain = _plain(name)
        if (last := LAST_DAYS.get(plain)) is not None:
            is_past = date.fromisoformat(last) < today()
            when = f"was withdrawn on {last}" if is_past else f"will be withdrawn on {last}"
            yield Remark("deprecated-model", use.node, f"{name!r} {when}; name a model that its provider still offers")
        elif (names := unpriced.closest(name)) is not None:
            closest = f"; closest names: {', '.join(names)}" if names else ""
            yield Remark(
                "unpriced-model",
                use.node,
                f"no price is known for {name!r}{closest}; correct it, or state one with thrift.prices.override(...)",
            )


def _plain(name: str) -> str:
    """The name without the provider before it: `openai:gpt-4o`, `models/gemini-pro`."""
    return name.strip().lower().rpartition("/")[2].rpartition(":")[2]


def _unknown(name: str, prices: PriceCatalog) -> UnknownModelError | None:
    if prices.knows(name) or prices.knows(name.replace(":", "/", 1)):
        return None
    try:
        prices.find(name.partition(":")[2] or name)
    except UnknownModelError as error:
        return error
    return None


def _is_own_server(use: ModelUse, uses: ModelUses) -> bool:
    """Is the model served by somebody whose names and prices nobody lists?"""
    if any(word in use.full_name for word in _LOCAL) or use.arguments.is_open:
        return True
    made = uses.module.arguments(use.client) if use.client is not None else None
    if made is not None and (made.is_open or any(name in made.named for name in _SERVERS)):
        return True
    if use.client is not None and "Azure" in (uses.module.qualified(use.client.func) or ""):
        return True
    return any(name in use.arguments.named for name in _SERVERS)
