"""Alarms about days and hours on synthetic series: how many nobody needed, how many events were found, and how late.

python -m benchmarks.anomalies [--series 200]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from statistics import fmean, median

from benchmarks.forecasts import FAMILIES
from llmthrift_core.reports.unusual import unusual_days, unusual_hours

LEAD, QUARTER = 28, 91
LEVELS = (0.2, 1.0, 20.0)  # times the families' few dozen dollars a day
FACTORS = (3, 5, 10, 100)


def false_alarms(name: str, series: int, *, seed: int = 1) -> float:
    """Alarms about days of a quarter in which nothing is injected. A launch is an event, and one alarm about it is none too many."""
    counts = []
    for number in range(series):
        rng = random.Random(f"{seed} {name} {number}")
        level = rng.choice(LEVELS)
        days = [level * amount for amount in FAMILIES[name](rng, LEAD + QUARTER)]
        counts.append(sum(index >= LEAD for index, _ in unusual_days(days)))
    return fmean(counts)


def found_spikes(name: str, factor: float, series: int, *, seed: int = 2) -> float:
    """The share of days that are told, which take so many times what they would and more than $20 at that."""
    told = []
    for number in range(series):
        rng = random.Random(f"{seed} {name} {number}")
        days = [20 * amount for amount in FAMILIES[name](rng, LEAD + QUARTER)]
        at = rng.randrange(LEAD, len(days))
        days[at] = factor * max(days[at], fmean([amount for amount in days[at - LEAD : at] if amount] or [1]))
        told.append(any(index == at for index, _ in unusual_days(days)))
    return fmean(told)


def hourly(rng: random.Random, days: int, *, noise: float = 0.4) -> list[float]:
    """Office hours: most of $300 a day from eight to six, on weekends a fifth, each hour by chance."""
    found = []
    for day in range(days):
        for hour in range(24):
            usual = 24 if 8 <= hour < 18 else 4
            found.append(usual * (0.2 if day % 7 in (5, 6) else 1) * rng.lognormvariate(0, noise))
    return found


def hours_until_told(usd_an_hour: float, series: int, *, seed: int = 3) -> tuple[float, float | None]:
    """Of loops that run away at any hour and spend so much an hour from then on: the share told within a day, and the median of the hours
    that it takes."""
    delays = []
    for number in range(series):
        rng = random.Random(f"{seed} {number}")
        hours = hourly(rng, 30)
        at = rng.randrange(20 * 24, 29 * 24)
        for index in range(at, at + 24):
            hours[index] += usd_an_hour
        by_hour = [index - at + 1 for index, _ in unusual_hours(hours[: at + 24]) if index >= at]
        delays.append(min([*by_hour, _hours_until_the_day_is_told(hours, at)]))
    told = [delay for delay in delays if delay <= 24]
    return len(told) / len(delays), median(told) if told else None


def _hours_until_the_day_is_told(hours: Sequence[float], at: int) -> int:
    """A day is looked at while it runs: with what it has taken so far."""
    days = [sum(hours[begin : begin + 24]) for begin in range(0, len(hours), 24)]
    for index in range(at, at + 24):
        running = [*days[: index // 24], sum(hours[index // 24 * 24 : index + 1])]
        if any(day == index // 24 for day, _ in unusual_days(running)):
            return index - at + 1
    return 25


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=300)
    series = parser.parse_args().series
    names = " ".join(f"{f'{factor}x':>6}" for factor in FACTORS)
    print(f"days, {series} series of each family: alarms a quarter where nothing was injected, and the share of injected days told")
    print(f"{'':12} alarms {names}")
    for name in FAMILIES:
        shares = " ".join(f"{found_spikes(name, factor, series):6.1%}" for factor in FACTORS)
        print(f"{name:12} {false_alarms(name, series):6.2f} {shares}")
    quarters = [unusual_hours(hourly(random.Random(number), LEAD + QUARTER)) for number in range(series // 10)]
    alarms = fmean(sum(index >= LEAD * 24 for index, _ in found) for found in quarters)
    print(f"hours, {len(quarters)} series of office hours at some $250 a working day: {alarms:.2f} alarms a quarter")
    for usd_an_hour in (50, 100, 200, 500, 1_000):
        share, delay = hours_until_told(usd_an_hour, series // 3)
        after = "never" if delay is None else f"after {delay:g} hours (median)"
        print(f"a loop that spends ${usd_an_hour:,} an hour: told {after}, {share:.0%} within a day")


if __name__ == "__main__":
    main()
