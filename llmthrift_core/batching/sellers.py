"""The providers that have a batch API here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from llmthrift_core.batching.remote import Remote


def remote_of(provider: str) -> Remote:
    """The batch API of a provider.

    Raises:
        ConfigurationError: it has none here.
    """
    if provider == "openai":
        from llmthrift_core.batching.openai_remote import OpenAIBatches

        return OpenAIBatches()
    if provider == "anthropic":
        from llmthrift_core.batching.anthropic_remote import AnthropicBatches

        return AnthropicBatches()
    if provider == "google":
        from llmthrift_core.batching.google_remote import GoogleBatches

        return GoogleBatches()
    raise ConfigurationError(f'batches are submitted to provider "openai", "anthropic" or "google", not {provider!r}')
