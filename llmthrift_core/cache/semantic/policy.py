"""When an answer of the cache is given: with a bound on errors that is learned and kept, or above a fixed similarity.

`ErrorBound` decides by the risk of an answer, and how much risk it may take it learns from the questions that are asked: the largest
share of them is answered whose expected errors, with those that were taken before, stay within the bound.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np

from llmthrift_core.cache.semantic.features import WIDTH
from llmthrift_core.cache.semantic.risk import Floats, RiskModel
from llmthrift_core.errors import ConfigurationError

Verdict = Literal["hit", "shadow", "miss"]

_EVIDENCE: Final = 5_000
_RECENT: Final = 1_500
_ENOUGH: Final = 100
_REFIT_GROWTH: Final = 1.05
_TUNE_EVERY: Final = 50
_HEAVIEST: Final = 5.0
_PRIOR_ERRORS: Final = 10.0  # with how many errors the estimate of errors is trusted before shadow checks speak
_LEAST_CORRECTION: Final = 0.9
_MOST_RISK: Final = 0.3
# Both per standard error of the confidence: how far the bound is kept away from, and how much risk is raised where it is uncertain.
_MARGIN: Final = 0.15
_CAUTION: Final = 0.3
_NOTHING: Final = (math.nan,) * WIDTH


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
    """A candidate whose answer became known."""

    features: tuple[float, ...]
    right: bool
    weight: float
    was_checked: bool
    wrong: float | None


@dataclass(frozen=True, slots=True)
class Belief:
    """What a policy believes of itself.

    Attributes:
        requests, hits, shadow_checks, observations: counts.
        would_have_served: hits that a cold policy, or observe mode, did not give.
        expected_wrong: wrong hits that are expected among the hits.
        error_rate: expected wrong hits per request. error_rate_high: at the policy's confidence.
        is_learning: there is not enough evidence yet.
        text: all of that in a line.
    """

    requests: int
    hits: int
    shadow_checks: int
    observations: int
    expected_wrong: float
    error_rate: float
    error_rate_high: float
    is_learning: bool
    text: str


class DecisionPolicy(Protocol):
    """When an answer is given. Safe to share between threads."""

    def decide(self, features: Sequence[float], similarity: float) -> Decision:
        """Whether the answer is given. Counts as a request."""
        ...

    def judge(self, features: Sequence[float], similarity: float) -> Decision:
        """What `decide` would say. Counts as nothing."""
        ...

    def pass_over(self) -> None:
        """A request for which there was nothing to decide."""
        ...

    def observe(self, observation: Observation) -> None: ...

    def belief(self) -> Belief: ...


class FixedThreshold:
    """Answers whose nearest question is at least so similar (cosine). It promises nothing about errors.

    >>> from llmthrift_core.cache import FixedThreshold
    >>> FixedThreshold(0.95).decide((), 0.96).verdict
    'hit'
    """

    def __init__(self, threshold: float = 0.95) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            raise ConfigurationError(f"threshold must be above 0 and up to 1, not {threshold!r}")
        self.threshold = float(threshold)
        self._counts = _Counts()

    def decide(self, features: Sequence[float], similarity: float) -> Decision:
        """Hit or miss."""
        decision = self.judge(features, similarity)
        self._counts.add(hit=decision.verdict == "hit")
        return decision

    def judge(self, features: Sequence[float], similarity: float) -> Decision:
        """As `decide`, without counting."""
        is_hit = similarity >= self.threshold
        sign = "at least" if is_hit else "below"
        return Decision("hit" if is_hit else "miss", None, 0.0, f"similarity {similarity:.3f} is {sign} {self.threshold:g}")

    def pass_over(self) -> None:
        """A request for which there was nothing to decide."""
        self._counts.add(hit=False)

    def observe(self, observation: Observation) -> None:
        """Nothing is learned; the evidence is counted."""
        self._counts.observations += 1

    def belief(self) -> Belief:
        """Counts; errors are not known."""
        return self._counts.belief(float("nan"), float("nan"), is_learning=False, text=f"fixed threshold {self.threshold:g}")


class ExactOnly:
    """Answers nothing by meaning."""

    def decide(self, features: Sequence[float], similarity: float) -> Decision:
        """Always a miss."""
        return Decision("miss", None, 0.0, "only equal questions are answered")

    judge = decide

    def pass_over(self) -> None:
        """Nothing is counted."""

    def observe(self, observation: Observation) -> None:
        """Nothing is learned."""

    def belief(self) -> Belief:
        """Nothing."""
        return _Counts().belief(0.0, 0.0, is_learning=False, text="exact only")


class ErrorBound:
    """Wrong answers stay below a share of all requests (the definition of vCache, arXiv 2502.03771).

    It learns from every miss, whose answer shows whether the cache's would have been right, and from shadow checks: hits that are
    passed over so that the model answers. It begins strict, checks every fourth of its first hits, and opens as evidence arrives.
    The estimate rests on two assumptions: that questions come from much the same mixture as lately, and that `same_answer` can tell.

    Args:
        max_error_rate: wrong answers from the cache per request.
        confidence: with which the bound is to hold: how many standard errors the estimate of risk is raised by.
        shadow_rate: the share of hits that are checked, once some sixty were.
        seed: for the choice of what is checked; None is different in every process.

    Raises:
        ConfigurationError: a value that cannot be used.
    """

    def __init__(
        self, max_error_rate: float = 0.01, confidence: float = 0.95, *, shadow_rate: float = 0.02, seed: int | None = None
    ) -> None:
        for name, value, low, high in (
            ("max_error_rate", max_error_rate, 0.0, 0.5),
            ("confidence", confidence, 0.5, 0.9999),
            ("shadow_rate", shadow_rate, 0.001, 0.5),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not low < value <= high:
                raise ConfigurationError(f"{name} must be above {low:g} and up to {high:g}, not {value!r}")
        self.max_error_rate = float(max_error_rate)
        self.confidence = float(confidence)
        self.shadow_rate = float(shadow_rate)
        self._chance = random.Random(seed)  # noqa: S311 - chooses what is checked, and guards nothing
        self._lock = threading.Lock()
        self._counts = _Counts()
        self._evidence = _Ring(_EVIDENCE, WIDTH + 2)  # features, right, weight
        self._checked = _Ring(_EVIDENCE, WIDTH + 1)  # features, right
        self._served = _Ring(_EVIDENCE, WIDTH)
        self._asked = _Ring(_RECENT, WIDTH)  # NaN where there was nothing to decide
        self._model: RiskModel | None = None
        self._fitted_with = 0
        self._tuned_at = 0
        self._threshold = 0.0
        self._correction = 1.0
        self._expected_wrong = 0.0

    def decide(self, features: Sequence[float], similarity: float) -> Decision:
        """Hit, shadow check or miss."""
        with self._lock:
            self._asked.add(features)
            if self._model is not None and len(self._asked) >= _ENOUGH and self._counts.requests - self._tuned_at >= _TUNE_EVERY:
                self._tune(self._model)
            decision = self._judge(features)
            wrong = decision.wrong
            if decision.verdict == "miss" or wrong is None:
                self._counts.add(hit=False)
                return decision
            propensity = max(self.shadow_rate, min(0.25, 60 / (self._counts.would_serve + 1)))
            if self._chance.random() < propensity:
                self._counts.add(hit=False, shadow=True)
                return Decision("shadow", wrong, propensity, f"risk {wrong:.3f}; the model is asked to check it")
            self._served.add(features)
            self._counts.add(hit=True)
            return decision._replace(propensity=propensity)

    def judge(self, features: Sequence[float], similarity: float) -> Decision:
        """As `decide`, without counting, and without shadow checks."""
        with self._lock:
            return self._judge(features)

    def pass_over(self) -> None:
        """A request for which there was nothing to decide."""
        with self._lock:
            self._asked.add(_NOTHING)
            self._counts.add(hit=False)

    def observe(self, observation: Observation) -> None:
        """A candidate's answer became known."""
        with self._lock:
            self._counts.observations += 1
            self._evidence.add((*observation.features, observation.right, min(observation.weight, _HEAVIEST)))
            if observation.was_checked:
                self._checked.add((*observation.features, observation.right))
            if len(self._evidence) >= _ENOUGH and self._counts.observations >= self._fitted_with * _REFIT_GROWTH + 5:
                self._refit()

    def belief(self) -> Belief:
        """What is expected of the hits so far."""
        with self._lock:
            counts = self._counts
            requests = max(counts.requests, 1)
            errors = self._errors() if self._model is not None else 0.0
            # The interval of a Poisson count with that expectation, and what the shadow checks leave open.
            high = errors + _normal_quantile(self.confidence) * math.sqrt(errors + 1)
            is_learning = self._model is None
            text = (
                self._learning()
                if is_learning
                else f"{counts.hits} of {counts.requests} answered, about {errors:.1f} of them wrong "
                f"({errors / requests:.2%}, at most {high / requests:.2%}); {counts.shadow_checks} checked"
            )
            return counts.belief(errors, high, is_learning=is_learning, text=text)

    # --- steps, under the lock ---

    def _judge(self, features: Sequence[float]) -> Decision:
        if self._model is None:
            return Decision("miss", None, 0.0, self._learning())
        wrong = float(self._model.wrong(np.asarray(features))[0])
        if wrong > self._threshold:
            return Decision("miss", wrong, 0.0, f"risk {wrong:.3f} is above {self._threshold:.3f}")
        return Decision("hit", wrong, 0.0, f"risk {wrong:.3f} is within {self._threshold:.3f}")

    def _learning(self) -> str:
        return f"learning: {len(self._evidence)} of about {2 * _ENOUGH} observations"

    def _refit(self) -> None:
        known = self._evidence.rows
        right = known[:, WIDTH]
        self._fitted_with = self._counts.observations
        if 0 < right.sum() < len(right):
            caution = _CAUTION * _normal_quantile(self.confidence)
            self._model = RiskModel(known[:, :WIDTH], right, known[:, WIDTH + 1], caution=caution)

    def _tune(self, model: RiskModel) -> None:
        """The highest risk to take, so that the errors of as many requests again, with those so far, stay within the bound."""
        self._tuned_at = self._counts.requests
        checked = self._checked.rows
        expected, found = float(model.wrong(checked[:, :WIDTH]).sum()), float((1 - checked[:, WIDTH]).sum())
        self._correction = max((_PRIOR_ERRORS + found) / (_PRIOR_ERRORS + expected), _LEAST_CORRECTION)
        bound = self.max_error_rate * (1 - _MARGIN * _normal_quantile(self.confidence))
        allowed = 2 * bound - self._errors() / max(self._counts.requests, 1)
        asked = self._asked.rows
        risks: Floats = np.sort(model.wrong(asked[~np.isnan(asked[:, 0])]))
        rates = np.cumsum(risks * self._correction) / len(asked)
        within = int(np.searchsorted(rates, allowed))
        self._threshold = min(float(risks[within - 1]), _MOST_RISK) if within > 0 else 0.0

    def _errors(self) -> float:
        """The wrong answers to expect among the hits so far: those remembered, and as many again as were forgotten."""
        if not len(self._served) or self._model is None:
            return 0.0
        return float(self._model.wrong(self._served.rows).sum()) * self._correction * self._counts.hits / len(self._served)


