"""`DoorSettings`: what a version of a configuration tells a door to do otherwise than it was built to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from llmthrift_core.attribution import Attribution
    from llmthrift_core.calls.adapter_call import DoorHost
    from llmthrift_core.calls.prefix_planners import PrefixPlanners
    from llmthrift_core.prompts.output_limits import OutputLimits
    from llmthrift_core.prompts.shorten import Shorten
    from llmthrift_core.routing import Tiers

_SHORTEN: Final = ("lossless", "off")
_MOST_POLICIES: Final = 100


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Settings of a door. None leaves a thing as the door was built.

    What a call or a `cache_rules` block says itself goes before them.

    Attributes:
        cache_ttl_seconds: how long an exact answer serves.
        stored_seconds: how long one is kept; longer than it serves here where another arm of a canary serves it longer. None: as long.
        semantic: whether the door's SemanticCache is asked; nothing where it has none.
        max_tier: the strongest tier that is used; nothing where the door has no such tier.
        output_cap_tokens: no answer is to be longer; nothing where the application sets a limit itself.
        shorten: "lossless", or "off".
        prompt_caching: whether the provider's prompt cache is planned, marks and keys, whatever the door was built with.

    Raises:
        ConfigurationError: a value that cannot be used.
    """

    cache_ttl_seconds: float | None = None
    stored_seconds: float | None = None
    semantic: bool | None = None
    max_tier: str | None = None
    output_cap_tokens: int | None = None
    shorten: str | None = None
    prompt_caching: bool | None = None
    _policies: dict[int, tuple[CachePolicy, CachePolicy]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        CachePolicy(ttl_seconds=self.cache_ttl_seconds)  # checks it
        for name in ("semantic", "prompt_caching"):
            if (value := getattr(self, name)) is not None and not isinstance(value, bool):
                raise ConfigurationError(f"{name} must be true or false, not {value!r}")
        if self.max_tier is not None and (not isinstance(self.max_tier, str) or not self.max_tier):
            raise ConfigurationError(f"max_tier must be the name of a tier, not {self.max_tier!r}")
        cap = self.output_cap_tokens
        if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
            raise ConfigurationError(f"output_cap_tokens must be a positive number of tokens, not {cap!r}")
        if self.shorten is not None and self.shorten not in _SHORTEN:
            raise ConfigurationError(f"shorten must be {' or '.join(map(repr, _SHORTEN))}, not {self.shorten!r}")

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> DoorSettings:
        """The settings in a configuration's value.

        Raises:
            ConfigurationError: an unknown name, or a value that cannot be used.
        """
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"settings of a door are a mapping of {', '.join(NAMES)}, not {type(value).__name__}")
        if unknown := [name for name in value if name not in NAMES]:
            raise ConfigurationError(f"there is no setting {unknown[0]!r} of a door; there are: {', '.join(NAMES)}")
        return cls(**value)

    def policy(self, given: CachePolicy | None) -> CachePolicy | None:
        """How answers are cached. One that is stored longer than it serves here is too old for this door after that."""
        ttl = self.cache_ttl_seconds
        if given is None or ttl is None:
            return given
        known = self._policies.get(id(given))
        if known is not None and known[0] is given:
            return known[1]
        age = ttl if given.max_age_seconds is None else min(ttl, given.max_age_seconds)
        made = replace(given, ttl_seconds=self.stored_seconds or ttl, max_age_seconds=age)
        if len(self._policies) >= _MOST_POLICIES:
            self._policies.clear()
        self._policies[id(given)] = given, made
        return made

    def tiers(self, allowed: Tiers) -> Tiers:
        """The tiers that a call may use, of those that the door and the call allow."""
        try:
            return allowed.at_most(self.max_tier)
        except ConfigurationError:  # the door has no such tier, or the call allows less already
            return allowed

    def limits(self, given: OutputLimits | None) -> OutputLimits | None:
        """How long answers may be."""
        cap = self.output_cap_tokens
        if cap is None:
            return given
        from llmthrift_core.prompts.output_limits import CAPS, OutputLimits

        if given is None:
            return OutputLimits(caps=dict.fromkeys(CAPS, cap), effort=None)
        return replace(given, caps={task: min(cap, given.caps.get(task, usual)) for task, usual in CAPS.items()})

    def shortening(self, given: Any) -> Any:
        """What makes prompts shorter, or None."""
        if self.shorten is None:
            return given
        return None if self.shorten == "off" else _lossless()

    def planners(self, given: PrefixPlanners | None, host: DoorHost) -> PrefixPlanners | None:
        """What plans the provider's prompt cache, or None."""
        if self.prompt_caching is None:
            return given
        return (given or host.prefix_planners) if self.prompt_caching else None

    @property
    def key(self) -> dict[str, Any]:
        """What of them decides an answer and is in no other part of a cache's key."""
        return {} if self.max_tier is None else {"tuned_max_tier": self.max_tier}


class SettingsSource(Protocol):
    """Gives the settings of each call: a `Tuning`."""

    name: str

    def for_call(self, attribution: Attribution, question: Callable[[], str] | None = None) -> tuple[DoorSettings, Attribution]:
        """The settings of one call, and its attribution with the version and the arm."""


def tuning_of(given: Any, follow: Callable[[str], SettingsSource]) -> SettingsSource | None:
    """What a door is given as `tuning=`: the name of a configuration, or what `follow` made of one, or None.

    Raises:
        ConfigurationError: something else.
    """
    if given is None:
        return None
    if isinstance(given, str) and given:
        return follow(given)
    if not callable(getattr(given, "for_call", None)):
        raise ConfigurationError(f"tuning must be the name of a configuration, not {given!r}")
    source: SettingsSource = given
    return source


NAMES: Final = tuple(each.name for each in fields(DoorSettings) if each.name not in ("stored_seconds", "_policies"))
"""Of the settings that a version may hold."""
AS_BUILT: Final = DoorSettings()


@cache
def _lossless() -> Shorten:
    from llmthrift_core.prompts.shorten import Shorten

    return Shorten.lossless()
