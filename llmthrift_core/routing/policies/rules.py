"""Rules: named predicates with priorities. Predicates compose with `&`, `|` and `~`."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from llmthrift_core.background.failures import described
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, NoModelQualifiesError
from llmthrift_core.routing.policy import RoutingPolicy, fingerprint, private_texts
from llmthrift_core.routing.types import Review, RouteDecision, RouteRequest, Tiers

logger = logging.getLogger("llmthrift")


class PolicyWrapper(RoutingPolicy):
    """Does all that the policy inside does. Subclasses change what they are for, and say so in their `version`.

    Attributes:
        policy: the one inside: made of whatever a router takes as its policy.
    """

    def __init__(self, policy: Any) -> None:
        self.policy: RoutingPolicy = as_policy(policy)

    def in_force(self) -> RoutingPolicy:
        """With the inner policy as one call uses it. Copies share what they remember: it must not be replaced, only changed."""
        policy = self.policy.in_force()
        if policy is self.policy:
            return self
        pinned = copy(self)
        pinned.policy = policy
        return pinned

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        return self.policy.decide(request, tiers)

    @property
    def waits(self) -> bool:
        return self.policy.waits

    @property
    def decides_each_step(self) -> bool:
        return self.policy.decides_each_step

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        return self.policy.allowed(request, tiers)

    @property
    def reviews(self) -> bool:
        return self.policy.reviews

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        return self.policy.review(request, tier, answer, tiers, context)

    @property
    def reviews_wait(self) -> bool:
        return self.policy.reviews_wait

    @property
    def holds_streams(self) -> bool:
        return self.policy.holds_streams

    def _version_with(self, options: str) -> str:
        """The inner policy's version, followed by a hash of the options of this one."""
        return f"{self.policy.version}-{fingerprint(options)}"


class Predicate:
    """A named yes-or-no question about a request.

    >>> from llmthrift_core.routing import contains, has_tools
    >>> sql = contains("select", "join")
    >>> (sql & ~has_tools()).name
    "(contains 'select', 'join' and not has tools)"
    """

    __slots__ = ("_test", "name")

    def __init__(self, test: Callable[[RouteRequest], bool], name: str) -> None:
        self._test = test
        self.name = name

    def __call__(self, request: RouteRequest) -> bool:
        return bool(self._test(request))

    def __and__(self, other: Predicate) -> Predicate:
        return Predicate(lambda request: self(request) and other(request), f"({self.name} and {other.name})")

    def __or__(self, other: Predicate) -> Predicate:
        return Predicate(lambda request: self(request) or other(request), f"({self.name} or {other.name})")

    def __invert__(self) -> Predicate:
        return Predicate(lambda request: not self(request), f"not {self.name}")

    def __repr__(self) -> str:
        return f"Predicate({self.name})"


def contains(*words: str) -> Predicate:
    """The question contains any of these words, as whole words, in any case."""
    if not words:
        raise ConfigurationError("contains() needs at least one word")
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(re.escape(word) for word in words) + r")(?!\w)", re.IGNORECASE)
    return Predicate(lambda request: pattern.search(request.question) is not None, "contains " + ", ".join(map(repr, words)))


def matches(pattern: str) -> Predicate:
    """The question matches a regular expression somewhere."""
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ConfigurationError(f"not a regular expression: {pattern!r}: {error}") from None
    return Predicate(lambda request: compiled.search(request.question) is not None, f"matches {pattern!r}")


def longer_than(*, chars: int | None = None, words: int | None = None) -> Predicate:
    """The question is longer than so many characters or words."""
    if (chars is None) == (words is None):
        raise ConfigurationError("longer_than() takes either chars= or words=")
    if chars is not None:
        return Predicate(lambda request: len(request.question) > chars, f"longer than {chars} characters")
    most = words or 0
    return Predicate(lambda request: len(request.question.split(None, most + 1)) > most, f"longer than {words} words")


def has_tools() -> Predicate:
    """Tools are offered to the model."""
    return Predicate(lambda request: request.has_tools, "has tools")


def has_images() -> Predicate:
    """A message carries an image, a file or audio."""
    return Predicate(lambda request: request.has_images, "has images")


def structured_output() -> Predicate:
    """The answer must fit a schema."""
    return Predicate(lambda request: request.structured, "structured output")


def feature_is(*features: str) -> Predicate:
    """The call is made for one of these features."""
    return Predicate(lambda request: request.attribution.feature in features, "feature is " + " or ".join(map(repr, features)))


def user_in(*users: str) -> Predicate:
    """The call is made for one of these users."""
    return Predicate(lambda request: request.attribution.user in users, f"user in {counted(len(users), 'user')}")


def request_type_is(*types: str) -> Predicate:
    """The call's request type is one of these."""
    return Predicate(lambda request: request.attribution.request_type in types, "request type is " + " or ".join(map(repr, types)))


def tag_is(name: str, value: str) -> Predicate:
    """The call carries this tag."""
    return Predicate(lambda request: (name, value) in request.attribution.tags, f"tag {name} is {value!r}")


