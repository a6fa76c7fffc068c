"""The interface of a policy, and policies made of users' own functions."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from llmthrift_core.routing.types import Review, RouteDecision, RouteRequest, Tiers


class RoutingPolicy(ABC):
    """Decides the tier of a request.

    What else a policy may be able to do has its default here, and is handed on by `PolicyWrapper`: a new ability is added in these two
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

    @property
    def decides_each_step(self) -> bool:
        """Whether it is asked at each step of an agent's run, where LlamaIndex's router else keeps the run's model."""
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


def private_texts(request: RouteRequest) -> tuple[str, ...]:
    """What a policy knows of a prompt, and must not tell a log."""
    return (request.question, request.system, *(value for value in request.metadata.values() if isinstance(value, str)))
