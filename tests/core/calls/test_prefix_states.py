"""What planners learned, in the database: two on one file, a restart, a fork, and trouble."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from llmthrift_core import Thrift
from llmthrift_core.calls.prefix_states import _MOST_BLOCKS
from llmthrift_core.prompt_caching import PrefixPlanner, SentPrompt
from llmthrift_core.prompt_caching.advice import CACHE_CONTROL
from llmthrift_core.prompt_caching.cache_keys import PER_MINUTE
from tests.core.clock import Clock

NOW = 1_800_000_000.0
RULES = [(b"tools", 3_000), (b"rules", 5_000)]


def _planner(thrift: Thrift) -> PrefixPlanner:
    found = thrift.prefix_planners.of("claude-sonnet-4-5", "anthropic", CACHE_CONTROL, thrift.prices)
    assert found is not None
    return found


def _talk(planner: PrefixPlanner, name: str, *, start: float = NOW, turns: int = 30) -> None:
    for turn in range(turns):
        planner.plan([*RULES, (f"{name}{turn}".encode(), 500)], at=start + turn)


def _read(planner: PrefixPlanner, at: float) -> int:
    return planner.plan([*RULES, (b"a new question", 400)], at=at).read_tokens


@pytest.mark.parametrize("store", ["file", "postgresql"])
def test_a_restart_goes_on_where_the_last_process_stopped(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = tmp_path / "one.db" if store == "file" else request.getfixturevalue("postgresql_url")
    with Thrift(url) as thrift:
        _talk(_planner(thrift), "a")
        learned = _planner(thrift).balance_tokens
    with Thrift(url) as thrift:
        assert _planner(thrift).balance_tokens == learned
        assert _read(_planner(thrift), NOW + 40) == 8_000


def test_two_processes_know_what_the_other_has_written(tmp_path: Path) -> None:
    with Thrift(tmp_path / "one.db") as first, Thrift(tmp_path / "one.db") as second:
        ours, theirs = _planner(first), _planner(second)  # neither has anything to read yet
        _talk(ours, "a")
        first.prefix_planners.save()
        theirs.plan([(b"something else", 9_000)], at=NOW)
        second.prefix_planners.save()
        assert _read(theirs, NOW + 40) == 8_000
        _talk(theirs, "b", start=NOW + 41)
        second.prefix_planners.save()
        ours.plan([(b"something else", 9_000), (b"and more", 500)], at=NOW + 80)
        first.prefix_planners.save()
        assert ours.plan([*RULES, (b"b3", 500)], at=NOW + 90).read_tokens >= 8_000
        assert first.prefix_planners.health()["errors"] == second.prefix_planners.health()["errors"] == 0


def test_nothing_is_written_where_nothing_was_planned(tmp_path: Path) -> None:
    with Thrift(tmp_path / "one.db") as thrift:
        _planner(thrift)
        thrift.prefix_planners.save()
        with thrift.database.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM llmthrift_prefix_states").scalar() == 0


def test_what_is_saved_stays_small(tmp_path: Path) -> None:
    with Thrift(tmp_path / "one.db") as thrift:
        planner = _planner(thrift)
        for number in range(1_500):
            planner.plan([(f"{number} {block}".encode(), 500) for block in range(100)], at=NOW + number)
        thrift.prefix_planners.save()
        other = PrefixPlanner(planner.terms)
        other.load(planner.dump(most_blocks=_MOST_BLOCKS))
        assert planner.known_blocks == 150_000
        assert 50_000 <= other.known_blocks <= 50_200
        newest = tuple(f"1499 {block}".encode() for block in range(100))
        assert other._tree.walk(newest, [500] * 100)[1] == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_goes_on_and_saves(tmp_path: Path) -> None:
    with Thrift(tmp_path / "one.db") as thrift:
        _talk(_planner(thrift), "a")
        thrift.prefix_planners.save()
        child = os.fork()
        if not child:
            status = 1
            try:
                _talk(_planner(thrift), "child", start=NOW + 40)
                thrift.prefix_planners.save()
                status = 1 if thrift.prefix_planners.health()["errors"] else 0
            finally:
                os._exit(status)
        deadline = time.monotonic() + 30
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ended == (child, 0)
        _planner(thrift).plan([(b"x", 2_000)], at=NOW + 80)
        thrift.prefix_planners.save()
        assert _planner(thrift).plan([*RULES, (b"child3", 500)], at=NOW + 90).read_tokens >= 8_000


def test_a_database_that_cannot_be_read_costs_what_was_learned_and_no_call(tmp_path: Path) -> None:
    with Thrift(tmp_path / "one.db") as thrift:
        _talk(_planner(thrift), "a")
    with Thrift(tmp_path / "one.db") as thrift:
        with thrift.database.write() as connection:
            connection.exec_driver_sql("UPDATE llmthrift_prefix_states SET state = X'00'")
        assert _read(_planner(thrift), NOW + 40) == 0
        assert thrift.prefix_planners.health()["errors"] == 1
        assert thrift.health()["failures"] == {"prompt_caching": 1}


def test_other_terms_begin_anew(tmp_path: Path) -> None:
    with Thrift(tmp_path / "one.db") as thrift:
        _talk(_planner(thrift), "a")
        haiku = thrift.prefix_planners.of("claude-haiku-4-5", "anthropic", CACHE_CONTROL, thrift.prices)
        assert haiku is not None
        assert haiku.known_blocks == 0


def test_processes_that_send_with_the_same_keys_share_what_a_key_may_get(tmp_path: Path) -> None:
    clock = Clock(NOW)
    with Thrift(tmp_path / "one.db", clock=clock) as first, Thrift(tmp_path / "one.db", clock=clock) as second:
        prompt = SentPrompt(system=[(b"rules", 5_000)], history=[(b"question", 10)])
        for thrift in (first, second, first):
            thrift.prefix_planners.key_of("gpt-5.1", prompt, clock.now)
            thrift.prefix_planners.save()
        clock.now += 60
        sent = Counter(
            first.prefix_planners.key_of("gpt-5.1", SentPrompt(system=[(b"rules", 5_000)], history=[(bytes([number]), 10)]), clock.now)
            for number in range(30)
        )
        assert max(sent.values()) <= PER_MINUTE // 2
        clock.now += 300  # the other one has gone
        first.prefix_planners.save()
        assert first.prefix_planners._states is not None
        assert first.prefix_planners._states.processes() == 1
        assert first.health()["failures"] == second.health()["failures"] == {}
