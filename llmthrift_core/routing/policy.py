"""What a policy is, and how users' own functions become one."""

from __future__ import annotations

import hashlib
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.decision import Review, RouteDecision
from llmthrift_core.routing.request import RouteRequest
from llmthrift_core.routing.tiers import Tiers

logger = logging.getLogger("llmthrift")


class RoutingPolicy(ABC):
    """Decides the tier of a request.

    What else a policy may be able to do has its default here, and is handed on by `PolicyAround`: a new ability is added in these two
    places. An object that is no subclass but has `version` and `decide` is taken as a policy without further abilities.
    """

    @property
    @abstractmethod
    def version(self) -> str:
        """A stable hash of the configuration. It is a part of cache keys, and the calls' `config_version`."""

    @abstractmethod
    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The tier for a request, among those that `allowed` has left."""

    def in_force(self) -> RoutingPolicy:
        """The policy as one call uses it from its cache key to its last review, whatever takes its place meanwhile."""
        return self

    @property
    def waits(self) -> bool:
        """Whether `decide` may wait, for a model or a budget: async doors then ask it off the event loop."""
        return False

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        """The tiers that the policy lets a request use at all, for its first choice as for fallbacks and downgrades.

        Raises:
            NoModelQualifiesError: none.
        """
        return tiers

    @property
    def reviews(self) -> bool:
        """Whether the policy looks at answers."""
        return False

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        """What the policy thinks of an answer; None where it does not look at it: it is kept.

        Args:
            answer: the whole text.
            context: what is known of the answer beside its text; see `AnswerContext`. It may ask models: never on an event loop.
        """
        return None

    @property
    def reviews_wait(self) -> bool:
        """Whether `review` may wait for a model: async doors then give it a thread of its own."""
        return False

    @property
    def holds_streams(self) -> bool:
        """Whether a stream is given to its reader only when its answer is accepted."""
        return False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # what a policy remembers, such as sessions, is remembered once for all copies of a router


def fingerprint(options: str) -> str:
    """Twelve hexadecimal digits that stand for options in a policy's `version`."""
    return hashlib.blake2b(options.encode(), digest_size=6).hexdigest()


class CallablePolicy(RoutingPolicy):
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
        return fingerprint(f"{getattr(self._choose, '__module__', '')}.{self._name}")

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


class ObjectPolicy(RoutingPolicy):
    """An object with `version` and `decide`, as a policy.

    Raises:
        ConfigurationError: it has a further ability's name: only subclasses of `RoutingPolicy` have abilities.
    """

    def __init__(self, given: Any) -> None:
        further = [name for name in vars(RoutingPolicy) if not name.startswith("_") and name not in ("version", "decide")]
        if found := [name for name in further if hasattr(given, name)]:
            raise ConfigurationError(f"{type(given).__name__} has {', '.join(found)}: to be used, it must inherit from RoutingPolicy")
        self._given = given

    @property
    def version(self) -> str:
        """The object's."""
        version: str = self._given.version
        return version

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The object's decision."""
        decision: RouteDecision = self._given.decide(request, tiers)
        return decision


def as_policy(given: Any) -> RoutingPolicy:
    """A policy from what a user may give: None (complexity), a policy, an object with `version` and `decide`, a rule or rules, a learned
    router, a cascade, or a function.

    Raises:
        ConfigurationError: something else.
    """
    from llmthrift_core.routing.policies.complexity import Complexity  # with the first router, not with the import of this package
    from llmthrift_core.routing.policies.rules import Rule, Rules

    if given is None:
        return Complexity()
    if callable(to_policy := getattr(given, "to_policy", None)):  # a learned router, which decides for prompts, not for requests
        made: RoutingPolicy = to_policy()
        return made
    if isinstance(given, RoutingPolicy):
        return given
    if hasattr(given, "version") and callable(getattr(given, "decide", None)):
        return ObjectPolicy(given)
    if isinstance(given, Rule):
        return Rules([given], default=Complexity())
    if isinstance(given, list | tuple) and given and all(isinstance(rule, Rule) for rule in given):
        return Rules(given, default=Complexity())
    if callable(given):
        return CallablePolicy(given)
    raise ConfigurationError(
        f"policy must be None, a policy, rules, a learned router, or a function of a RouteRequest, not {type(given).__name__}"
    )
