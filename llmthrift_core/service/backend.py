"""`ChatBackend`: what the service asks of a framework, which calls the models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol

from llmthrift_core.errors import ConfigurationError

GROUP = "llmthrift.backends"
"""The entry points that make a backend of models: `(thrift, models, options) -> ChatBackend`, or None where the models are not its own."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a model, in OpenAI's terms.

    Attributes:
        messages: as in OpenAI's chat.
        tier: the tier to ask; None lets the router choose.
        max_tier: the dearest tier that the router may choose.
        parameters: of the call, such as temperature, max_tokens or response_format.
        tools, tool_choice: in OpenAI's format.
        number: how many answers.
        use_cache: False neither reads nor writes the cache.
        shorten: False sends the prompt as it is.
    """

    messages: Sequence[Mapping[str, Any]]
    tier: str | None = None
    max_tier: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: Any = None
    number: int = 1
    use_cache: bool = True
    shorten: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer.

    Attributes:
        text: what it says; None where it only calls tools.
        tool_calls: in OpenAI's format.
        finish_reason: "stop", "length", "tool_calls" or "content_filter".
    """

    text: str | None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] = "stop"
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back.

    Attributes:
        choices: one or several answers.
        model: who gave them.
        usage: in OpenAI's format; None where nobody told.
    """

    choices: Sequence[Choice]
    model: str
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a stream: some text, some of a tool call, or what the end tells."""

    text: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: str | None = None
    model: str | None = None
    usage: Mapping[str, Any] | None = None


class ChatBackend(Protocol):
    """Calls models through the doors of a framework, so that budgets, cache, router and ledger do their work."""

    @property
    def tiers(self) -> Sequence[str]:
        """The names of the tiers, cheapest first."""
        ...

    def model_of(self, tier: str) -> tuple[str, str | None]:
        """The name and the provider of a tier's model."""
        ...

    async def answer(self, asked: Asked) -> Answered:
        """The whole answer."""
        ...

    def stream(self, asked: Asked) -> AsyncIterator[Piece]:
        """The answer as it comes."""
        ...

    async def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], str]:
        """A vector of each text, and the model's name.

        Raises:
            ConfigurationError: no embedding model was given.
        """
        ...


def backend_of(thrift: Any, models: Mapping[str, Any], **options: Any) -> ChatBackend:
    """The backend of the framework that the models belong to.

    Raises:
        ConfigurationError: no framework takes these models, or there are none.
    """
    if not models:
        raise ConfigurationError('models is empty; give at least one, cheapest first: models={"economy": cheap, "premium": strong}')
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        try:
            make = entry.load()
        except ImportError:  # the framework is not installed
            continue
        if (backend := make(thrift, models, **options)) is not None:
            found: ChatBackend = backend
            return found
    kinds = ", ".join(f"{name}: {type(model).__name__}" for name, model in models.items())
    raise ConfigurationError(f"no installed framework takes these models ({kinds}); give LangChain chat models, LlamaIndex LLMs, or names")
