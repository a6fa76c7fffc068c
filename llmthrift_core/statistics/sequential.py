"""Intervals that hold however often they are looked at, and an alarm that may be watched for ever.

A usual interval of 95% is for one look at a size that was planned ahead: looked at every day until the result pleases, it misleads far
more often than once in twenty times. A confidence sequence holds at all looks together. Here it is the normal mixture of Howard, Ramdas,
McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (Annals of Statistics 49(2), 2021; the two-sided
normal mixture boundary): a sum S with variance v stays within

    |S| <= sqrt((v + rho) * log((v + rho) / (rho * alpha^2)))        at all times, with a probability of 1 - alpha.

An estimate with variance w is taken as a sum S = estimate / w with variance v = 1 / w, its information. With a variance that is estimated
from independent units this holds asymptotically: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences" (Annals of Statistics 52(6), 2024). So do not look before there are some dozens of units: of equal
weight, since a mean that hangs on five popular questions varies as one of five, however many rare ones there are beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import Final

from llmthrift_core.statistics.ratios import Interval, RatioSums

_NORMAL: Final = NormalDist()
FEWEST_UNITS: Final = 30
"""Units in each group, below which nothing is said: as many of equal weight (`RatioSums.effective_units`)."""
_LARGEST_EXPONENT: Final = 700.0


def mixture_weight(variance: float, alpha: float) -> float:
    """The rho with which limits are narrowest where an estimate has this variance.

    v / rho = -W(-alpha^2 / e) - 1 with the lower branch of Lambert's W (Howard et al., on tuning boundaries), by its first two terms.
    """
    log = -2 * math.log(alpha)
    return 1 / (variance * (log + math.log(1 + log)))


def sequential_interval(estimate: float, variance: float, *, alpha: float, narrowest_at: float) -> Interval:
    """An estimate within limits that hold at all looks together, with a probability of 1 - alpha.

    Args:
        estimate, variance: of what is known now. An infinite variance: nothing is.
        alpha: the errors that are allowed, over all looks.
        narrowest_at: the variance at which a decision is expected. It must not depend on the data of the comparison.

    >>> one_look = 1.96 * 0.01
    >>> found = sequential_interval(0.0, 0.01**2, alpha=0.05, narrowest_at=0.01**2)
    >>> round(found.high / one_look, 2)  # so much wider than for one look
    1.55
    """
    half = half_width(variance, alpha=alpha, narrowest_at=narrowest_at)
    return Interval(estimate, estimate - half, estimate + half)


def half_width(variance: float, *, alpha: float, narrowest_at: float) -> float:
    """Half of the width of `sequential_interval`."""
    if not variance < math.inf:
        return math.inf
    if variance <= 0:
        return 0.0
    v, rho = 1 / variance, mixture_weight(narrowest_at, alpha)
    return variance * math.sqrt((v + rho) * math.log((v + rho) / (rho * alpha**2)))


def sequential_quality_difference(first: RatioSums, second: RatioSums, *, alpha: float, narrowest_at: float) -> Interval:
    """The first mean quality minus the second, as `quality_difference`, at all looks together."""
    if min(first.effective_units, second.effective_units) < FEWEST_UNITS:
        estimate = first.ratio - second.ratio if first.x and second.x else math.nan
        return Interval(estimate, -1.0, 1.0)
    a, b = first.smoothed(1), second.smoothed(1)
    half = half_width(a.variance + b.variance, alpha=alpha, narrowest_at=narrowest_at)
    middle, plain = a.ratio - b.ratio, first.ratio - second.ratio
    return Interval(plain, max(-1.0, min(middle - half, plain)), min(1.0, max(middle + half, plain)))


def sequential_saving(candidate: RatioSums, control: RatioSums, *, alpha: float, narrowest_at: float) -> Interval:
    """1 - candidate / control of two ratios, as `relative_saving`, at all looks together.

    Args:
        narrowest_at: the variance of the logarithm of their quotient at which a decision is expected.
    """
    if not (candidate.y > 0 and control.y > 0):
        return Interval(math.nan, -math.inf, 1.0)
    log_ratio = math.log(candidate.ratio / control.ratio)
    if min(candidate.effective_units, control.effective_units) < FEWEST_UNITS:
        return Interval(1 - math.exp(log_ratio), -math.inf, 1.0)
    variance = candidate.variance / candidate.ratio**2 + control.variance / control.ratio**2
    half = half_width(variance, alpha=alpha, narrowest_at=narrowest_at)
    high = math.inf if log_ratio + half > _LARGEST_EXPONENT else math.exp(log_ratio + half)
    return Interval(1 - math.exp(log_ratio), 1 - high, 1 - math.exp(log_ratio - half))


def e_value(estimate: float, variance: float, *, alpha: float, narrowest_at: float) -> float:
    """The evidence that what is estimated is above 0: where it is not, this exceeds 1 / alpha at any time with a probability of alpha at
    most. It is the one-sided normal mixture: the mean of exp(l * S - l^2 * v / 2) over a half-normal l of variance 1 / rho.

    >>> round(e_value(0.0, 1.0, alpha=0.05, narrowest_at=1.0), 2), e_value(5.0, 1.0, alpha=0.05, narrowest_at=1.0) > 100
    (0.33, True)
    """
    if not 0 < variance < math.inf:
        return 1.0
    s, v, rho = estimate / variance, 1 / variance, mixture_weight(narrowest_at, alpha)
    exponent = min(s * s / (2 * (v + rho)), _LARGEST_EXPONENT)
    return 2 * math.sqrt(rho / (v + rho)) * math.exp(exponent) * _NORMAL.cdf(s / math.sqrt(v + rho))


def evidence_of_change(e_values: Iterable[float]) -> float:
    """The evidence that something changed at one of several times: the sum of the e-values of the data since each of them.

    Give one e-value for each look so far, of what came since that look. An alarm when this exceeds A is false once in A looks or less
    often, on average: the e-detector of Shiryaev and Roberts' kind (Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for
    sequential change detection", New England Journal of Statistics in Data Science 2(2), 2024).
    """
    return math.fsum(e_values)
