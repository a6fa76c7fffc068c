"""`ErrorBound`: answers are given by their risk, and how much risk may be taken is learned from the questions that are asked.

The largest share of them is answered whose expected errors, with those that were taken before, stay within the bound.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from llmthrift_core.cache.semantic.features import WIDTH
from llmthrift_core.cache.semantic.policy import Belief, Decision, DecisionPolicy, Experience, FixedThreshold, Observation
from llmthrift_core.cache.semantic.risk import Floats, RiskModel
from llmthrift_core.errors import ConfigurationError

REMEMBERED: Final = 5_000  # pieces of evidence
_RECENT: Final = 1_500
_ENOUGH: Final = 100
_REFIT_GROWTH: Final = 1.05
_TUNE_EVERY: Final = 25
_HEAVIEST: Final = 5.0
_FIRST_CHECKS: Final = 20
_MOST_CHECKED: Final = 0.25
_PRIOR_ERRORS: Final = 10.0  # with how many errors the estimate of errors is trusted before answers speak
_FORETOLD: Final = 400
_RESTATED: Final = 5_000  # hits
_SINCE_A_SHIFT: Final = 200  # hits
_LATEST: Final = (25, 50, 100)
_SURPRISE: Final = 2.0  # standard errors
_NEARBY: Final = 3.0  # times the risk that is taken: so far above it the answers of misses say whether the estimates are too low
_LEAST_CORRECTION: Final = 1.0
_MOST_RISK: Final = 0.12  # an answer that is wrong more often buys too little
_CAUTION: Final = 0.3  # per standard error of the confidence: how much risk is raised where it is uncertain
_NOTHING: Final = (math.nan,) * WIDTH


class ErrorBound(DecisionPolicy):
    """Wrong answers stay below a share of all requests (the definition of vCache, arXiv 2502.03771).

    It learns from every miss, whose answer shows whether the cache's would have been right, and from shadow checks: hits that are
    passed over so that the model answers. It begins strict, checks every fourth of its first hits, and opens as evidence arrives: so
    far that the upper end of the interval of its errors stays within the bound. The errors of earlier hits are estimated again by
    what was learned since. All of it rests on two assumptions: that questions come from much the same mixture as lately, and that
    `same_answer` can tell.

    Args:
        max_error_rate: wrong answers from the cache per request.
        confidence: with which the bound is to hold: of the interval of errors, and how far the estimate of risk is raised.
        shadow_rate: the share of hits that are checked, once some hundred were.
        seed: for the choice of what is checked; None is different in every process.

    Raises:
        ConfigurationError: a value that cannot be used.
    """

    def __init__(
        self, max_error_rate: float = 0.01, confidence: float = 0.95, *, shadow_rate: float = 0.01, seed: int | None = None
    ) -> None:
        super().__init__()
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
        self._errors_apart = NormalDist().inv_cdf(confidence)  # standard errors
        self._chance = random.Random(seed)  # noqa: S311 - chooses what is checked, and guards nothing
        self._evidence = _Ring(REMEMBERED, WIDTH + 2)  # features, right, weight
        self._given = _Ring(_RESTATED, WIDTH)  # the features of hits
        self._foretold = _Ring(_FORETOLD, 2)  # the risk of a question before its answer was known, and whether it was wrong
        self._asked = _Ring(_RECENT, WIDTH)  # NaN where there was nothing to decide
        self._model: RiskModel | None = None
        self._fitted_with = 0
        self._tuned_at = 0
        self._risk = 0.0
        self._settled = 0.0  # wrong hits to expect among those that are estimated no more
        self._expected = 0.0  # among the others
        self._correction = 1.0  # by how much estimates turned out too low
        self._surprising = 0.0  # wrong hits to expect beyond that, if questions have just become harder

    def judge(self, features: Sequence[float], similarity: float) -> Decision:
        """Hit or miss; only `decide` chooses what is checked."""
        with self._lock:
            return self._judge(features)

    def decide(self, features: Sequence[float], similarity: float, *, may_check: bool = True) -> Decision:
        """Hit, shadow check or miss."""
        with self._lock:
            self._asked.add(features)
            if self._model is not None and len(self._asked) >= _ENOUGH and self._requests - self._tuned_at >= _TUNE_EVERY:
                self._tune(self._model)
            decision = self._judge(features)
            wrong = decision.wrong
            if decision.verdict == "miss" or wrong is None:
                self._count("miss")
                return decision
            found = self._hits + self._shadow_checks + self._others.hits + self._others.shadow_checks
            propensity = max(self.shadow_rate, min(_MOST_CHECKED, _FIRST_CHECKS / (found + 1)))
            if may_check and self._chance.random() < propensity:
                self._count("shadow")
                return Decision("shadow", wrong, propensity, f"risk {wrong:.3f}; the model is asked to check it")
            self._give(features)
            self._count("hit")
            return decision._replace(propensity=propensity)

    def pass_over(self) -> None:
        """A request for which there was nothing to decide: nothing is near, or an equal question was answered."""
        with self._lock:
            self._asked.add(_NOTHING)
            self._count("miss")

    def observe(self, observation: Observation) -> None:
        """A candidate's answer became known."""
        with self._lock:
            self._observations += 1
            self._evidence.add((*observation.features, observation.right, min(observation.weight, _HEAVIEST)))
            if self._model is not None:
                foretold = float(self._model.wrong(np.asarray(observation.features))[0])
                if foretold <= max(_NEARBY * self._risk, self.max_error_rate):
                    self._foretold.add((foretold, 1.0 - observation.right))
            if len(self._evidence) >= _ENOUGH and self._observations >= self._fitted_with * _REFIT_GROWTH + 5:
                self._refit()

    def experience(self) -> Experience:
        """What this object decided itself, and the risk that it takes now."""
        with self._lock:
            return Experience(self._requests, self._hits, self._shadow_checks, self._own_errors(), self._risk or None)

    def recall(self, others: Experience) -> None:
        """What other processes and earlier runs decided, in all. Until this one has asked enough itself, it takes the same risk."""
        with self._lock:
            self._others = others
            if not self._tuned_at and others.risk is not None:
                self._risk = min(max(others.risk, 0.0), _MOST_RISK)

    def belief(self) -> Belief:
        """What is expected of the hits so far."""
        with self._lock:
            hits, requests = self._hits + self._others.hits, self._requests + self._others.requests
            checks = self._shadow_checks + self._others.shadow_checks
            errors = self._errors()
            # The interval of a Poisson count with that expectation, and what the shadow checks leave open.
            high = errors + self._errors_apart * math.sqrt(errors + 1)
            rate, high_rate = errors / max(requests, 1), high / max(requests, 1)
            is_learning = self._model is None
            missed = int(self._evidence.rows[:, WIDTH].sum()) if is_learning else 0
            text = (
                self._learning()
                if is_learning
                else f"{hits} of {requests} answered, about {errors:.1f} of them wrong ({rate:.2%}, at most {high_rate:.2%}); "
                f"{checks} checked"
            )
            return Belief(requests, hits, checks, self._observations, missed, errors, rate, high_rate, is_learning, text)

    # --- steps, under the lock ---

    def _judge(self, features: Sequence[float]) -> Decision:
        if self._model is None:
            return Decision("miss", None, 0.0, self._learning())
        wrong = float(self._model.wrong(np.asarray(features))[0])
        if wrong > self._risk:
            return Decision("miss", wrong, 0.0, f"risk {wrong:.3f} is above {self._risk:.3f}")
        return Decision("hit", wrong, 0.0, f"risk {wrong:.3f} is within {self._risk:.3f}")

    def _learning(self) -> str:
        right = int(self._evidence.rows[:, WIDTH].sum())
        return f"learning: {len(self._evidence)} of about {2 * _ENOUGH} observations, would have served {right}"

    def _refit(self) -> None:
        known = self._evidence.rows
        right = known[:, WIDTH]
        self._fitted_with = self._observations
        if 0 < right.sum() < len(right):
            self._model = RiskModel(known[:, :WIDTH], right, known[:, WIDTH + 1], caution=_CAUTION * self._errors_apart)
            if len(self._given):
                self._expected = float(self._model.expected(self._given.rows).sum())

    def _give(self, features: Sequence[float]) -> None:
        """An answer is given: it may be wrong."""
        assert self._model is not None  # noqa: S101 - without it nothing is given
        risk = float(self._model.expected(np.asarray(features))[0])
        self._expected += risk
        replaced = self._given.add(features)
        if replaced is not None:
            leaving = float(self._model.expected(replaced)[0])
            self._settled += leaving
            self._expected -= leaving

    def _tune(self, model: RiskModel) -> None:
        """The highest risk to take, so that the errors of as many requests again, with those so far, stay within the bound."""
        self._tuned_at = self._requests
        requests = self._requests + self._others.requests
        self._correction, lately = self._usually_too_low(), self._lately_too_low()
        self._surprising = (lately - self._correction) * float(model.expected(self._given.latest(_SINCE_A_SHIFT)).sum())
        allowed = (2 * self._most_errors(requests) - self._errors()) / max(requests, 1)
        asked = self._asked.rows
        risks: Floats = np.sort(model.wrong(asked[~np.isnan(asked[:, 0])]))
        rates = np.cumsum(risks * lately) / len(asked)
        within = int(np.searchsorted(rates, allowed))
        self._risk = min(float(risks[within - 1]), _MOST_RISK) if within > 0 else 0.0

    def _errors(self) -> float:
        others = self._others.expected_wrong
        # What others expect may be below zero for a moment: a forked child knows its parent's estimate before the parent has written it.
        return max(self._own_errors() + (0.0 if math.isnan(others) else others), 0.0)

    def _own_errors(self) -> float:
        """The wrong answers to expect among the hits so far, by what is known now."""
        return (self._settled + self._expected) * self._correction + self._surprising

    def _most_errors(self, requests: int) -> float:
        """How many errors to expect at most, so that the upper end of their interval is the bound."""
        root = (math.sqrt(self._errors_apart**2 + 4 * (self.max_error_rate * requests + 1)) - self._errors_apart) / 2
        return max(root * root - 1, 0.0)

    def _usually_too_low(self) -> float:
        """By how much estimates of risk turned out too low."""
        expected, found = self._foretold.rows.sum(axis=0)
        return max(float((_PRIOR_ERRORS + found) / (_PRIOR_ERRORS + expected)), _LEAST_CORRECTION)

    def _lately_too_low(self) -> float:
        """The same of the latest answers, where a shift shows before it does in all."""
        factor = self._usually_too_low()
        for latest in _LATEST:
            expected, found = self._foretold.latest(latest).sum(axis=0)
            if found - expected > _SURPRISE * math.sqrt(expected + 1):
                factor = max(factor, float((1 + found) / (1 + expected)))
        return factor


