"""A policy that follows the active version, with other processes, damaged versions and databases that go away."""

from __future__ import annotations

import copy
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from llmthrift_core import Thrift
from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import (
    Bounded,
    Bounds,
    Cascade,
    CascadePolicy,
    FollowedRouter,
    LearnedRouter,
    RouteRequest,
    Rules,
    Sticky,
    Tiers,
)
from llmthrift_core.storage.tables import versions
from llmthrift_core.versions import Refit, RollBack
from tests.core.routing.workload import labelled

MODELS = {"weak": 0.6, "strong": 12.0}
TIERS = Tiers(("weak", "strong"))
EASY = RouteRequest("Please greet the customer of case 1, quickly", attribution=Attribution(call_site="support", session="s"))
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def fitted() -> LearnedRouter:
    return LearnedRouter(MODELS, min_quality=0.9).fit(labelled(120, sites=True))


@pytest.fixture
def thrift(tmp_path: Path) -> Iterator[Thrift]:
    with Thrift(tmp_path / "books.db") as opened:
        yield opened


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_it_waits_for_the_first_version_and_then_follows(thrift, fitted):
    followed = thrift.routers.follow("support", check_seconds=0.01)
    decision = followed.decide(EASY, TIERS)
    assert (decision.tier, decision.reason) == ("strong", "router 'support' has no version yet; the strongest")
    assert (followed.number, followed.version) == (None, "support@0")
    assert followed.decide(EASY, Tiers(("weak",))).tier == "weak"
    thrift.routers.save(fitted, name="support")
    until(lambda: followed.number == 1)
    assert followed.version == f"support@1-{fitted.version}"
    assert followed.decide(EASY, TIERS).tier == "weak"
    thrift.routers.save(LearnedRouter(MODELS), name="support")
    until(lambda: followed.decide(EASY, TIERS).tier == "strong")
    thrift.routers.roll_back("support")
    until(lambda: followed.number == 1)


def test_a_call_keeps_the_version_that_it_began_with(thrift, fitted):
    thrift.routers.save(fitted, name="support")
    followed = thrift.routers.follow("support", check_seconds=3600)
    begun = followed.in_force()
    thrift.routers.save(LearnedRouter(MODELS), name="support")
    assert followed.look()
    assert not followed.look()
    assert (begun.version, begun.decide(EASY, TIERS).tier) == (f"support@1-{fitted.version}", "weak")
    assert followed.in_force().version.startswith("support@2-")


def test_a_session_keeps_its_model_and_says_by_which_version(thrift, fitted):
    thrift.routers.save(LearnedRouter(MODELS), name="support")
    followed = thrift.routers.follow("support", check_seconds=3600)
    sticky = Sticky(Bounded(followed, Bounds()), {"other": "unpriced"}, clock=lambda: 0.0)
    first = sticky.in_force()
    assert first.decide(EASY, TIERS).tier == "strong"
    thrift.routers.save(fitted, name="support")
    followed.look()
    now = sticky.in_force()
    assert (now.decide(EASY, TIERS).tier, followed.decide(EASY, TIERS).tier) == ("strong", "weak")
    assert first.version.startswith("support@1-")
    assert now.version.startswith(f"support@2-{fitted.version}-")
    assert now.version == sticky.version
    unchanged = Sticky(fitted, {"other": "unpriced"})
    assert unchanged.in_force() is unchanged


@pytest.mark.parametrize(
    "around", [lambda policy: CascadePolicy(Cascade(list(MODELS)), first=policy), lambda policy: Rules([], default=policy)]
)
def test_a_call_keeps_its_version_inside_of_other_policies(thrift, fitted, around):
    thrift.routers.save(LearnedRouter(MODELS), name="support")
    followed = thrift.routers.follow("support", check_seconds=3600)
    policy = around(followed)
    begun = policy.in_force()
    version = begun.version
    assert version.startswith("support@1-")  # so that versions are compared by what was said of its calls
    thrift.routers.save(fitted, name="support")
    followed.look()
    assert (begun.decide(EASY, TIERS).tier, begun.version) == ("strong", version)
    assert policy.in_force().decide(EASY, TIERS).tier == "weak"
    assert policy.version != version


def test_a_cascade_takes_the_place_of_a_router(thrift, fitted):
    thrift.routers.save(fitted, name="support")
    followed = thrift.routers.follow("support", check_seconds=3600)
    refused = "I'm sorry, but I cannot help with that."
    assert not followed.in_force().holds_streams
    assert followed.in_force().review(EASY, "weak", refused, TIERS) is None
    thrift.routers.save(Cascade(list(MODELS)), name="support")
    followed.look()
    assert followed.in_force().holds_streams
    assert followed.in_force().review(EASY, "weak", refused, TIERS).next.tier == "strong"
    assert not thrift.routers.follow("support", stream="pass").in_force().holds_streams


