"""`FollowedRouter`: a policy that is always the active version of a router."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Self

from llmthrift_core.background.following import Following
from llmthrift_core.routing.policies.rules import PolicyWrapper
from llmthrift_core.routing.policy import RoutingPolicy
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers

Upkeep = Callable[[threading.Event], None]


class VersionInForce(PolicyWrapper):
    """One version of a router, as the policy of the calls that begin while it is in force. It never changes.

    Args:
        number: of the version.
        version: "NAME@3-HASH", which is the calls' `config_version` and a part of their cache keys.
        policy: the router or the cascade that was saved.
    """

    def __init__(self, number: int, version: str, policy: RoutingPolicy) -> None:
        super().__init__(policy)
        self.number: Final = number
        self._version = version

    @property
    def version(self) -> str:
        return self._version


class NoVersionYet(RoutingPolicy):
    """Sends every request to the strongest allowed tier, until there is a version."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def version(self) -> str:
        """NAME@0."""
        return f"{self._name}@0"

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The strongest allowed tier."""
        return RouteDecision(tiers.names[-1], f"router {self._name!r} has no version yet; the strongest")


class FollowedRouter(Following, PolicyWrapper):
    """A policy that is always the active version of a router. Made by `thrift.routers.follow`.

    A call keeps the version that it began with: its cache key, its decision, its review and its `config_version` are of one version.
    Answers that were cached under a version are found again when it comes back.

    Args:
        name: of the router.
        active: the number of the active version; None where there is none.
        load: makes a version's policy from its number, with the hash of what was learned.
        upkeep: done in the same thread after each look, with an event that is set when it should stop.
        check_seconds: from one look to the next.
    """

    kind = "router"
    unless = "the strongest tier is used"

    def __init__(
        self,
        name: str,
        *,
        active: Callable[[], int | None],
        load: Callable[[int], tuple[RoutingPolicy, str]],
        upkeep: tuple[Upkeep, ...] = (),
        check_seconds: float = 30.0,
    ) -> None:
        super().__init__(NoVersionYet(name))
        self._load = load
        self._upkeep = upkeep
        self.follow(name, active, check_seconds=check_seconds)

    def in_force(self) -> RoutingPolicy:
        """The version of calls that begin now."""
        self.keep_following()
        return self.policy

    @property
    def number(self) -> int | None:
        """Of the version in force; None before the first."""
        found = self.policy
        return found.number if isinstance(found, VersionInForce) else None

    @property
    def version(self) -> str:
        """Of the version in force: "NAME@3-HASH", or "NAME@0" before the first."""
        return self.policy.version

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The decision of the version in force; before the first, the strongest allowed tier."""
        return self.in_force().decide(request, tiers)

    def use(self, number: int) -> None:
        """Put a version in force. Raises LLMThriftError where it cannot be read."""
        policy, learned = self._load(number)
        self.policy = VersionInForce(number, f"{self.name}@{number}-{learned}", policy)

    def __copy__(self) -> Self:
        return self

    def _check(self, stopping: threading.Event) -> None:
        super()._check(stopping)
        for each in self._upkeep:
            if not stopping.is_set():
                each(stopping)
        if self._upkeep:
            self.look()  # what was activated or rolled back is in force here at once