class _Ring:
    """The last rows of numbers, in no order."""

    def __init__(self, most: int, width: int) -> None:
        self._rows = np.empty((most, width))
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, len(self._rows))

    def add(self, row: Sequence[float]) -> Floats | None:
        """Take a row. Returns the one that it replaces."""
        place = self._added % len(self._rows)
        replaced = self._rows[place].copy() if self._added >= len(self._rows) else None
        self._rows[place] = row
        self._added += 1
        return replaced

    def latest(self, number: int) -> Floats:
        """The last so many rows."""
        first = max(self._added - min(number, len(self)), 0)
        return self._rows[np.arange(first, self._added) % len(self._rows)]

    @property
    def rows(self) -> Floats:
        return self._rows[: len(self)]


def as_policy(given: Any) -> DecisionPolicy:
    """A policy, or what stands for one: a number is a fixed threshold, None the bound of 1%.

    Raises:
        ConfigurationError: anything else.
    """
    if given is None:
        return ErrorBound()
    if isinstance(given, int | float) and not isinstance(given, bool):
        return FixedThreshold(given)
    if isinstance(given, DecisionPolicy):
        return given
    raise ConfigurationError(f"policy must be ErrorBound(...), FixedThreshold(...) or another DecisionPolicy, not {given!r}")
