"""The clients, models and agents that an audit knows, by their full names."""

from __future__ import annotations

from typing import Final, Literal

Family = Literal["langchain", "llamaindex", "openai", "anthropic", "google", "litellm"]

LIMIT_NAMES: Final = frozenset(
    [
        "max_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "max_tokens_to_sample",
        "max_new_tokens",
        "num_predict",
        "maxTokens",
        "maxOutputTokens",
    ]
)
"""Names of the limit on output, by client."""

NESTED_LIMITS: Final = [
    "config",
    "generation_config",
    "model_kwargs",
    "additional_kwargs",
    "generate_kwargs",
    "inference_config",
    "inferenceConfig",
    "options",
    "extra_body",
]
"""Arguments in which some clients take the limit."""

MODEL_NAMES: Final = ("model", "model_name", "model_id", "modelId")

_LANGCHAIN: Final = frozenset(
    [
        "OpenAI",
        "AzureOpenAI",
        "Anthropic",
        "AnthropicLLM",
        "BedrockLLM",
        "OllamaLLM",
        "VertexAI",
        "GoogleGenerativeAI",
        "MistralAI",
        "Cohere",
        "Fireworks",
        "Together",
    ]
)
_NOT_CHAT_MODELS: Final = ("ChatMessage", "ChatPrompt", "ChatGeneration", "ChatResult", "ChatSession", "ChatChunk", "ChatHistory")
_OPENAI_CLIENTS: Final = frozenset(
    ["OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI", "Groq", "AsyncGroq", "Together", "AsyncTogether"]
)
_ANTHROPIC_CLIENTS: Final = frozenset(
    f"{prefix}Anthropic{suffix}" for prefix in ("", "Async") for suffix in ("", "Bedrock", "Vertex", "Foundry")
)

LIMITED_BY_DEFAULT: Final = {
    "llama_index.llms.anthropic.Anthropic",
    "llama_index.llms.mistralai.MistralAI",
    "llama_index.llms.bedrock.Bedrock",
    "llama_index.llms.bedrock_converse.BedrockConverse",
}
"""Models that stop at 512 tokens unless told otherwise (their sources, releases of 2026)."""

DEFAULT_RETRIES: Final = {
    "openai": 2,
    "anthropic": 2,
    "google": 0,
    "litellm": 0,
    "ChatOpenAI": 2,
    "AzureChatOpenAI": 2,
    "ChatAnthropic": 2,
    "ChatGoogleGenerativeAI": 6,
    "ChatMistralAI": 5,
    "llamaindex": 3,
}
"""Retries of a client that is told nothing, by class or family (langchain-* and llama-index-llms-* of 2026, openai 2, anthropic 0.1)."""

STEP_LIMITS: Final = {
    "create_agent": 9_999,
    "create_react_agent": 10_007,
    "create_supervisor": 10_007,
    "create_swarm": 10_007,
    "create_deep_agent": 9_999,
    "AgentExecutor": 15,
    "initialize_agent": 15,
    "FunctionAgent": 20,
    "ReActAgent": 20,
    "CodeActAgent": 20,
    "AgentWorkflow": 20,
}
"""Steps that an agent takes at most where nothing is said (langchain 1.5, langgraph 1.2, llama-index-core 0.14)."""

ASKING: Final = frozenset(
    [
        "invoke",
        "ainvoke",
        "stream",
        "astream",
        "batch",
        "abatch",
        "astream_events",
        "predict",
        "apredict",
        "generate",
        "agenerate",
        "complete",
        "acomplete",
        "chat",
        "achat",
        "stream_chat",
        "astream_chat",
        "stream_complete",
        "astream_complete",
        "run",
        "arun",
        "query",
        "aquery",
        "structured_predict",
        "astructured_predict",
    ]
)
"""Methods of models, chains, agents and engines that ask a model."""

WRAPPING: Final = frozenset(
    [
        "bind",
        "bind_tools",
        "with_retry",
        "with_fallbacks",
        "with_structured_output",
        "with_config",
        "with_types",
        "with_listeners",
        "pipe",
        "assign",
        "pick",
        "as_structured_llm",
        "configurable_fields",
        "configurable_alternatives",
        "compile",
    ]
)
"""Methods whose result asks the model that they are called on."""

ENGINES: Final = frozenset(("as_query_engine", "as_chat_engine"))


def model_class(name: str) -> Family | None:
    """The framework of a class or function that makes a model, by its full name."""
    root, _, rest = name.partition(".")
    last = rest.rpartition(".")[2]
    if name in ("langchain.chat_models.init_chat_model", "langchain.chat_models.base.init_chat_model"):
        return "langchain"
    if root == "llama_index":
        return (
            "llamaindex"
            if rest.startswith("llms.") and last[:1].isupper() and not last.startswith(("ChatMessage", "MessageRole"))
            else None
        )
    if not root.startswith("langchain"):
        return None
    is_chat = last.startswith("Chat") and last[4:5].isupper() and not last.startswith(_NOT_CHAT_MODELS)
    if root in ("langchain", "langchain_community", "langchain_classic"):
        return "langchain" if ("chat_models" in rest and is_chat) or ("llms" in rest and last in _LANGCHAIN) else None
    return "langchain" if root != "langchain_core" and (is_chat or last in _LANGCHAIN) else None


def client_class(name: str) -> Family | None:
    """The provider of a plain client, by its full name."""
    root, _, last = name.partition(".")
    last = last.rpartition(".")[2]
    if root in ("openai", "groq", "together", "langfuse") and last in _OPENAI_CLIENTS:
        return "openai"
    if root == "anthropic" and last in _ANTHROPIC_CLIENTS:
        return "anthropic"
    if name in ("google.genai.Client", "google.generativeai.GenerativeModel", "vertexai.generative_models.GenerativeModel"):
        return "google"
    return None


def agent_name(name: str) -> str | None:
    """The short name of what makes an agent, by its full name."""
    root, _, rest = name.partition(".")
    last = rest.rpartition(".")[2]
    if last in ("from_tools", "from_tools_or_functions", "from_agent_and_tools") and rest.count("."):
        last = rest.split(".")[-2]
    if root == "langchain_classic" or (root == "langchain" and last == "create_react_agent"):
        return last if last in ("AgentExecutor", "initialize_agent") else None  # the classic function makes a runnable of one step
    roots = ("langchain", "langgraph", "langgraph_supervisor", "langgraph_swarm", "deepagents", "llama_index")
    return last if root in roots and last in STEP_LIMITS else None
