"""Model profiles: how good each model is at each task, what it costs, how long it takes. The cheapest that is good enough is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

from llmthrift_core.attribution import FIELDS
from llmthrift_core.errors import ConfigurationError, NoModelQualifiesError
from llmthrift_core.routing.policy import RoutingPolicy, fingerprint
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers

ANY_TASK: Final = "*"
"""The quality of all tasks that a profile does not name."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of one model.

    Attributes:
        quality: 0 to 1: one figure, or by task, where "*" stands for all other tasks. None is not known.
        cost_usd: of a typical call, in US dollars; None is not known.
        latency_seconds: of a typical call; None is not known.

    Raises:
        ConfigurationError: a figure out of its range.
    """

    quality: float | Mapping[str, float] | None = None
    cost_usd: float | None = None
    latency_seconds: float | None = None

    def __post_init__(self) -> None:
        qualities = self.quality if isinstance(self.quality, Mapping) else {ANY_TASK: self.quality}
        for task, quality in qualities.items():
            if quality is not None and not (isinstance(quality, int | float) and 0 <= quality <= 1):
                raise ConfigurationError(f"quality of task {task!r} must lie within 0..1, not {quality!r}")
        for name, value in (("cost_usd", self.cost_usd), ("latency_seconds", self.latency_seconds)):
            if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise ConfigurationError(f"{name} must be 0 or more, or None where it is not known; not {value!r}")

    def quality_of(self, task: str | None) -> float | None:
        """The quality at a task; None where it is not known."""
        if not isinstance(self.quality, Mapping):
            return self.quality
        found = self.quality.get(task) if task is not None else None
        return found if found is not None else self.quality.get(ANY_TASK)


@dataclass(frozen=True)
class Profiles(RoutingPolicy):
    """The cheapest tier whose profile meets what is required.

    A request may require another quality or time (`required_quality=`, `max_latency_seconds=` of the call, of its metadata, or of a tag).
    A tier without a profile, or one whose quality or latency is not known, does not qualify where that is required. Where a cost is not
    known, the order of the tiers, cheapest first, decides.

    Attributes:
        profiles: by tier.
        required_quality: 0 to 1.
        max_latency_seconds: None is any.
        usd_per_second: what a second of waiting is worth, in US dollars: the tier of the lowest cost and waiting together is chosen. With
            0, latency is a limit alone.
        task: the attribute of a call that names its task: request_type, feature, call_site, ...
        on_none: where no allowed tier qualifies, "refuse" raises `NoModelQualifiesError`; "strongest" takes the one with the best known
            quality, or the last tier where none is known.

    Raises:
        ConfigurationError: an option out of its range.

    >>> from llmthrift_core.routing import Profile, Profiles, RouteRequest, Tiers
    >>> known = {"small": Profile(quality=0.82, cost_usd=0.001), "large": Profile(quality=0.95, cost_usd=0.02)}
    >>> policy = Profiles(known, required_quality=0.9)
    >>> policy.decide(RouteRequest("Which?"), Tiers(("small", "large"))).tier
    'large'
    """

    profiles: Mapping[str, Profile]
    required_quality: float = field(kw_only=True)
    max_latency_seconds: float | None = field(default=None, kw_only=True)
    usd_per_second: float = field(default=0.0, kw_only=True)
    task: str = field(default="request_type", kw_only=True)
    on_none: Literal["refuse", "strongest"] = field(default="refuse", kw_only=True)

    def __post_init__(self) -> None:
        if not self.profiles or not all(isinstance(profile, Profile) for profile in self.profiles.values()):
            raise ConfigurationError("profiles must map tiers to Profile objects, at least one")
        if not (isinstance(self.required_quality, int | float) and 0 <= self.required_quality <= 1):
            raise ConfigurationError(f"required_quality must lie within 0..1, not {self.required_quality!r}")
        if self.max_latency_seconds is not None and not self.max_latency_seconds > 0:
            raise ConfigurationError(f"max_latency_seconds must be positive, or None, not {self.max_latency_seconds!r}")
        if not (isinstance(self.usd_per_second, int | float) and 0 <= self.usd_per_second < float("inf")):
            raise ConfigurationError(f"usd_per_second must be 0 or more US dollars, not {self.usd_per_second!r}")
        if self.task not in FIELDS:
            raise ConfigurationError(f"task must be one of {', '.join(FIELDS)}, not {self.task!r}")
        if self.on_none not in ("refuse", "strongest"):
            raise ConfigurationError(f'on_none must be "refuse" or "strongest", not {self.on_none!r}')

    @cached_property
    def version(self) -> str:
        """Hash of the profiles and the requirements."""
        parts: tuple[object, ...] = (
            sorted(self.profiles.items()),
            self.required_quality,
            self.max_latency_seconds,
            self.task,
            self.on_none,
        )
        if self.usd_per_second:
            parts = (*parts, self.usd_per_second)
        return fingerprint(repr(parts))

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The cheapest of the allowed tiers that qualify.

        Raises:
            NoModelQualifiesError: none does, and on_none is "refuse".
        """
        task: str | None = getattr(request.attribution, self.task)
        rejected: list[tuple[str, str]] = []
        fit: list[str] = []
        for name in tiers.names:
            why = self._why_not(name, task, request)
            if why is None:
                fit.append(name)
            else:
                rejected.append((name, why))
        if not fit:
            return self._none(tiers, task, rejected, request)
        costs = {name: self._usd(name) for name in fit}
        known = {name: cost for name, cost in costs.items() if cost is not None}
        chosen = min(known, key=lambda name: known[name]) if len(known) == len(fit) else fit[0]
        weighed = f", a second at {self.usd_per_second:g} USD" if self.usd_per_second else ""
        rejected += [(name, "more expensive" + weighed) for name in fit if name != chosen]
        return self._decision(chosen, f"the cheapest with {self._required(task, request)}{weighed}", task, rejected, tiers)

    def _usd(self, name: str) -> float | None:
        """What a call costs, with what waiting for it is worth."""
        profile = self.profiles[name]
        if profile.cost_usd is None or not self.usd_per_second:
            return profile.cost_usd
        return None if profile.latency_seconds is None else profile.cost_usd + self.usd_per_second * profile.latency_seconds

    def _none(self, tiers: Tiers, task: str | None, rejected: list[tuple[str, str]], request: RouteRequest) -> RouteDecision:
        if self.on_none == "refuse":
            raise NoModelQualifiesError(self._required(task, request), rejected)
        qualities = self._qualities(tiers, task)
        # Of equals the last: tiers go from cheap to strong.
        strongest = max(tiers.names, key=lambda name: (qualities.get(name, -1.0), tiers.names.index(name)))
        others = [(name, why) for name, why in rejected if name != strongest]
        return self._decision(strongest, f"the strongest; none has {self._required(task, request)}", task, others, tiers)

    def _decision(self, tier: str, reason: str, task: str | None, rejected: list[tuple[str, str]], tiers: Tiers) -> RouteDecision:
        qualities = self._qualities(tiers, task)
        profile = self.profiles.get(tier)
        return RouteDecision(
            tier,
            reason,
            rejected=tuple(rejected),
            expected_quality=qualities.get(tier),
            expected_cost_usd=None if profile is None else profile.cost_usd,
            qualities=qualities,
        )

    def _qualities(self, tiers: Tiers, task: str | None) -> dict[str, float]:
        known = ((name, self.profiles[name].quality_of(task)) for name in tiers.names if name in self.profiles)
        return {name: quality for name, quality in known if quality is not None}

    def _limits(self, request: RouteRequest) -> tuple[float, float | None]:
        """The quality and the latency that a request requires."""
        quality, latency = request.required_quality, request.max_latency_seconds
        return (
            self.required_quality if quality is None else quality,
            self.max_latency_seconds if latency is None else latency,
        )

    def _required(self, task: str | None, request: RouteRequest) -> str:
        quality, latency = self._limits(request)
        for_task = f" for {self.task} {task!r:.80}" if task is not None else ""
        within = f" within {latency:g} s" if latency is not None else ""
        return f"quality {quality:g}{for_task}{within}"

    def _why_not(self, name: str, task: str | None, request: RouteRequest) -> str | None:
        required, latency = self._limits(request)
        profile = self.profiles.get(name)
        quality = None if profile is None else profile.quality_of(task)
        if profile is None or quality is None:
            return "quality not known"
        if quality < required:
            return f"quality {quality:g}"
        if latency is None:
            return None
        if profile.latency_seconds is None:
            return "latency not known"
        return f"takes {profile.latency_seconds:g} s" if profile.latency_seconds > latency else None