def test_a_damaged_version_leaves_the_old_one_in_force_and_is_logged_once(thrift, fitted, caplog):
    thrift.routers.save(fitted, name="support")
    followed = thrift.routers.follow("support", check_seconds=3600)
    thrift.routers.save(fitted, name="support")
    with thrift.database.write() as connection:
        connection.execute(update(versions).where(versions.c.version == 2).values(state=b"nonsense"))
    with caplog.at_level(logging.ERROR, logger="llmthrift"):
        for _ in range(3):
            assert not followed.look()
    assert caplog.text.count("version 1 stays in force") == 1
    assert (followed.number, followed.health()["errors"]) == (1, 3)
    health = thrift.health()
    assert health["status"] == "degraded"
    assert health["routing"][0]["last_error"].startswith("version 2 of router 'support' cannot be read")
    thrift.routers.save(fitted, name="support")
    assert followed.look()
    assert (followed.number, followed.health()["last_error"]) == (3, None)
    fresh = thrift.routers.follow("support")  # one that starts with a damaged version has the strongest
    thrift.routers.roll_back("support", 2)
    started = thrift.routers.follow("support")
    assert (fresh.number, started.number, started.decide(EASY, TIERS).tier) == (3, None, "strong")


def test_the_version_stays_in_force_while_the_database_is_gone(thrift, fitted, caplog):
    thrift.routers.save(fitted, name="support")
    followed = thrift.routers.follow("support", check_seconds=3600)
    thrift.database.close()
    with caplog.at_level(logging.ERROR, logger="llmthrift"):
        assert not followed.look()
        assert not followed.look()
    assert caplog.text.count("cannot be looked for, and version 1 stays in force") == 1
    assert followed.decide(EASY, TIERS).tier == "weak"


def test_its_thread_ends_with_it_and_with_the_thrift(tmp_path, fitted):
    def alive() -> int:
        return sum(thread.name == "llmthrift-router-ending" for thread in threading.enumerate())

    with Thrift(tmp_path / "books.db") as thrift:
        followed = thrift.routers.follow("ending", check_seconds=0.01)
        assert alive() == 1
        dropped = thrift.routers.follow("ending", check_seconds=0.01)
        del dropped
        gc.collect()
        until(lambda: alive() == 1)
    assert alive() == 0
    assert followed.decide(EASY, TIERS).tier == "strong"


def test_a_copy_is_the_same(thrift):
    followed = thrift.routers.follow("support")
    assert copy.copy(followed) is copy.deepcopy({"policy": followed})["policy"] is followed


def test_a_pass_through_touches_no_database(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    with Thrift(tmp_path / "no such folder" / "books.db") as thrift:
        refit = Refit(models={"weak": 0.6, "strong": 12.0})
        followed = thrift.routers.follow("passing", refit=refit, roll_back=RollBack(), check_seconds=0.01)
        assert followed.in_force().decide(EASY, TIERS).tier == "strong"
        assert not any(thread.name == "llmthrift-router-passing" for thread in threading.enumerate())
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked(thrift):
    for given in (0, -1, True, "30", 100_000):
        with pytest.raises(ConfigurationError, match="check_seconds"):
            thrift.routers.follow("support", check_seconds=given)
    with pytest.raises(ConfigurationError, match="name must be a text"):
        thrift.routers.follow("")


SAVES = """
import sys
from llmthrift_core import Thrift
from llmthrift_core.routing import LearnedRouter

for line in sys.stdin:
    with Thrift(sys.argv[1]) as thrift:
        if line.strip() == "save":
            thrift.routers.save(LearnedRouter({"weak": 0.6, "strong": 12.0}), name="support", note="by another process")
        else:
            thrift.routers.roll_back("support")
    print("done", flush=True)
"""


def test_what_another_process_does_is_in_force_here_and_in_a_forked_child(tmp_path, fitted):
    path = tmp_path / "books.db"
    with Thrift(path) as thrift:
        thrift.routers.save(fitted, name="support")
        followed = thrift.routers.follow("support", check_seconds=0.02)
        other = subprocess.Popen(
            [sys.executable, "-c", SAVES, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert other.stdin is not None
        assert other.stdout is not None
        child = os.fork()
        if child == 0:
            _follow_and_exit(followed)
        with other:
            for word, number in (("save", 2), ("roll back", 1), ("save", 3)):
                print(word, file=other.stdin, flush=True)
                assert other.stdout.readline() == "done\n"
                until(lambda number=number: followed.number == number)
            other.stdin.close()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _follow_and_exit(followed: FollowedRouter) -> None:
    """In a forked child: the first decision starts a thread of its own."""
    code = 1
    try:
        followed.decide(EASY, TIERS)
        until(lambda: followed.number == 3)
        code = 0
    finally:
        os._exit(code)


def test_callers_never_see_half_a_version(thrift, fitted):
    """Many threads decide while versions change: every decision fits the version that is named with it."""
    thrift.routers.save(fitted, name="support")
    followed = thrift.routers.follow("support", check_seconds=3600)
    expected = {f"support@{number}-": "weak" if number % 2 else "strong" for number in range(1, 20)}
    wrong: list[tuple[str, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            policy = followed.in_force()
            tier = policy.decide(EASY, TIERS).tier
            label = policy.version.partition("-")[0] + "-"
            if expected[label] != tier:
                wrong.append((policy.version, tier))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 12):
        thrift.routers.save(fitted if number % 2 else LearnedRouter(MODELS), name="support")
        assert followed.look()
    stop.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []
