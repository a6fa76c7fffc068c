"""Forecasts of a month's spend on synthetic series: how often 80% intervals hold, and how wide they are beside the naive ones.

python -m benchmarks.forecasts [--series 400]
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, quantiles

from llmthrift_core.reports.forecasting import look_ahead

Z = NormalDist().inv_cdf(0.9)
HISTORY = (10, 14, 21, 30, 45, 60, 90, 150)


def flat(rng: random.Random, days: int) -> list[float]:
    """The same every day, but for chance."""
    noise = rng.uniform(0.02, 0.4)
    return [50 * rng.lognormvariate(0, noise) for _ in range(days)]


def trend(rng: random.Random, days: int) -> list[float]:
    """Grows or shrinks by up to 2.5% of its first level a day."""
    slope, noise = rng.uniform(-0.004, 0.025), rng.uniform(0.05, 0.3)
    return [max(0.05, 1 + slope * day) * 40 * rng.lognormvariate(0, noise) for day in range(days)]


def weekly(rng: random.Random, days: int) -> list[float]:
    """Quiet weekends."""
    quiet, noise = rng.uniform(0.1, 0.7), rng.uniform(0.05, 0.3)
    return [80 * (quiet if day % 7 in (5, 6) else 1) * rng.lognormvariate(0, noise) for day in range(days)]


def launch(rng: random.Random, days: int) -> list[float]:
    """A feature that multiplies spend by 2 to 8 within one to three weeks, at any time."""
    at, ramp, factor, noise = rng.uniform(0, days), rng.uniform(1, 21), rng.uniform(2, 8), rng.uniform(0.05, 0.25)
    quiet = rng.uniform(0.4, 1)
    found = []
    for day in range(days):
        grown = 1 + (factor - 1) * min(1.0, max(0.0, (day - at) / ramp))
        found.append(20 * grown * (quiet if day % 7 in (5, 6) else 1) * rng.lognormvariate(0, noise))
    return found


def decay(rng: random.Random, days: int) -> list[float]:
    """Halves every two to twenty weeks."""
    rate, noise = math.log(2) / rng.uniform(14, 140), rng.uniform(0.05, 0.3)
    return [200 * math.exp(-rate * day) * rng.lognormvariate(0, noise) for day in range(days)]


def sparse(rng: random.Random, days: int) -> list[float]:
    """Batch jobs on some days."""
    share, noise = rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.9)
    return [15 * rng.lognormvariate(0, noise) if rng.random() < share else 0.0 for _ in range(days)]


def wandering(rng: random.Random, days: int) -> list[float]:
    """A level that moves a little every day."""
    level, step, noise, quiet = 60.0, rng.uniform(0.01, 0.07), rng.uniform(0.05, 0.25), rng.uniform(0.3, 1)
    found = []
    for day in range(days):
        level *= rng.lognormvariate(0, step)
        found.append(level * (quiet if day % 7 in (5, 6) else 1) * rng.lognormvariate(0, noise))
    return found


FAMILIES: dict[str, Callable[[random.Random, int], list[float]]] = {
    made.__name__: made for made in (flat, trend, weekly, launch, decay, sparse, wandering)
}


@dataclass(frozen=True)
class Trial:
    """One forecast of the days that are left of a month.

    Attributes:
        actual: what they took. ours, naive, to_date: expected, with the limits of the first two.
        spent: in the month before it.
    """

    family: str
    history: int
    actual: float
    spent: float
    ours: tuple[float, float, float]
    naive: tuple[float, float, float]
    to_date: float


def trials(series: int, *, seed: int = 1) -> list[Trial]:
    """So many series, each forecast at one day."""
    found = []
    names = list(FAMILIES)
    for number in range(series):
        rng = random.Random(seed * 1_000_003 + number)
        name = names[number % len(names)]
        history = rng.choice(HISTORY)
        left, weekday = rng.randint(5, 28), rng.randrange(7)
        amounts = FAMILIES[name](rng, history + left + weekday)[weekday:]
        known, rest = amounts[:history], amounts[history:]
        if not any(known):
            continue
        outlook = look_ahead(known, weekday, left)
        band = outlook.band(left, left)
        month = known[-(30 - left) :] if left < 30 else known[-1:]
        to_date = math.fsum(month) / len(month) * left
        found.append(
            Trial(
                name,
                history,
                math.fsum(rest),
                math.fsum(month),
                (band.low, band.expected, band.high),
                seasonal_naive(known, left),
                to_date,
            )
        )
    return found


def seasonal_naive(known: Sequence[float], left: int) -> tuple[float, float, float]:
    """Last week again, with the textbook's interval: the residuals' standard deviation, which grows with every week."""
    week = known[-7:]
    expected = math.fsum(week[day % len(week)] for day in range(left))
    residuals = [known[index] - known[index - 7] for index in range(7, len(known))]
    sigma = math.sqrt(fmean([each * each for each in residuals])) if residuals else fmean(week)
    # Each weekday's errors add up over the weeks: its h-th value is off by the sum of h errors.
    variance = 0.0
    for weekday in range(7):
        weeks = len(range(weekday, left, 7))
        variance += sum((weeks - week) ** 2 for week in range(weeks))
    spread = Z * sigma * math.sqrt(variance)
    return max(0.0, expected - spread), expected, expected + spread


def coverage(found: Sequence[Trial], of: str = "ours") -> float:
    """The share of actual amounts within the limits."""
    return fmean(getattr(trial, of)[0] <= trial.actual <= getattr(trial, of)[2] for trial in found)


def width(found: Sequence[Trial], of: str = "ours") -> float:
    """The mean width of an interval, in relation to what was spent."""
    return fmean((getattr(trial, of)[2] - getattr(trial, of)[0]) / scale(trial) for trial in found)


def interval_score(found: Sequence[Trial], of: str = "ours") -> float:
    """The mean width, and ten times by how far the amount lies outside (Gneiting and Raftery, JASA 2007), as a share of what was spent."""
    total = 0.0
    for trial in found:
        low, _, high = getattr(trial, of)
        total += (high - low + 10 * max(low - trial.actual, 0.0, trial.actual - high)) / scale(trial)
    return total / len(found)


def width_at_80(found: Sequence[Trial], of: str) -> float:
    """How wide a method's intervals must be for 80% coverage, if they are its forecast times the percentiles of its own errors."""
    expected = [trial.to_date if of == "to_date" else getattr(trial, of)[1] for trial in found]
    errors = [(trial.actual - each) / scale(trial) for trial, each in zip(found, expected, strict=True)]
    tenths = quantiles(errors, n=10)
    return tenths[-1] - tenths[0]


