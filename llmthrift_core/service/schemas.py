"""Requests and answers, typed: the service's OpenAPI document is made of them. Unknown fields are refused by name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A request whose unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Ask(Strict):
    """`POST /v1/chat` and `/v1/generate`."""

    prompt: str = Field(examples=["What is the capital of France?"])
    system_prompt: str | None = None
    model: str = Field(default="auto", description='A tier, "auto", or the name of a tier\'s model')
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tier: str | None = None
    use_cache: bool = True
    optimize_prompt: bool | None = Field(default=None, description="False sends the prompt as it is")
    compress: bool | None = Field(default=None, description="As optimize_prompt")
    user: str | None = None
    metadata: dict[str, str] | None = None


class Tokens(BaseModel):
    """Counts of tokens."""

    input: int
    output: int


class Envelope(BaseModel):
    """What is told beside an answer."""

    model_config = ConfigDict(protected_namespaces=())

    request_id: str | None = None
    model: str | None = None
    source: Literal["model", "cache", "semantic_cache", "budget_limit"] = "model"
    cost_usd: float | None = Field(default=None, description="None: no price is known")
    saved_usd: float | None = None
    original_tier: str | None = None
    final_tier: str | None = None
    escalated: bool = False
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Reply(BaseModel):
    """The answer of `/v1/chat` and `/v1/generate`."""

    model_config = ConfigDict(protected_namespaces=())

    response: str
    model: str
    tier: str | None
    cached: bool
    cost: float | None
    tokens: Tokens
    llmthrift: Envelope


class EstimateAsk(Strict):
    """`POST /v1/estimate`."""

    model: str = Field(examples=["gpt-4o-mini"])
    prompt: str | None = Field(default=None, examples=["What is the capital of France?"])
    input_tokens: int | None = Field(default=None, ge=0)
    max_tokens: int = Field(default=500, ge=0, description="Output tokens to reckon with")


class Estimate(BaseModel):
    """What a call would cost."""

    model: str
    input_tokens: int
    estimated_output_tokens: int
    estimated_cost: float
    input_cost: float
    output_cost: float


class Completion(Strict):
    """`POST /v1/chat/completions`, in OpenAI's format."""

    model: str = Field(examples=["auto"])
    messages: list[dict[str, Any]] = Field(min_length=1, examples=[[{"role": "user", "content": "What is the capital of France?"}]])
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int = Field(default=1, ge=1, le=128)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    max_tier: str | None = Field(default=None, description="The dearest tier that the router may choose")
    use_cache: bool = True
    optimize_prompt: bool | None = None

    def parameters(self) -> dict[str, Any]:
        """The parameters of the call that were given."""
        return {name: value for name in _PARAMETERS if (value := getattr(self, name)) is not None}


_PARAMETERS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias",
    "logprobs", "top_logprobs", "reasoning_effort", "verbosity", "service_tier", "prompt_cache_key", "response_format",
    "parallel_tool_calls",
)  # fmt: skip


class Embed(Strict):
    """`POST /v1/embeddings`, in OpenAI's format."""

    model: str = "default"
    input: str | list[str] = Field(examples=["What is the capital of France?"])
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class Invalidate(Strict):
    """`POST /v1/cache/invalidate`: every criterion given must fit."""

    tag: str | None = None
    source: str | None = None
    scope: dict[str, str] | None = None
    namespace: str | None = None