@dataclass(frozen=True, slots=True)
class Rule:
    """If `when` holds, use tier `use`.

    Attributes:
        name: shown in the reason of a decision.
        when: a Predicate, or any callable from a RouteRequest to bool.
        use: the tier.
        priority: higher is asked first; equal priorities in the order given.
    """

    name: str
    when: Callable[[RouteRequest], bool]
    use: str
    priority: int = 0


class Rules(PolicyWrapper):
    """Rules, asked by priority; `default` decides what no rule decides, and reviews and bounds what it decides.

    A rule that raises does not match; that is logged once. A rule whose tier the caller may not use is passed over.

    Args:
        rules: the rules.
        default: a tier, or whatever a router takes as its policy, such as `Complexity()`. None: the strongest allowed tier.

    Raises:
        ConfigurationError: two rules of one name, or a default that is none of these.
    """

    def __init__(self, rules: Iterable[Rule], default: Any = None) -> None:
        super().__init__(TierOtherwise(default) if default is None or isinstance(default, str) else default)
        self.rules = tuple(sorted(rules, key=lambda rule: -rule.priority))
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ConfigurationError(f"rule names must differ: {', '.join(sorted(names))}")
        self._parts = repr([(rule.name, _described(rule.when), rule.use, rule.priority) for rule in self.rules])
        self._failed: set[str] = set()

    @property
    def version(self) -> str:
        """The default's version, followed by a hash of the rules' names, conditions, tiers and priorities."""
        return self._version_with(self._parts)

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The tier of the first rule that matches, else the default's."""
        rule, rejected = self._matching(request, tiers)
        decision = self.policy.decide(request, tiers) if rule is None else RouteDecision(rule.use, f"rule {rule.name!r}")
        return replace(decision, rejected=rejected + decision.rejected) if rejected else decision

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        """All tiers for what a rule decides; else those within the default's bounds.

        Raises:
            NoModelQualifiesError: no rule matches, and the default's bounds leave none.
        """
        try:
            within = super().allowed(request, tiers)
        except NoModelQualifiesError:
            if self._matching(request, tiers)[0] is None:
                raise
            return tiers
        return within if within is tiers or self._matching(request, tiers)[0] is None else tiers

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        """What the default thinks of an answer to a request that it decided."""
        if self._matching(request, tiers)[0] is not None:
            return None
        return super().review(request, tier, answer, tiers, context)

    def _matching(self, request: RouteRequest, tiers: Tiers) -> tuple[Rule | None, tuple[tuple[str, str], ...]]:
        """The rule that decides, and the tiers of those that were passed over."""
        rejected: list[tuple[str, str]] = []
        for rule in self.rules:
            try:
                matched = rule.when(request)
            except Exception as error:
                if rule.name not in self._failed:
                    self._failed.add(rule.name)
                    why = described(error, private_texts(request))
                    logger.warning("routing rule %r failed and is passed over: %s", rule.name, why)
                continue
            if matched:
                if rule.use in tiers.names:
                    return rule, tuple(rejected)
                rejected.append((rule.use, f"rule {rule.name!r} asks for it, the caller's maximum tier forbids it"))
        return None, tuple(rejected)


class TierOtherwise(RoutingPolicy):
    """A tier for what no rule decides; the strongest allowed one where none is named, or the named one is not allowed."""

    def __init__(self, tier: str | None) -> None:
        self._tier = tier

    @property
    def version(self) -> str:
        return fingerprint(repr(self._tier))

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        if self._tier in tiers.names and self._tier is not None:
            return RouteDecision(self._tier, "no rule matched")
        return RouteDecision(tiers.names[-1], "no rule matched; the strongest allowed")


def _described(when: Callable[[RouteRequest], bool]) -> str:
    return (
        when.name
        if isinstance(when, Predicate)
        else f"{getattr(when, '__module__', '')}.{getattr(when, '__qualname__', type(when).__name__)}"
    )


class CallablePolicy(RoutingPolicy):
    """A function from a RouteRequest to a tier's name, as a policy.

    What the function gets wrong (an exception, a name that is no allowed tier) sends the request to the strongest allowed tier. Each kind
    of it is logged once, an exception with its message and its place.
    """

    def __init__(self, choose: Callable[[RouteRequest], str]) -> None:
        if inspect.iscoroutinefunction(choose):
            raise ConfigurationError("a routing function must not be async: it decides before any call is made")
        self._choose = choose
        self._name = getattr(choose, "__qualname__", type(choose).__name__)
        self._told: set[str] = set()

    @property
    def version(self) -> str:
        """Hash of the function's qualified name."""
        return fingerprint(f"{getattr(self._choose, '__module__', '')}.{self._name}")

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The function's choice, if it is allowed."""
        try:
            chosen = self._choose(request)
            problem = None if chosen in tiers.names else f"chose none of {', '.join(tiers.names)}"
            why = problem
        except Exception as error:
            chosen, problem = "", f"failed with {type(error).__name__}"
            why = f"failed: {described(error, private_texts(request))}"
        if problem is None:
            return RouteDecision(chosen, f"{self._name} chose it")
        if problem not in self._told:
            self._told.add(problem)
            logger.warning("routing function %s %s; the strongest allowed tier is used", self._name, why)
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
