"""`NeededTier`: how likely each tier is the cheapest one whose answer is good enough, as calibrated probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.routing.examples import Example, checked
from llmthrift_core.routing.policies.complexity import Complexity
from llmthrift_core.routing.policies.rules import as_policy
from llmthrift_core.routing.policy import RoutingPolicy, fingerprint
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers

FEWEST_EXAMPLES: Final = 20
"""Prompts without which no calibration is learned."""
_SPREAD: Final = 0.1
"""Of the score of `Complexity` around its thresholds, before anything was fitted."""
_CLIP: Final = 1e-4
_GOOD: Final = 0.5


@dataclass(frozen=True, slots=True)
class Needed:
    """Which tier a request needs.

    Attributes:
        decision: the policy's, which weighs prices too.
        probabilities: by tier, cheapest first, that it is the cheapest one whose answer is good enough. They sum to 1; of the last tier it
            includes that no answer is.
    """

    decision: RouteDecision
    probabilities: Mapping[str, float]

    @property
    def confidence(self) -> float:
        """The probability that the decision's tier is enough: that it, or a cheaper one, is the tier that is needed."""
        return min(1.0, dict(zip(self.probabilities, accumulate(self.probabilities.values()), strict=True))[self.decision.tier])


class NeededTier:
    """Makes probabilities of what a policy knows of a request.

    What a policy expects of each tier's answer is read as the probability that it is good enough, and a stronger tier as good enough where
    a weaker one is. The score of `Complexity` is read by its distance from the thresholds. Of a policy that knows neither, the decision
    is certain. Where a learned router cannot judge a request, all tiers are as likely. `fit` corrects all of them by answers that were
    judged (Platt's scaling, one for each border between two tiers), and what cannot be judged has the shares of all of these.

    Args:
        policy: whatever a router takes as its policy.
        tiers: their names, cheapest first; of a learned router and of a cascade, those of its models are known.

    Raises:
        ConfigurationError: fewer than two tiers, or two of one name.

    >>> from llmthrift_core.routing import Complexity, NeededTier, RouteRequest
    >>> needed = NeededTier(Complexity(), ["small", "large"])(RouteRequest("What is the capital of France?"))
    >>> needed.decision.tier, needed.probabilities["small"] > 0.9
    ('small', True)
    """

    def __init__(self, policy: Any, tiers: Sequence[str] | None = None) -> None:
        self.policy: RoutingPolicy = as_policy(policy)
        found = tuple(tiers) if tiers is not None else models_of(policy)
        if isinstance(tiers, str) or len(found) < 2 or len(set(found)) < len(found):
            raise ConfigurationError(f"tiers must be two or more different names, cheapest first, not {tiers!r}")
        self.tiers = Tiers(found)
        self._scalings: tuple[tuple[float, float], ...] | None = None
        self._usual = tuple((place + 1) / len(found) for place in range(len(found) - 1))

    @property
    def fitted(self) -> bool:
        """Whether the probabilities were calibrated."""
        return self._scalings is not None

    @property
    def version(self) -> str:
        """The policy's version, followed by a hash of what was calibrated."""
        return (
            self.policy.version if self._scalings is None else f"{self.policy.version}-{fingerprint(repr((self._scalings, self._usual)))}"
        )

    def __call__(self, request: RouteRequest, allowed: Sequence[str] | None = None) -> Needed:
        """The decision and the probabilities.

        Args:
            allowed: the tiers to choose from; None is all. What a tier that is left out would have been enough for, the next stronger one
                of them is; the strongest, where there is none.

        Raises:
            ConfigurationError: a name that is no tier.
            NoModelQualifiesError: the policy refuses.
        """
        names = self.tiers.names
        if unknown := [name for name in allowed or () if name not in names]:
            raise ConfigurationError(f"no such tier: {', '.join(unknown)}; there are {', '.join(names)}")
        open_to = self.tiers
        if allowed is not None and len(left := tuple(name for name in names if name in allowed)) < len(names):
            open_to = Tiers(left)
        policy = self.policy.in_force()
        decision = policy.decide(request, open_to)
        known = decision if open_to is self.tiers else policy.decide(request, self.tiers)
        enough = self._enough(policy, known)
        found, before = dict[str, float](), 0.0
        for name, share in zip(names, enough, strict=True):
            if name in open_to.names:
                found[name], before = share - before, share
        found[open_to.names[-1]] += 1.0 - before
        return Needed(decision, found)

    def fit(self, examples: Iterable[Example], *, good: float = _GOOD) -> NeededTier:
        """Learn how far the probabilities can be trusted, instead of what was learned before.

        Learned from are prompts of which every tier's answer was judged. A learned router must not have seen them. With fewer than 20,
        nothing is learned.

        Args:
            good: the quality from which an answer is good enough.

        Raises:
            ConfigurationError: an example cannot be used.
            MissingExtraError: scikit-learn is not installed.
        """
        judged = qualities_by_prompt(examples, self.tiers.names)
        if len(judged) < FEWEST_EXAMPLES:
            self._scalings = None
            return self
        policy = self.policy.in_force()
        raw, needed = list[tuple[float, ...] | None](), list[int]()
        for prompt, site, qualities in judged:
            request = RouteRequest(prompt, input_chars=len(prompt), attribution=Attribution(call_site=site))
            raw.append(_raw(policy, policy.decide(request, self.tiers), self.tiers))
            needed.append(place_needed(qualities, good))
        borders = range(len(self.tiers.names) - 1)
        told = [(shares, place) for shares, place in zip(raw, needed, strict=True) if shares is not None]
        self._scalings = tuple(_scaling([(shares[border], place <= border) for shares, place in told]) for border in borders)
        self._usual = tuple((sum(place <= border for place in needed) + 1) / (len(needed) + 2) for border in borders)
        return self

    def _enough(self, policy: RoutingPolicy, decision: RouteDecision) -> tuple[float, ...]:
        """By tier, the probability that it is enough; rising, and 1 of the last."""
        raw = _raw(policy, decision, self.tiers)
        if raw is None:
            raw = self._usual
        elif self._scalings is not None:
            raw = tuple(_logistic(slope * _logit(share) + base) for share, (slope, base) in zip(raw, self._scalings, strict=True))
        return (*accumulate(raw, max), 1.0)


