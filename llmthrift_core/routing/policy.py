"""What a policy is, and how users' own functions become one."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.decision import Review, RouteDecision
from llmthrift_core.routing.request import RouteRequest
from llmthrift_core.routing.tiers import Tiers

logger = logging.getLogger("llmthrift")


@runtime_checkable
class RoutingPolicy(Protocol):
    """Decides the tier of a request. `version` is a stable hash of the configuration."""

    @property
    def version(self) -> str: ...

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision: ...


def in_force(policy: RoutingPolicy) -> RoutingPolicy:
    """The policy as one call uses it from its cache key to its last review, whatever takes its place meanwhile."""
    pinned: Callable[[], RoutingPolicy] | None = getattr(policy, "in_force", None)
    return policy if pinned is None else pinned()


def waits(policy: object) -> bool:
    """Whether a policy may wait for a model before it decides: async doors then ask it off the event loop."""
    return bool(getattr(policy, "waits", False))


def within_bounds(policy: object, request: RouteRequest, tiers: Tiers) -> Tiers:
    """The tiers that the policy lets a request use at all, for its first choice as for fallbacks and downgrades; all of most policies.

    Raises:
        NoModelQualifiesError: none.
    """
    allowed: Callable[[RouteRequest, Tiers], Tiers] | None = getattr(policy, "allowed", None)
    return tiers if allowed is None else allowed(request, tiers)


def review(
    policy: object, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
) -> Review | None:
    """What a policy thinks of an answer; None where it does not look at it, as most policies do not: it is kept.

    Args:
        context: what is known of the answer beside its text; see `AnswerContext`. It may ask models: never on an event loop.
    """
    reviewed: Callable[..., Review | None] | None = getattr(policy, "review", None)
    return None if reviewed is None else reviewed(request, tier, answer, tiers, context)


def reviews_wait(policy: object) -> bool:
    """Whether a policy may wait for a model when it reviews an answer: async doors then give it a thread of its own."""
    return bool(getattr(policy, "reviews_wait", False))


def holds_streams(policy: object) -> bool:
    """Whether a stream is given to its reader only when its answer is accepted."""
    return bool(getattr(policy, "holds_streams", False))


class CallablePolicy:
    """A function from a RouteRequest to a tier's name, as a policy.

    What the function gets wrong (an exception, a name that is no allowed tier) sends the request to the strongest allowed tier, and is
    logged once.
    """

    def __init__(self, choose: Callable[[RouteRequest], str]) -> None:
        if inspect.iscoroutinefunction(choose):
            raise ConfigurationError("a routing function must not be async: it decides before any call is made")
        self._choose = choose
        self._name = getattr(choose, "__qualname__", type(choose).__name__)
        self._warned = False

    @property
    def version(self) -> str:
        """Hash of the function's qualified name."""
        return hashlib.blake2b(f"{getattr(self._choose, '__module__', '')}.{self._name}".encode(), digest_size=6).hexdigest()

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The function's choice, if it is allowed."""
        try:
            chosen = self._choose(request)
            problem = None if chosen in tiers.names else f"chose none of {', '.join(tiers.names)}"
        except Exception as error:
            chosen, problem = "", f"failed with {type(error).__name__}"
        if problem is None:
            return RouteDecision(chosen, f"{self._name} chose it")
        if not self._warned:
            self._warned = True
            logger.warning("routing function %s %s; the strongest allowed tier is used", self._name, problem)
        return RouteDecision(tiers.names[-1], f"{self._name} {problem}")


def as_policy(given: Any) -> RoutingPolicy:
    """A policy from what a user may give: None (complexity), a policy, a rule or rules, a learned router, or a function.

    Raises:
        ConfigurationError: something else.
    """
    from llmthrift_core.routing.complexity import Complexity  # with the first router, not with the import of this package
    from llmthrift_core.routing.rules import Rule, Rules

    if given is None:
        return Complexity()
    if callable(to_policy := getattr(given, "to_policy", None)):  # a learned router, which decides for prompts, not for requests
        made: RoutingPolicy = to_policy()
        return made
    if isinstance(given, RoutingPolicy):
        return given
    if isinstance(given, Rule):
        return Rules([given], default=Complexity())
    if isinstance(given, list | tuple) and given and all(isinstance(rule, Rule) for rule in given):
        return Rules(given, default=Complexity())
    if callable(given):
        return CallablePolicy(given)
    raise ConfigurationError(
        f"policy must be None, a policy, rules, a learned router, or a function of a RouteRequest, not {type(given).__name__}"
    )
