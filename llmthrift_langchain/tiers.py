"""The models behind a router: prepared once, bound per tier, identified for cache keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.runnables import Runnable, RunnableBinding

from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_langchain.identity import name_of

if TYPE_CHECKING:
    from llmthrift_core.cache.policy import CachePolicy
    from llmthrift_core.calls.prefix_planners import PrefixPlanners
    from llmthrift_core.calls.shortening import ShorteningPolicy
    from llmthrift_core.prompts.output_limits import OutputLimits
    from llmthrift_core.routing import RoutingPolicy, Tiers
    from llmthrift_core.versions.door_settings import SettingsSource
    from llmthrift_langchain.cache import ThriftCache


@dataclass(frozen=True, slots=True)
class Tier:
    """One model of a router.

    Attributes:
        model: the chat model, its own cache bypassed.
        name, provider: as the price catalog knows them.
        parameters: keyword arguments of every call to it.
        given: the model as the application has it. update: the fields in which `model` differs from it.
        seen: the fields of `given` when `model` was made of it.
    """

    model: BaseChatModel
    name: str
    provider: str | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    given: BaseChatModel | None = field(default=None, repr=False)
    update: Mapping[str, Any] = field(default_factory=dict, repr=False)
    seen: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def current(self) -> Tier:
        """This tier, with what the application has changed in its model since."""
        given, seen = self.given, self.seen
        if given is None or ((values := vars(given)).keys() == seen.keys() and all(map(is_, values.values(), seen.values()))):
            return self
        return _tier(given, self.parameters, self.update)


def prepare(given: Any, defaults: Mapping[str, Any], *, named: Mapping[str, Any], streaming: bool | None) -> Tier:
    """A tier from a chat model, a bound chat model, or a name such as "openai:gpt-4o-mini".

    Args:
        given: the model.
        defaults: keyword arguments of every call.
        named: constructor arguments of a model given by name; None values are left out.
        streaming: the model's own field of that name, where it has one.

    Raises:
        ConfigurationError: not a chat model, or a router.
        MissingExtraError: a name, and langchain is not installed.
    """
    parameters = dict(defaults)
    if isinstance(given, str):
        model = _by_name(given, {name: value for name, value in named.items() if value is not None})
    else:
        while isinstance(given, RunnableBinding):
            parameters = {**parameters, **given.kwargs}
            given = given.bound
        model = given
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(f"a tier must be a chat model or the name of one, not {type(model).__name__}")
    if model._llm_type == "llmthrift-router":
        raise ConfigurationError("routers do not nest: give the models of the inner router to the outer one")
    update: dict[str, Any] = {"cache": False}
    if streaming is not None and "streaming" in type(model).model_fields:
        update["streaming"] = streaming
    return _tier(model, parameters, update)


def _tier(given: BaseChatModel, parameters: Mapping[str, Any], update: Mapping[str, Any]) -> Tier:
    seen = dict(vars(given))
    model = given.model_copy(update=update)
    described = model._get_ls_params()
    return Tier(
        model=model,
        name=str(described.get("ls_model_name") or name_of(model, {}) or type(model).__name__),
        provider=described.get("ls_provider"),
        parameters=parameters,
        given=given,
        update=update,
        seen=seen,
    )


def bind_tools(tiers: Mapping[str, Tier], tools: Sequence[Any], **kwargs: Any) -> dict[str, dict[str, Any]]:
    """For each tier the keyword arguments that its own `bind_tools` makes, so that tools have its provider's format."""
    return {name: _bound_arguments(tier.model.bind_tools(tools, **kwargs)) for name, tier in tiers.items()}


def common_profile(tiers: Mapping[str, Tier]) -> ModelProfile | None:
    """What every model can do: the lowest of their limits, and only capabilities that all of them have."""
    profiles = [tier.model.profile for tier in tiers.values()]
    if not profiles or any(not profile for profile in profiles):
        return None
    common: dict[str, Any] = {}
    first, *others = [dict(profile) for profile in profiles if profile]
    for key, value in first.items():
        values = [value, *(other.get(key) for other in others)]
        if all(isinstance(item, bool) for item in values):
            common[key] = all(values)
        elif all(isinstance(item, int) for item in values):
            common[key] = min(item for item in values if isinstance(item, int))
        elif all(item == value for item in values):
            common[key] = value
    return common  # type: ignore[return-value]


def _by_name(name: str, options: Mapping[str, Any]) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise MissingExtraError("models", "langchain") from None
    model: BaseChatModel = init_chat_model(name, **options)
    return model


def _bound_arguments(bound: Runnable[Any, Any]) -> dict[str, Any]:
    if not isinstance(bound, RunnableBinding):
        raise ConfigurationError(f"cannot bind tools through a router to a model that returns {type(bound).__name__}")
    return dict(bound.kwargs)


class Router(Protocol):
    """What a call asks of its router."""

    thrift: Any
    max_tier: str | None
    stop: list[str] | None

    @property
    def tiers(self) -> Mapping[str, Tier]: ...

    @property
    def tier_names(self) -> Tiers: ...

    @property
    def routing(self) -> RoutingPolicy: ...

    @property
    def tuning(self) -> SettingsSource | None: ...

    @property
    def answers(self) -> ThriftCache | None: ...

    def baseline_within(self, tiers: Tiers) -> str: ...

    def cache_policy(self) -> CachePolicy | None: ...

    def identity(self, policy: RoutingPolicy, tiers: Mapping[str, Tier], options: Callable[[str], Mapping[str, Any]]) -> bytes: ...

    def model_after(self, error: BaseException, tier: str | None, tiers: Tiers, tried: Sequence[str], input_chars: int) -> str | None: ...

    def metered(self, model: BaseChatModel) -> BaseChatModel: ...

    @property
    def shorten(self) -> ShorteningPolicy | None: ...

    @property
    def output(self) -> OutputLimits | None: ...

    @property
    def prefix_planners(self) -> PrefixPlanners | None: ...
