"""Divide a period into whole buckets, whose sums are stored, and edges, whose rows must be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Buckets:
    """Whole buckets of one length: those with start <= bucket < end, in seconds. None is unbounded."""

    span: int
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """A part of a bucket: rows with start_us <= at_us < end_us."""

    start_us: int
    end_us: int


def divide(
    since_us: int | None, until_us: int | None, spans: Sequence[int], *, whole_before_us: int | None = None
) -> tuple[list[Buckets], list[Edge]]:
    """Divide [since_us, until_us) into as few buckets as possible, and edges.

    >>> hour = 3600 * MICROSECONDS
    >>> divide(5 * hour, None, [3600, 86400])
    ([Buckets(span=86400, start=86400, end=None), Buckets(span=3600, start=18000, end=86400)], [])
    >>> divide(hour + 7, 3 * hour, [3600])
    ([Buckets(span=3600, start=7200, end=10800)], [Edge(start_us=3600000007, end_us=7200000000)])

    Args:
        spans: lengths of buckets in seconds, each a divisor of the next.
        whole_before_us: an edge in a bucket that begins before this time becomes the whole bucket.
    """
    if since_us is not None and until_us is not None and since_us >= until_us:
        return [], []
    smallest = spans[0] * MICROSECONDS
    edges: list[Edge] = []
    if whole_before_us is not None:
        if since_us is not None and since_us - since_us % smallest < whole_before_us:
            since_us -= since_us % smallest
        if until_us is not None and until_us - until_us % smallest < whole_before_us:
            until_us += -until_us % smallest
    first_us = None if since_us is None else since_us + -since_us % smallest
    last_us = None if until_us is None else until_us - until_us % smallest
    if first_us is not None and last_us is not None and first_us > last_us:
        assert since_us is not None and until_us is not None  # noqa: S101, PT018 - narrows the types
        return [], [Edge(since_us, until_us)]
    if since_us is not None and first_us is not None and since_us < first_us:
        edges.append(Edge(since_us, first_us))
    if until_us is not None and last_us is not None and last_us < until_us:
        edges.append(Edge(last_us, until_us))
    start = None if first_us is None else first_us // MICROSECONDS
    end = None if last_us is None else last_us // MICROSECONDS
    return _buckets(start, end, spans), edges


def _buckets(start: int | None, end: int | None, spans: Sequence[int]) -> list[Buckets]:
    """[start, end) by the longest span in the middle and shorter ones around it."""
    if start is not None and end is not None and start >= end:
        return []
    *shorter, span = spans
    if not shorter:
        return [Buckets(span, start, end)]
    first = None if start is None else start + -start % span
    last = None if end is None else end - end % span
    if first is not None and last is not None and first >= last:
        return _buckets(start, end, shorter)
    parts = [Buckets(span, first, last)]
    if start != first:
        parts += _buckets(start, first, shorter)
    if end != last:
        parts += _buckets(last, end, shorter)
    return parts
