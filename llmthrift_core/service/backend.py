"""`ChatBackend`: what the service asks of a framework, which calls the models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from llmthrift_core.errors import ConfigurationError

_OF_ALL_TIERS: Final = ("policy", "baseline", "max_tier", "fallbacks")


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
        body: the whole answer in OpenAI's format, where it came so; it is given on as it is.
    """

    choices: Sequence[Choice]
    model: str
    usage: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a stream: some text, some of a tool call, or what the end tells.

    Attributes:
        chunk: the piece in OpenAI's format, where it came so; it is given on as it is, as `data` where that is its text.
    """

    text: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: str | None = None
    model: str | None = None
    usage: Mapping[str, Any] | None = None
    chunk: Mapping[str, Any] | None = None
    data: str | None = None


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

    @property
    def embedding_model(self) -> str | None:
        """The name of the embedding model; None: there is none."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector of each text.

        Raises:
            ConfigurationError: there is no embedding model.
        """
        ...

    async def aclose(self) -> None:
        """The service ends: close what is open."""
        ...


Router = TypeVar("Router")


class RoutedBackend(Generic[Router]):
    """A backend of a framework: one router over all tiers, and one for each tier that is asked for by its name.

    Args:
        make: a router, of `models` and options.
        models: by tier.
        options: of the router.
        made: the models of a router, where it makes them of their names.
    """

    def __init__(
        self,
        make: Callable[..., Router],
        models: Mapping[str, Any],
        options: Mapping[str, Any],
        made: Callable[[Router], Mapping[str, Any]] | None = None,
    ) -> None:
        self._router = make(models=models, **options)
        alone = {name: value for name, value in options.items() if name not in _OF_ALL_TIERS}
        each = models if made is None else made(self._router)
        self._alone = {tier: make(models={tier: model}, **alone) for tier, model in each.items()}

    def _chosen(self, asked: Asked) -> tuple[Router, dict[str, Any]]:
        """The router to ask, and the options of the call."""
        options = dict(asked.parameters)
        if asked.max_tier is not None and asked.tier is None:
            options["max_tier"] = asked.max_tier
        if not asked.use_cache:
            options["cache"] = "off"
        if not asked.shorten:
            options["shorten"] = "off"
        return self._router if asked.tier is None else self._alone[asked.tier], options

    async def aclose(self) -> None:
        """Nothing: clients of a framework are the application's."""


def no_embeddings() -> ConfigurationError:
    """An error for who asks where no embedding model was given."""
    return ConfigurationError("no embedding model is served here: start the service with embeddings=")
