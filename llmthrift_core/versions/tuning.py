"""`Tuning`: the settings of doors that follow one configuration, in each call those of the arm that its user is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attribution import Attribution
from llmthrift_core.background.following import Following
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import ids
from llmthrift_core.quality.experiments import Experiment, Unit
from llmthrift_core.settings import is_observing
from llmthrift_core.versions.door_settings import AS_BUILT, DoorSettings
from llmthrift_core.versions.store import label_of

if TYPE_CHECKING:
    from llmthrift_core.host import Host

TAG: Final = "tuning"
"""The tag of a call whose door follows a configuration: NAME@VERSION."""
CONTROL: Final = "control"
CANARY: Final = "canary"


@dataclass(frozen=True, slots=True)
class Canary:
    """Other settings for a share of the units.

    Attributes:
        settings: the whole of them, by name.
        share: above 0 and up to a half.
        unit: what is assigned: "user", "session", "request" or "question".

    Raises:
        ConfigurationError: a share or unit that cannot be used.
    """

    settings: Mapping[str, Any]
    share: float
    unit: Unit

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share <= 0.5:
            raise ConfigurationError(f"a canary's share must be above 0 and at most 0.5, not {self.share!r}")


@dataclass(frozen=True, slots=True)
class TunedValue:
    """The value of a configuration that doors follow, as it is understood.

    Attributes:
        settings: of everybody, by name.
        canary: of some, while a change is tried; None: there is none.
        memory: what the autopilot remembers from version to version.
    """

    settings: Mapping[str, Any]
    canary: Canary | None
    memory: Mapping[str, Any]

    @classmethod
    def of(cls, value: Any) -> TunedValue:
        """Understand a configuration's value.

        Raises:
            ConfigurationError: it is none that a door can follow.
        """
        if not isinstance(value, Mapping):
            raise ConfigurationError(f'what doors follow is a mapping, such as {{"cache_ttl_seconds": 86400}}, not {type(value).__name__}')
        settings = {name: each for name, each in value.items() if name not in (CANARY, "autopilot")}
        DoorSettings.of(settings)
        canary, memory = value.get(CANARY), value.get("autopilot") or {}
        if canary is None:
            return cls(settings, None, memory)
        if not isinstance(canary, Mapping) or not {"settings", "share", "unit"} <= canary.keys():
            raise ConfigurationError(f"a canary has settings, share and unit, not {canary!r}")
        DoorSettings.of(canary["settings"])
        return cls(settings, Canary(dict(canary["settings"]), canary["share"], canary["unit"]), memory)

    def to_json(self) -> dict[str, Any]:
        """The value to save."""
        value: dict[str, Any] = dict(self.settings)
        if self.canary is not None:
            value[CANARY] = {"settings": dict(self.canary.settings), "share": self.canary.share, "unit": self.canary.unit}
        if self.memory:
            value["autopilot"] = dict(self.memory)
        return value


@dataclass(frozen=True, slots=True)
class _InForce:
    """One version, as calls use it."""

    number: int
    arms: Mapping[str, DoorSettings]
    tags: Mapping[str, tuple[tuple[str, str], ...]]
    experiment: Experiment | None


def experiment_of(thrift: Host, name: str, version: int, canary: Canary) -> Experiment:
    """The experiment of a version's canary, with its arms "control" and "canary".

    Raises:
        ConfigurationError: a unit or name that cannot be used.
        StorageError: the database cannot be used.
    """
    share = canary.share
    return Experiment(thrift, label_of(name, version), arms={CONTROL: 1 - share, CANARY: share}, unit=canary.unit, control=CONTROL)


class Tuning(Following):
    """What doors do, looked up in the active version of a configuration. Made by `thrift.configurations.follow`.

    Calls that begin after another version came into force use it. Calls carry the tag "tuning" with the version, such as "support@3", and
    while a canary runs "experiment:support@3" with its arm. In observe mode doors stay as they were built.

    Args:
        name: of the configuration.
        active: the number of its active version; None where there is none.
        load: the value of a version, by its number.
        check_seconds: from one look to the next.
    """

    kind = "tuning"
    unless = "doors stay as they were built"
    tunes = True

    def __init__(
        self,
        thrift: Host,
        name: str,
        *,
        active: Callable[[], int | None],
        load: Callable[[int], Any],
        check_seconds: float,
    ) -> None:
        self._thrift = thrift
        self._load = load
        self._in_force: _InForce | None = None
        self.follow(name, active, check_seconds=check_seconds)

    @property
    def number(self) -> int | None:
        """Of the version in force; None before the first."""
        return None if self._in_force is None else self._in_force.number

    def for_call(self, attribution: Attribution, question: Callable[[], str] | None = None) -> tuple[DoorSettings, Attribution]:
        """The settings of one call, and its attribution with the version and the arm.

        Args:
            question: stands for all that was asked, for canaries whose unit is a question.
        """
        self.keep_following()
        now = self._in_force
        if now is None or is_observing():
            return AS_BUILT, attribution
        arm = ""
        if now.experiment is not None:
            unit = now.experiment.unit
            if unit == "question":
                who = None if question is None else self._named(question)
            else:
                who = ids.new_request_id() if unit == "request" else getattr(attribution, unit)
            if who is not None:
                arm = now.experiment.arm_of(who)
        return now.arms[arm], _tagged(attribution, now.tags[arm])

    def use(self, number: int) -> None:
        """Put a version in force. Raises LLMThriftError where it cannot be used."""
        self._in_force = self._made(number)

    def __copy__(self) -> Tuning:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tuning:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _followed_again, (self._thrift, self.name)

    def _named(self, question: Callable[[], str]) -> str | None:
        try:
            return question()
        except Exception as error:  # a message of a shape that nobody foresaw is not part of the experiment
            self._thrift.note_failure("tuning", error)
            return None

    def _made(self, number: int) -> _InForce:
        value = TunedValue.of(self._load(number))
        label = label_of(self.name, number)
        settings, version = DoorSettings.of(value.settings), (TAG, label)
        if value.canary is None:
            return _InForce(number, {"": settings}, {"": (version,)}, None)
        experiment = experiment_of(self._thrift, self.name, number, value.canary)
        canary = DoorSettings.of(value.canary.settings)
        lives = [each.cache_ttl_seconds for each in (settings, canary) if each.cache_ttl_seconds is not None]
        stored = max(lives, default=None)  # what one arm has stored serves the other for as long as that allows
        arms = {
            CONTROL: replace(settings, stored_seconds=stored, _policies={}),
            CANARY: replace(canary, stored_seconds=stored, _policies={}),
        }
        tags = {arm: ((experiment.tag, arm), version) for arm in arms}
        return _InForce(number, {**arms, "": arms[CONTROL]}, {**tags, "": (version,)}, experiment)


def _followed_again(thrift: Any, name: str) -> Tuning:
    followed: Tuning = thrift.configurations.follow(name)
    return followed


@lru_cache(maxsize=4096)
def _tagged(attribution: Attribution, tags: tuple[tuple[str, str], ...]) -> Attribution:
    return Attribution(tags=tags).over(attribution)
