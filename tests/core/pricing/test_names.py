"""Model names as they arrive in the wild."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from llmthrift_core.errors import UnknownModelError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.pricing.names import is_fine_tune, without_date
from llmthrift_core.usage.payloads import provider_id

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def catalog() -> PriceCatalog:
    return PriceCatalog(sources=["genai-prices"])


@pytest.mark.parametrize(
    ("model", "provider", "seller", "input_usd", "output_usd"),
    [
        ("gpt-4o", None, "openai", "2.5", "10"),
        ("GPT-4o", None, "openai", "2.5", "10"),
        (" gpt-4o ", "openai", "openai", "2.5", "10"),
        ("gpt-4o-2024-08-06", None, "openai", "2.5", "10"),
        ("gpt-4o-2024-05-13", None, "openai", "5", "15"),
        ("claude-sonnet-4-20250514", None, "anthropic", "3", "15"),
        ("openai/gpt-4o", None, "openai", "2.5", "10"),
        ("openai:gpt-4o", None, "openai", "2.5", "10"),
        ("azure_openai:gpt-4o", None, "azure", "2.5", "10"),
        ("azure/gpt-4o", None, "azure", "2.5", "10"),
        ("azure/gpt-4o", "azure", "azure", "2.5", "10"),
        ("gpt-4o", "azure_openai", "azure", "2.5", "10"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", None, "aws", "3", "15"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "amazon_bedrock", "aws", "3", "15"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", None, "aws", "3.3", "16.5"),  # the regional uplift
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", None, "aws", "3.3", "16.5"),
        ("bedrock_converse:us.anthropic.claude-sonnet-4-5-20250929-v1:0", None, "aws", "3.3", "16.5"),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0", None, "aws", "3", "15"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "bedrock_converse",
            "aws",
            "3.3",
            "16.5",
        ),
        ("models/gemini-2.5-pro", None, "google", "1.25", "10"),
        ("models/gemini-2.5-pro", "google_genai", "google", "1.25", "10"),
        ("google_genai:gemini-2.5-flash", None, "google", "0.3", "2.5"),
        ("gemini-2.5-flash", "google_vertexai", "google", "0.3", "2.5"),
        ("claude-sonnet-4@20250514", None, "google", "3", "15"),
        ("vertex_ai/claude-sonnet-4@20250514", None, "google", "3", "15"),
        ("projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash", None, "google", "0.3", "2.5"),
        ("openrouter/anthropic/claude-sonnet-4.5", None, "openrouter", "3", "15"),
        ("anthropic/claude-sonnet-4.5", "openrouter", "openrouter", "3", "15"),
        ("anthropic/claude-sonnet-4.5", None, "anthropic", "3", "15"),
        ("x-ai/grok-4", None, "x-ai", "3", "15"),
        ("grok-4", "xai", "x-ai", "3", "15"),
        ("mistral-large-latest", "mistralai", "mistral", "2", "6"),
        ("groq/llama-3.3-70b-versatile", None, "groq", "0.59", "0.79"),
        ("openai/gpt-oss-120b", "groq", "groq", "0.15", "0.6"),
        ("text-embedding-3-small", None, "openai", "0.02", "None"),
        ("embed-v4.0", None, "cohere", "0.12", "None"),
        ("gpt-5.2-20251211", None, "openai", "1.75", "14"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", None, "openai", "0.3", "1.2"),  # the fine-tuned price, twice the base price
        ("ft:gpt-4o-mini-2024-07-18:org::id", "openai", "openai", "0.3", "1.2"),
        ("gpt-4o-mini-2024-07-18.ft-abc123", "azure", "azure", "0.3", "1.2"),
        ("gpt-4o", "my-gateway", "openai", "2.5", "10"),  # no list knows this provider: the name alone decides
        ("deepseek-chat", "my-gateway", "deepseek", "0.27", "1.1"),
        ("sonar", None, "perplexity", "1", "1"),
        ("qwen/qwen-2.5-72b-instruct", None, "openrouter", "0.36", "0.4"),
        ("qwen/qwen-2.5-72b-instruct", "my-gateway", "openrouter", "0.36", "0.4"),
        ("deepseek/deepseek-r1:free", None, "openrouter", "None", "None"),  # free; not what DeepSeek itself takes for it
    ],
)
def test_resolves(catalog: PriceCatalog, model: str, provider: str | None, seller: str, input_usd: str, output_usd: str) -> None:
    price = catalog.find(model, provider=provider, at=AT)
    assert (price.provider, str(price.input_usd_per_million), str(price.output_usd_per_million)) == (
        seller,
        input_usd,
        output_usd,
    )


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("deepseek-chat", "openai"),  # OpenAI's client on another server: OpenAI does not sell it
        ("openai/gpt-4o", "openai"),  # OpenAI's own API takes no prefix: a gateway served it
        ("claude-sonnet-4-5", "openai"),
        ("gpt-4o", "groq"),
        ("gpt-4o", "ollama"),
        ("llama3.1", "ollama"),
        ("llama3:8b", None),
        ("qwen/qwen-2.5-72b-instruct", "openai"),
        ("meta-llama/Llama-3.3-70B-Instruct", None),  # many sell it, each at its own price
        ("ft:gpt-5:org::id", None),  # no list has the fine-tuned price: never the base price
        ("ft:gpt-4.1:org::id", "openai"),
        ("tunedModels/gemini-2.5-flash-abc", "google"),
        ("gpt4-o", None),
        ("", None),
        ("   ", "openai"),
        ("\ud800", None),
        ("x" * 100_000, None),
    ],
)
def test_stays_unknown(catalog: PriceCatalog, model: str, provider: str | None) -> None:
    with pytest.raises(UnknownModelError):
        catalog.find(model, provider=provider, at=AT)


def test_unknown_model_names_the_closest_known_ones(catalog: PriceCatalog) -> None:
    with pytest.raises(UnknownModelError) as caught:
        catalog.find("gpt4-o")
    assert caught.value.closest[0] == "gpt-4o"
    assert "closest known names: gpt-4o" in str(caught.value)
    with pytest.raises(UnknownModelError) as caught:
        catalog.find("claude-sonet-4-5", provider="anthropic")
    assert caught.value.closest[0] == "claude-sonnet-4-5"


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("openai", "openai"),
        ("azure", "azure"),
        ("anthropic", "anthropic"),
        ("google_genai", "google"),
        ("google_vertexai", "google"),
        ("amazon_bedrock", "aws"),
        ("bedrock_converse", "aws"),
        ("mistralai", "mistral"),
        ("groq", "groq"),
        ("fireworks", "fireworks"),
        ("together", "together"),
        ("xai", "x-ai"),
        ("deepseek", "deepseek"),
        ("cohere", "cohere"),
        ("perplexity", "perplexity"),
        ("openrouter", "openrouter"),
        ("vertex_ai", "google"),
        ("Azure OpenAI", "azure"),
    ],
)
def test_langchains_providers_are_known(catalog: PriceCatalog, name: str, identifier: str) -> None:
    from llmthrift_core.pricing.genai import GenaiPrices

    assert provider_id(name) == identifier
    assert GenaiPrices().has_provider(identifier)


@pytest.mark.parametrize(
    ("name", "undated"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5"),
        ("gpt-4-0613", "gpt-4-0613"),
        ("model-20259999", "model-20259999"),
        ("gpt-4o", "gpt-4o"),
    ],
)
def test_without_date(name: str, undated: str) -> None:
    assert without_date(name) == undated


def test_is_fine_tune() -> None:
    assert all(map(is_fine_tune, ["ft:gpt-4o:org::id", "openai/ft:gpt-4o", "gpt-4o-mini.ft-abc", "tunedModels/x"]))
    assert not any(map(is_fine_tune, ["gpt-4o", "shift:left", "microsoft/phi-4"]))
