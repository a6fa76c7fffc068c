from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.reports.sums import MICROSECONDS, divide

_bounds = st.none() | st.integers(-(10**6) * MICROSECONDS, 10**6 * MICROSECONDS)
_spans = st.sampled_from([(3600,), (3600, 86400), (900, 3600, 86400)])


@given(_bounds, _bounds, _spans, st.lists(st.integers(-(10**6) * MICROSECONDS, 10**6 * MICROSECONDS), max_size=20))
def test_every_moment_of_the_period_is_in_exactly_one_piece(
    since: int | None, until: int | None, spans: tuple[int, ...], moments: list[int]
) -> None:
    buckets, edges = divide(since, until, spans)
    for moment in [*moments, *(bound for bound in (since, until) if bound is not None)]:
        inside = (since is None or moment >= since) and (until is None or moment < until)
        found = sum(
            (piece.start is None or moment // MICROSECONDS // piece.span * piece.span >= piece.start)
            and (piece.end is None or moment // MICROSECONDS // piece.span * piece.span < piece.end)
            for piece in buckets
        )
        found += sum(edge.start_us <= moment < edge.end_us for edge in edges)
        assert found == inside


@given(_bounds, _bounds, _spans)
def test_few_pieces_are_needed_and_edges_are_shorter_than_a_bucket(since: int | None, until: int | None, spans: tuple[int, ...]) -> None:
    buckets, edges = divide(since, until, spans)
    assert len(buckets) <= 2 * len(spans) - 1
    assert all(0 < edge.end_us - edge.start_us < spans[0] * MICROSECONDS for edge in edges)


def test_an_edge_where_rows_were_pruned_becomes_the_whole_bucket() -> None:
    hour = 3600 * MICROSECONDS
    buckets, edges = divide(hour + 5, 3 * hour + 5, (3600,), whole_before_us=2 * hour)
    assert [(piece.start, piece.end) for piece in buckets] == [(3600, 10800)]
    assert [(edge.start_us, edge.end_us) for edge in edges] == [(3 * hour, 3 * hour + 5)]
    buckets, edges = divide(hour + 5, hour + 9, (3600,), whole_before_us=2 * hour)
    assert [(piece.start, piece.end) for piece in buckets] == [(3600, 7200)]
    assert edges == []
