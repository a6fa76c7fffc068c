"""A provider's raw response: its counts, its model, its own bill. The counts are read by genai-prices' extractors.

480 of 752 recorded payloads fit the shapes of two providers, so the provider is always given, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmthrift_core.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from genai_prices.types import Provider, UsageExtractor

Count = int | float
# Cache reads that genai-prices' extractor of the provider does not read: where they stand in the usage block.
_CACHE_READS = {"mistral": "num_cached_tokens", "deepseek": "prompt_cache_hit_tokens"}
_TICKS_PER_USD = 10**10  # xAI's
# Left: a name in lower case with "-" and " " as "_". Right: genai-prices' identifier. LangChain's names are the `ls_provider`
# of its partner packages and the keys of `init_chat_model`; litellm's are its `litellm_provider`, less what follows a "-".
_ALIASES: dict[str, str] = {
    "amazon": "aws",
    "amazon_bedrock": "aws",
    "amazon_nova": "aws",
    "anthropic_bedrock": "aws",
    "aws_bedrock": "aws",
    "azure_ai": "azure",
    "azure_ai_foundry": "azure",
    "azure_openai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "bedrock_mantle": "aws",
    "codestral": "mistral",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "google_anthropic_vertex": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "grok": "x-ai",
    "meta_llama": "meta",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "openai_responses": "openai",
    "text_completion_codestral": "mistral",
    "text_completion_openai": "openai",
    "together_ai": "together",
    "togetherai": "together",
    "vertex": "google",
    "vertex_ai": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "z_ai": "zai",
}
# Whose clients also speak to other sellers' servers, by another base URL: that a call went through one does not say who was paid.
OPEN_APIS = frozenset({"openai", "anthropic"})
# Wherever these run a model, nobody bills tokens: the price is what the hardware costs, which only the user knows.
LOCAL_PROVIDERS = frozenset({"gpt4all", "llamacpp", "llama_cpp", "lm_studio", "lmstudio", "mlx", "ollama", "vllm"})


def payload_counts(body: object, *, provider: str, api_flavor: str | None = None) -> dict[str, Count]:
    """The counts of a response body, or of its bare usage block, by the unit's key.

    Args:
        body: a mapping, or a pydantic object of a provider's SDK.
        provider: genai-prices' identifier or LangChain's name.
        api_flavor: which of the provider's APIs answered, such as "chat" or "responses". None is the provider's default; where
            that finds nothing, another flavor is used only if all flavors that find something agree.

    Raises:
        ConfigurationError: an unknown provider or flavor.
        UsageError: no usage in the body, or flavors that disagree.
    """
    source = _provider(provider)
    extractors = _by_flavor(source)
    mapping = _as_mapping(body)
    if api_flavor is not None:
        if api_flavor not in extractors:
            raise ConfigurationError(
                f"provider {source.id!r} has no api_flavor {api_flavor!r}; it has {', '.join(sorted(extractors)) or 'none'}"
            )
        return _supplemented(source.id, _extract(extractors[api_flavor], mapping), mapping)
    default = "default" if "default" in extractors else next(iter(extractors), None)
    if default is None:
        raise ConfigurationError(f"genai-prices cannot read the usage of provider {source.id!r}; build a Usage from its counts")
    try:
        return _supplemented(source.id, _extract(extractors[default], mapping), mapping)
    except UsageError as error:
        found: dict[str, dict[str, Count]] = {}
        for flavor, extractor in extractors.items():
            if flavor != default:
                try:
                    found[flavor] = _extract(extractor, mapping)
                except UsageError:
                    continue
        if not found:
            raise error from None
    first, *others = found.values()
    if any(other != first for other in others):
        raise UsageError(f"the body fits several APIs of {source.id!r}: name one with api_flavor= ({', '.join(sorted(found))})")
    return _supplemented(source.id, first, mapping)


def payload_model(body: object, *, provider: str) -> str | None:
    """The model that a response body names, or None.

    Raises:
        ConfigurationError: an unknown provider.
    """
    mapping = _as_mapping(body)
    for extractor in _by_flavor(_provider(provider)).values():
        path = [extractor.model_path] if isinstance(extractor.model_path, str) else list(extractor.model_path)
        value: Any = mapping
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value:
            return value
    return None


def payload_cost_usd(body: object) -> Decimal | None:
    """The provider's own bill in US dollars, or None: OpenRouter's `usage.cost`, Perplexity's `usage.cost.total_cost`, xAI's ticks.

    Args:
        body: a response, or its bare usage block.
    """
    try:
        mapping = _as_mapping(body)
    except UsageError:
        return None
    usage = mapping.get("usage")
    block = usage if isinstance(usage, Mapping) else mapping
    cost = block.get("cost")
    if cost is None and type(ticks := block.get("cost_in_usd_ticks")) is int and ticks >= 0:
        return Decimal(ticks) / _TICKS_PER_USD
    if isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    if isinstance(cost, bool) or not isinstance(cost, int | float | Decimal | str):
        return None
    try:
        amount = Decimal(str(cost))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None


def _provider(name: str) -> Provider:
    from genai_prices.data_snapshot import get_snapshot

    wanted = provider_id(name) if isinstance(name, str) else ""
    providers = get_snapshot().providers
    for provider in providers:
        if provider.id == wanted:
            return provider
    known = ", ".join(sorted(provider.id for provider in providers if provider.extractors)[:12])
    raise ConfigurationError(f"unknown provider {name!r}; known are {known}, ...")


def _by_flavor(provider: Provider) -> dict[str, UsageExtractor]:
    return {extractor.api_flavor: extractor for extractor in provider.extractors or ()}


def _as_mapping(body: object) -> Mapping[str, Any]:
    if isinstance(body, Mapping):
        return body
    dump = getattr(body, "model_dump", None)
    if callable(dump):
        # by_alias: Google's SDK names its fields in snake case, its API in camel case.
        dumped = dump(mode="json", by_alias=True)
        if isinstance(dumped, Mapping):
            return dumped
    raise UsageError(f"not a response body: expected a mapping or a pydantic object, got {type(body).__name__}")


def _extract(extractor: UsageExtractor, body: Mapping[str, Any]) -> dict[str, Count]:
    root = [extractor.root] if isinstance(extractor.root, str) else [str(step) for step in extractor.root]
    if root[0] not in body:  # a bare usage block
        for step in reversed(root):
            body = {step: body}
    try:
        _, usage = extractor.extract(body)
    except ValueError as error:
        raise UsageError(f"no usage found: {error}") from None
    return {key: _count(value) for key, value in vars(usage).items() if not key.startswith("_")}


def _count(value: Any) -> Count:
    if isinstance(value, int):
        return value
    return int(value) if value == int(value) else float(value)


def _supplemented(provider: str, counts: dict[str, Count], body: Mapping[str, Any]) -> dict[str, Count]:
    field = _CACHE_READS.get(provider)
    if field is not None and "cache_read_tokens" not in counts:
        usage = body.get("usage", body)
        cached = usage.get(field) if isinstance(usage, Mapping) else None
        if type(cached) is int and 0 <= cached <= counts.get("input_tokens", 0):
            counts["cache_read_tokens"] = cached
    return counts


def flavors(provider: str) -> Sequence[str]:
    """The APIs of a provider whose usage can be read.

    Raises:
        ConfigurationError: an unknown provider.
    """
    return tuple(_by_flavor(_provider(provider)))


@lru_cache(maxsize=1024)
def provider_id(name: str) -> str:
    """genai-prices' identifier for a provider's name, or the name itself in lower case.

    >>> provider_id("google_genai"), provider_id("Azure OpenAI"), provider_id("x-ai"), provider_id("my-gateway")
    ('google', 'azure', 'x-ai', 'my-gateway')
    """
    lowered = name.strip().lower()
    return _ALIASES.get(lowered.replace("-", "_").replace(" ", "_"), lowered)
