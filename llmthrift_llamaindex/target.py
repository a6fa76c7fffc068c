"""The target of a door: one model or several, and the cache in front of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from llmthrift_core.budgets.sizes import max_output_tokens
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.calls.limiting import checked
from llmthrift_core.calls.prefix_planners import PrefixPlanners, planners_of
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.settings import is_disabled
from llmthrift_core.versions.door_settings import tuning_of

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager

    from llmthrift_core.attribution import Attribution
    from llmthrift_core.cache.semantic.cache import SemanticCache
    from llmthrift_core.cache.semantic.question import QuestionExtractor
    from llmthrift_core.calls.call import Call
    from llmthrift_core.calls.refusals import OnBudget
    from llmthrift_core.calls.request import RouteUse
    from llmthrift_core.calls.shortening import ShorteningPolicy
    from llmthrift_core.prompts.output_limits import OutputLimits
    from llmthrift_core.routing import Tiers
    from llmthrift_core.routing.requirements import Requirements
    from llmthrift_core.thrift import Thrift
    from llmthrift_core.versions.door_settings import DoorSettings, SettingsSource
    from llmthrift_llamaindex.messages import Asked

_EFFORT: Final = "reasoning_effort"
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict")


class HasBudgetsOfItsOwn:
    """Marks an LLM that caches, meters and bounds its calls itself, so that it must not be wrapped."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Which answers a door gives from the cache, and what it sends to a model.

    Attributes:
        policy: of the exact cache; None: no answer is kept.
        semantic: asked after the exact cache has missed, or None.
        extract_question: for prompts that carry documents.
        shorten: makes prompts shorter before they are sent, or None.
        planners: plan the provider's prompt cache, or None.
        output: how long answers may be, or None.
        tuning: what a version of a configuration says otherwise, or None.
    """

    policy: CachePolicy | None
    semantic: SemanticCache | None = None
    extract_question: QuestionExtractor | None = None
    shorten: ShorteningPolicy | None = None
    planners: PrefixPlanners | None = None
    output: OutputLimits | None = None
    tuning: SettingsSource | None = None

    def tuned(self, settings: DoorSettings, thrift: Thrift) -> Answers:
        """As the settings of one call say."""
        return replace(
            self,
            policy=settings.policy(self.policy),
            semantic=None if settings.semantic is False else self.semantic,
            shorten=settings.shortening(self.shorten),
            output=settings.limits(self.output),
            planners=settings.planners(self.planners, thrift),
        )


class Behind(Protocol):
    """What a driven call asks of its door."""

    @property
    def thrift(self) -> Thrift: ...

    @property
    def answers(self) -> Answers: ...

    @property
    def on_budget(self) -> OnBudget: ...

    @property
    def callback_manager(self) -> CallbackManager: ...

    def in_force(self) -> Self:
        """As one call uses it, whatever becomes of its policy meanwhile."""
        ...

    def tuned(self, settings: DoorSettings) -> Self:
        """As the settings of one call say."""
        ...

    def identity(self, arguments: Mapping[str, Any]) -> bytes:
        """Stands in a cache key for the models, their parameters and the arguments of a call. Raises UncacheableError: it cannot."""
        ...

    def tiers_at_most(self, max_tier: str | None) -> Tiers | None:
        """The tiers that a caller may use; None without routing."""
        ...

    def pin_of(self, asked: Asked, arguments: Mapping[str, Any]) -> str | None:
        """The run whose calls keep one tier, if this call belongs to one."""
        ...

    def route(
        self,
        tiers: Tiers | None,
        asked: Asked,
        arguments: Mapping[str, Any],
        attribution: Attribution,
        *,
        max_tier: str | None,
        required: Requirements,
        pin: str | None,
        kept_tokens: Callable[[str], int | None] | None = None,
    ) -> RouteUse | None:
        """How the call is routed; None without routing."""
        ...

    def model(self, tier: str | None) -> Any:
        """The LLM of a tier; the one that stands for all where None is given."""
        ...

    def metered(self, tier: str | None) -> Any:
        """The LLM of a tier, metered and bounded alone: neither cached nor routed."""
        ...

    def prepare(self, call: Call, method: str, asked: Asked, arguments: dict[str, Any]) -> tuple[Any, Asked, dict[str, Any]]:
        """What to call now: an object with the method, the input, and the keyword arguments."""
        ...

    def after(self, error: BaseException, tier: str | None, tiers: Tiers | None, tried: Sequence[str], input_chars: int) -> str | None:
        """The tier to try after one failed, or None."""
        ...

    def answered(self, tier: str | None, pin: str | None) -> None:
        """A tier has answered, in a run that keeps it or in none."""
        ...


def answers_of(
    thrift: Thrift,
    cache: Any,
    semantic: Any,
    ttl_seconds: float | None,
    extract_question: QuestionExtractor | None,
    shorten: ShorteningPolicy | None = None,
    prompt_caching: bool | PrefixPlanners | None = False,
    output: OutputLimits | None = None,
    tuning: Any = None,
) -> Answers:
    """The caching that a user asks for.

    Args:
        cache: True for the default policy, a CachePolicy, or False.
        semantic: True for the built-in embedding model, a number for a fixed threshold with it, a LlamaIndex embedding, a
            SemanticCache, or False.
        ttl_seconds: how long an entry answers by meaning.
        tuning: the name of a configuration, or what `follow` made of one, or None.

    Raises:
        ConfigurationError: neither of these, or a SemanticCache whose limits are for others than the policy's.
    """
    if not isinstance(cache, bool | CachePolicy):
        raise ConfigurationError(f"cache must be True, False or a CachePolicy, not {type(cache).__name__}")
    policy = CachePolicy() if cache is True else cache or None
    sent: dict[str, Any] = {"shorten": shorten, "planners": planners_of(prompt_caching, thrift), "output": checked(output)}
    if tuning is not None:
        sent["tuning"] = tuning_of(tuning, thrift.configurations.follow)
    if semantic is False or semantic is None or is_disabled():
        return Answers(policy, extract_question=extract_question, **sent)
    if policy is None:
        raise ConfigurationError("semantic= needs the cache: leave cache=True")
    from llmthrift_core.cache import SemanticCache

    if isinstance(semantic, SemanticCache):
        policy.check_agrees(semantic.limits)
    elif isinstance(semantic, int | float) and not isinstance(semantic, bool):  # a threshold
        semantic = SemanticCache(thrift, policy=semantic, limits=replace(policy, ttl_seconds=ttl_seconds, max_bytes=None))
    else:
        limits = replace(policy, ttl_seconds=ttl_seconds, max_bytes=None)
        embedder = None
        if semantic is not True:
            from llmthrift_llamaindex.embeddings import ThriftEmbedding

            # Embeddings from an API cost money too.
            embedder = semantic if isinstance(semantic, ThriftEmbedding) else ThriftEmbedding(thrift, semantic, cache=False)
        semantic = SemanticCache(thrift, embedder, limits=limits)
    return Answers(policy, semantic, extract_question, **sent)


def output_limit(model: Any, arguments: Mapping[str, Any]) -> int | None:
    """The longest answer that a model's fields, its extra arguments and the call's own allow. Integrations differ in which of them win."""
    return max((limit for each in (arguments, vars(model)) if (limit := max_output_tokens(each)) is not None), default=None)


def limited(model: Any, max_tokens: int) -> Any:
    """A copy of a model that answers within so many tokens."""
    fields = type(model).model_fields
    name = next((name for name in _LIMITS if name in fields), None)
    update: dict[str, Any] = {} if name is None else {name: max_tokens}
    extra = getattr(model, "additional_kwargs", None)
    if isinstance(extra, Mapping) and not extra.keys().isdisjoint(_LIMITS):
        update["additional_kwargs"] = {key: max_tokens if key in _LIMITS else value for key, value in extra.items()}
    return model.model_copy(update=update)


def bounded(model: Any, call: Call) -> Any:
    """The model as a call asks it: a copy where its answer has a limit or it is told an effort."""
    if call.max_output_tokens is not None:
        model = limited(model, call.max_output_tokens)
    return model if call.effort is None else model.model_copy(update={_EFFORT: call.effort})


def takes_effort(model: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a model has a field for the effort of reasoning, and the application says nothing of it."""
    if _EFFORT not in type(model).model_fields or getattr(model, _EFFORT) is not None:
        return False
    more = getattr(model, "additional_kwargs", None)
    return all(_EFFORT not in each and "reasoning" not in each for each in (arguments, more if isinstance(more, Mapping) else {}))


def can_be_limited(model: Any) -> bool:
    """Whether a copy of this model can be told how long its answer may be."""
    return _has_limit(type(model))  # type: ignore[arg-type] # mypy takes a class of Any for one that cannot be hashed


@lru_cache(maxsize=512)
def _has_limit(kind: type[Any]) -> bool:
    return any(name in kind.model_fields for name in _LIMITS)