def absolute_error(found: Sequence[Trial], of: str) -> float:
    """The mean absolute error, in relation to what was spent."""
    return fmean(abs(trial.actual - (trial.to_date if of == "to_date" else getattr(trial, of)[1])) / scale(trial) for trial in found)


def scale(trial: Trial) -> float:
    """What the days took, or would have at the pace of before."""
    return max(trial.actual, trial.to_date, 1e-9)


def _figures(found: Sequence[Trial], of: str) -> str:
    return f"{coverage(found, of):6.1%} {width(found, of):6.2f} {interval_score(found, of):6.2f} {absolute_error(found, of):6.3f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=1400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = trials(options.series, seed=options.seed)
    print(f"{len(found)} series; widths and errors as shares of the amount")
    names = " ".join(f"{name:>6}" for name in ("cover", "width", "score", "error"))
    print(f"{'':16} {names} | naive: {names} | to date: error")
    groups = [("all", found)]
    groups += [(name, [trial for trial in found if trial.family == name]) for name in FAMILIES]
    groups += [(f"{history} days", [trial for trial in found if trial.history == history]) for history in HISTORY]
    for name, group in groups:
        ours, naive = _figures(group, "ours"), _figures(group, "naive")
        print(f"{name:16} {ours} |        {naive} | {absolute_error(group, 'to_date'):14.3f}")
    for of in ("ours", "naive", "to_date"):
        print(f"width of {of} at 80% coverage, if known beforehand: {width_at_80(found, of):.2f}")


if __name__ == "__main__":
    main()
