"""How benchmarks measure: interleaved rounds in one process, medians, and ratios against a peer of the same run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds per call."""

    p50: float
    p99: float


def compare(
    subjects: Mapping[str, Callable[[int], object]],
    *,
    calls: int,
    rounds: int = 5,
    warmup: int = 50,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Timing]:
    """Time each subject `calls` times a round, subjects taking turns, so that a slow spell of the machine meets all of them.

    Args:
        subjects: name -> what to time; it gets the number of the call, counting through all rounds.
        clock: nanoseconds, such as those of the processor (`time.thread_time_ns`).
    """
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    numbers = dict.fromkeys(subjects, 0)
    for name, subject in subjects.items():
        for _ in range(warmup):
            subject(numbers[name])
            numbers[name] += 1
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, subject in subjects.items():
                taken, number = samples[name], numbers[name]
                for _ in range(calls):
                    started = clock()
                    subject(number)
                    taken.append((clock() - started) / 1000)
                    number += 1
                numbers[name] = number
    finally:
        gc.enable()
    return {name: Timing(statistics.median(taken), sorted(taken)[int(len(taken) * 0.99)]) for name, taken in samples.items()}


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    widths = [max(len(str(row[index])) for row in (header, *rows)) for index in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([f"\n{title}\n", line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])
