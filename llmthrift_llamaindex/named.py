"""LLMs of LlamaIndex that are given by the names of their models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from llmthrift_core.pricing import PriceCatalog

# By provider, the integration's module below llama_index.llms, and its class.
_INTEGRATIONS: Final = {
    "openai": ("openai", "OpenAI"),
    "azure": ("azure_openai", "AzureOpenAI"),
    "anthropic": ("anthropic", "Anthropic"),
    "google": ("google_genai", "GoogleGenAI"),
    "google_genai": ("google_genai", "GoogleGenAI"),
    "mistral": ("mistralai", "MistralAI"),
    "mistralai": ("mistralai", "MistralAI"),
    "bedrock": ("bedrock_converse", "BedrockConverse"),
    "aws": ("bedrock_converse", "BedrockConverse"),
    "groq": ("groq", "Groq"),
    "deepseek": ("deepseek", "DeepSeek"),
    "cohere": ("cohere", "Cohere"),
    "ollama": ("ollama", "Ollama"),
    "litellm": ("litellm", "LiteLLM"),
}


def by_name(name: str, prices: PriceCatalog, **options: Any) -> LLM:
    """The LLM of a model's name, with the integration's own defaults: its key comes from the environment.

    Args:
        name: "provider:model", or a model's name whose maker the price lists know.
        prices: the price lists.
        options: parameters of the model; `base_url` is its server, whatever the integration calls that.

    Raises:
        ConfigurationError: no such provider, or its integration is not installed.
        MissingExtraError: that of OpenAI is not installed.
    """
    provider, separator, model = name.partition(":")
    if not separator or provider not in _INTEGRATIONS:
        provider, model = prices.maker(name) or "", name
    if provider not in _INTEGRATIONS:
        raise ConfigurationError(
            f'{name!r} does not say whose model it is; name it "provider:model", with one of {", ".join(sorted(_INTEGRATIONS))}, '
            "or give an LLM of LlamaIndex"
        )
    module, kind = _INTEGRATIONS[provider]
    try:
        found = import_module(f"llama_index.llms.{module}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("llama_index"):
            raise
        distribution = f"llama-index-llms-{module.replace('_', '-')}"
        if provider == "openai":
            raise MissingExtraError("demo-llamaindex", distribution) from None
        raise ConfigurationError(f"{name!r} needs {distribution}; run: pip install {distribution}") from None
    made = getattr(found, kind)
    if "base_url" in options and "api_base" in made.model_fields:
        options["api_base"] = options.pop("base_url")
    llm: LLM = made(model=model, **options)
    return llm
