"""Policies that decide whether an answer of the cache is given: what every policy has, and the two that learn nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmthrift_core.errors import ConfigurationError

Verdict = Literal["hit", "shadow", "miss"]


class Decision(NamedTuple):
    """What a policy says of a candidate, and why.

    Attributes:
        wrong: the estimated probability that the answer is wrong; None where it is not known.
        propensity: the probability with which a hit is checked rather than given.
    """

    verdict: Verdict
    wrong: float | None
    propensity: float
    reason: str


class Observation(NamedTuple):
    """A candidate whose answer became known. `weight`: for how many questions it stands."""

    features: tuple[float, ...]
    right: bool
    weight: float
    was_checked: bool


class Experience(NamedTuple):
    """What policies did.

    Attributes:
        requests, hits, shadow_checks: counts.
        expected_wrong: wrong answers to expect among the hits; NaN where that is not known.
        risk: the highest risk that is taken now; None where none is, or risk is not known.
    """

    requests: int = 0
    hits: int = 0
    shadow_checks: int = 0
    expected_wrong: float = 0.0
    risk: float | None = None


@dataclass(frozen=True, slots=True)
class Belief:
    """What a policy believes of itself, over all processes and runs that share its database.

    Attributes:
        requests, hits, shadow_checks, observations: counts.
        would_have_served: right answers that were in the cache and were not given, because there was too little evidence, or in
            observe mode.
        expected_wrong: wrong hits that are expected among the hits.
        error_rate: expected wrong hits per request. error_rate_high: at the policy's confidence.
        is_learning: there is not enough evidence yet.
        text: all of that in a line.
    """

    requests: int
    hits: int
    shadow_checks: int
    observations: int
    would_have_served: int
    expected_wrong: float
    error_rate: float
    error_rate_high: float
    is_learning: bool
    text: str


class DecisionPolicy:
    """When an answer is given. A policy of your own is a subclass that gives `judge`. Safe to share between threads.

    >>> from llmthrift_core.cache import Decision, DecisionPolicy
    >>> class Never(DecisionPolicy):
    ...     def judge(self, features, similarity):
    ...         return Decision("miss", None, 0.0, "nothing is similar enough for us")
    >>> Never().decide((), 0.99).verdict
    'miss'
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._hits = self._shadow_checks = self._observations = 0
        self._others = Experience()

    def judge(self, features: Sequence[float], similarity: float) -> Decision:
        """Whether an answer would be given. Counts as nothing.

        Args:
            features: of the candidate, from `features.candidate_of`.
            similarity: how sure it is that the question is the one whose answer it is, as `SemanticHit.similarity`.
        """
        raise NotImplementedError

    def decide(self, features: Sequence[float], similarity: float, *, may_check: bool = True) -> Decision:
        """As `judge`, for a question that is asked.

        Args:
            may_check: whether a hit may be passed over, so that the model's answer checks it.
        """
        decision = self.judge(features, similarity)
        with self._lock:
            self._count(decision.verdict)
        return decision

    def pass_over(self) -> None:
        """A request for which there was nothing to decide: nothing is near, or an equal question was answered."""
        with self._lock:
            self._count("miss")

    def observe(self, observation: Observation) -> None:
        """A candidate's answer became known."""
        with self._lock:
            self._observations += 1

    def experience(self) -> Experience:
        """What this object decided itself."""
        with self._lock:
            return Experience(self._requests, self._hits, self._shadow_checks, math.nan)

    def recall(self, others: Experience) -> None:
        """What other processes and earlier runs decided, in all."""
        with self._lock:
            self._others = others

    def belief(self) -> Belief:
        """Counts; errors are not known."""
        with self._lock:
            requests, hits = self._requests + self._others.requests, self._hits + self._others.hits
            checks = self._shadow_checks + self._others.shadow_checks
            text = f"{hits} of {requests} answered"
            return Belief(requests, hits, checks, self._observations, 0, math.nan, math.nan, math.nan, is_learning=False, text=text)

    def after_fork(self) -> None:
        """The parent's lock may have been held."""
        self._lock = threading.Lock()

    def _count(self, verdict: Verdict) -> None:
        self._requests += 1
        self._hits += verdict == "hit"
        self._shadow_checks += verdict == "shadow"


class FixedThreshold(DecisionPolicy):
    """Answers whose question is at least so similar (`SemanticHit.similarity`). It promises nothing about errors.

    At 0.75, with the built-in embedder, it serves seven in ten of the questions that others put in other words, and less than one in a
    hundred that only look the same.

    >>> from llmthrift_core.cache import FixedThreshold
    >>> FixedThreshold(0.95).decide((), 0.96).verdict
    'hit'
    """

    def __init__(self, threshold: float = 0.95) -> None:
        super().__init__()
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            raise ConfigurationError(f"threshold must be above 0 and up to 1, not {threshold!r}")
        self.threshold = float(threshold)

    def judge(self, features: Sequence[float], similarity: float) -> Decision:
        """Hit or miss."""
        is_hit = similarity >= self.threshold
        sign = "at least" if is_hit else "below"
        return Decision("hit" if is_hit else "miss", None, 0.0, f"similarity {similarity:.3f} is {sign} {self.threshold:g}")


class ExactOnly(DecisionPolicy):
    """Answers nothing by meaning."""

    def judge(self, features: Sequence[float], similarity: float) -> Decision:
        """Always a miss."""
        return Decision("miss", None, 0.0, "only equal questions are answered")