class _Ring:
    """The last rows of numbers, in no order."""

    def __init__(self, most: int, width: int) -> None:
        self._rows = np.empty((most, width))
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, len(self._rows))

    def add(self, row: Sequence[float]) -> None:
        self._rows[self._added % len(self._rows)] = row
        self._added += 1

    @property
    def rows(self) -> Floats:
        return self._rows[: len(self)]


class _Counts:
    def __init__(self) -> None:
        self.requests = self.hits = self.shadow_checks = self.observations = 0

    @property
    def would_serve(self) -> int:
        return self.hits + self.shadow_checks

    def add(self, *, hit: bool, shadow: bool = False) -> None:
        self.requests += 1
        self.hits += hit
        self.shadow_checks += shadow

    def belief(self, errors: float, high: float, *, is_learning: bool, text: str) -> Belief:
        requests = max(self.requests, 1)
        return Belief(
            self.requests,
            self.hits,
            self.shadow_checks,
            self.observations,
            errors,
            errors / requests,
            high / requests,
            is_learning,
            text,
        )


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


def as_policy(given: Any) -> DecisionPolicy:
    """A policy, or what stands for one: a number is a fixed threshold, None the bound of 1%.

    Raises:
        ConfigurationError: anything else.
    """
    if given is None:
        return ErrorBound()
    if isinstance(given, int | float) and not isinstance(given, bool):
        return FixedThreshold(given)
    if all(callable(getattr(given, name, None)) for name in ("decide", "judge", "pass_over", "observe", "belief")):
        policy: DecisionPolicy = given
        return policy
    raise ConfigurationError(
        f"policy must be ErrorBound(...), FixedThreshold(...) or an object with decide, observe and belief, not {given!r}"
    )
