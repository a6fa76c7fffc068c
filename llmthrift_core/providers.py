"""The names of providers: what LangChain, litellm and the providers' own clients say, and genai-prices' identifier for it."""

from __future__ import annotations

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


def provider_id(name: str) -> str:
    """genai-prices' identifier for a provider's name, or the name itself in lower case.

    >>> provider_id("google_genai"), provider_id("Azure OpenAI"), provider_id("x-ai"), provider_id("my-gateway")
    ('google', 'azure', 'x-ai', 'my-gateway')
    """
    lowered = name.strip().lower()
    return _ALIASES.get(lowered.replace("-", "_").replace(" ", "_"), lowered)