def qualities_by_prompt(examples: Iterable[Example], tiers: Sequence[str]) -> list[tuple[str, str | None, list[float]]]:
    """The prompts of which every tier's answer was judged, each with its call site and the qualities in the order of the tiers.

    Raises:
        ConfigurationError: an example cannot be used.
    """
    by_prompt: dict[tuple[str, str | None], dict[str, float]] = {}
    for example in checked(examples):
        if example.counts is None:
            by_prompt.setdefault((example.prompt, example.call_site), {})[example.model] = float(example.quality)
    return [
        (prompt, site, [found[name] for name in tiers])
        for (prompt, site), found in by_prompt.items()
        if all(name in found for name in tiers)
    ]


def place_needed(qualities: Sequence[float], good: float) -> int:
    """The place of the first tier whose answer is good enough; of the last one where none is."""
    return next((place for place, quality in enumerate(qualities) if quality >= good), len(qualities) - 1)


def models_of(policy: Any) -> tuple[str, ...]:
    """The models of a learned router or of a cascade, cheapest first; none of other policies."""
    for holder in (policy, getattr(policy, "router", None), getattr(policy, "cascade", None)):
        models = getattr(holder, "models", None)
        if isinstance(models, tuple) and models:
            prices = getattr(holder, "prices", None)
            return models if prices is None else tuple(sorted(models, key=prices.blended))
    return ()


def _raw(policy: RoutingPolicy, decision: RouteDecision, tiers: Tiers) -> tuple[float, ...] | None:
    """By tier but the last, what the policy says of the probability that it is enough; None where it cannot judge."""
    names = tiers.names[:-1]
    if any(name in decision.qualities for name in names):
        return tuple(accumulate((decision.qualities.get(name, 0.0) for name in names), max))
    if isinstance(policy, Complexity) and decision.score is not None:
        return tuple(_logistic((limit - decision.score) / _SPREAD) for limit in policy.limits(len(tiers.names)))
    if getattr(policy, "router", None) is not None:  # a learned router that abstained
        return None
    place = tiers.names.index(decision.tier)
    return tuple(float(place <= border) for border in range(len(names)))


def _scaling(told: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """The slope and the base that turn what is said into what is found."""
    enough = [found for _, found in told]
    usual = 0.0, _logit((sum(enough) + 1) / (len(enough) + 2))  # Laplace's rule
    if sum(enough) in (0, len(enough)):  # nothing to tell apart
        return usual
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError("routing", "scikit-learn") from None
    fitted = LogisticRegression().fit([[_logit(share)] for share, _ in told], enough)
    slope = float(fitted.coef_[0][0])
    return (slope, float(fitted.intercept_[0])) if slope > 0 else usual


def _logit(share: float) -> float:
    clipped = min(max(share, _CLIP), 1 - _CLIP)
    return math.log(clipped / (1 - clipped))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
