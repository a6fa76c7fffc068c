"""`FollowedRouter`: a policy that is always the active version of a router."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Self

from llmthrift_core.background.repeating import Repeating
from llmthrift_core.errors import LLMThriftError
from llmthrift_core.routing.policies.rules import PolicyWrapper
from llmthrift_core.routing.policy import RoutingPolicy
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers
from llmthrift_core.settings import is_disabled

logger = logging.getLogger("llmthrift")

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


class FollowedRouter(PolicyWrapper):
    """A policy that is always the active version of a router. Made by `thrift.routers.follow`.

    A background thread looks for another active version, and puts it in the place of the one in force at once. A call keeps the version
    that it began with: its cache key, its decision, its review and its `config_version` are of one version. Answers that were cached under
    a version are found again when it comes back. A version that cannot be read is logged once, and the one in force stays; so it does
    while the database cannot be read.

    Args:
        name: of the router.
        active: the number of the active version; None where there is none.
        load: makes a version's policy from its number, with the hash of what was learned.
        upkeep: done in the same thread after each look, with an event that is set when it should stop.
        check_seconds: from one look to the next.
    """

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
        self.name = name
        self._active = active
        self._load = load
        self._upkeep = upkeep
        self._errors = 0
        self._last_error: str | None = None
        self._repeating = Repeating(self._check, seconds=check_seconds, name=f"llmthrift-router-{name}")
        if is_disabled():  # a pass-through touches no database
            self._repeating.close()
        else:
            self.look()
            self._repeating.start()

    def in_force(self) -> RoutingPolicy:
        """The version of calls that begin now."""
        self._repeating.start()  # a forked child has no thread yet
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

    def look(self) -> bool:
        """Look for another active version now. True where one was put in force. Never raises."""
        number: int | None = None
        try:
            number = self._active()
            if number is None or number == self.number:
                self._last_error = None
                return False
            policy, learned = self._load(number)
        except LLMThriftError as error:
            self._note(number, error)
            return False
        before, self.policy = self.number, VersionInForce(number, f"{self.name}@{number}-{learned}", policy)
        self._last_error = None
        logger.info("router %r: version %d is in force%s", self.name, number, "" if before is None else f", instead of {before}")
        return True

    def health(self) -> dict[str, Any]:
        """The version in force, how often it could not be looked for or read, and why not the last time."""
        return {"router": self.name, "version": self.number, "errors": self._errors, "last_error": self._last_error}

    def alerts(self) -> list[str]:
        """Says that the active version cannot be looked for or used, and why."""
        return [] if self._last_error is None else [f"router {self.name!r}: {self._last_error}"]

    def close(self) -> None:
        """Stop looking. The version in force stays."""
        self._repeating.close()

    def __copy__(self) -> Self:
        return self

    def _check(self, stopping: threading.Event) -> None:
        self.look()
        for each in self._upkeep:
            if not stopping.is_set():
                each(stopping)
        if self._upkeep:
            self.look()  # what was activated or rolled back is in force here at once

    def _note(self, number: int | None, error: LLMThriftError) -> None:
        self._errors += 1
        said = str(error)
        if said == self._last_error:
            return
        self._last_error = said
        kept = "the strongest tier is used" if self.number is None else f"version {self.number} stays in force"
        what = "cannot be looked for" if number is None else f"{number} cannot be used"
        logger.error("router %r: its active version %s, and %s: %s", self.name, what, kept, said)
