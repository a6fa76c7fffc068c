"""The autopilot tries, keeps and takes back; it waits where it cannot know, and a user's word goes before its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core import Budget, Thrift, Usage
from llmthrift_core.autopilot import Autopilot, AutopilotReport, pilot
from llmthrift_core.autopilot.switch import Switch
from llmthrift_core.autopilot.verdicts import margin_left
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.quality import Experiment
from llmthrift_core.storage.leases import Lease
from llmthrift_core.versions.store import VersionStore
from tests.core.autopilot.world import DAY, World, weak_when_small
from tests.core.clock import Clock

EVERY = ("cache_ttl_seconds", "output_cap_tokens", "max_tier", "shorten", "semantic", "prompt_caching")


@pytest.fixture
def clock() -> Clock:
    return Clock(1_780_000_000.0)


@pytest.fixture
def thrift(clock: Clock) -> Iterator[Thrift]:
    with Thrift(":memory:", clock=clock) as opened:
        yield opened


@pytest.fixture
def world(thrift: Thrift, clock: Clock) -> World:
    thrift.configurations.save("support", {}, note="as built")
    return World(thrift, clock)


def _autopilot(world: World, *allow: str, **options: Any) -> Autopilot:
    return Autopilot(world.thrift, allow=allow, **{"min_quality": 0.95, "canary": 0.2, **options})


def _value(world: World) -> Any:
    return world.thrift.configurations.load("support").value


def _settings(world: World) -> dict[str, Any]:
    return {name: value for name, value in _value(world).items() if name in EVERY}


def _only(report: AutopilotReport) -> tuple[str, str]:
    (step,) = report.steps
    return step.action, step.why


def _fly(world: World, autopilot: Autopilot, days: int, *, until: str = "", **options: Any) -> list[str]:
    """So many days at most, looked at once a day. What was done, without the days on which it waited."""
    done = []
    for _ in range(days):
        world.pass_days(1, **options)
        action, _ = _only(autopilot.run())
        if action not in ("waits", "watches"):
            done.append(action)
        if action == until:
            break
    return done


def test_a_cheaper_model_that_is_as_good_is_tried_on_few_and_kept_for_all(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    assert _only(autopilot.run())[0] == "tries"
    value = _value(world)
    assert value["canary"] == {"settings": {"max_tier": "small"}, "share": 0.2, "unit": "user"}
    assert "max_tier" not in _settings(world)
    assert _only(autopilot.run()) == ("waits", "no calls since it began")
    assert _fly(world, autopilot, 8, until="keeps") == ["keeps"]
    assert _settings(world) == {"max_tier": "small"}
    notes = [row["note"] for row in autopilot.history() if row["tuning"] == "support"]
    assert notes[0].startswith("autopilot keeps: it saves more than 2.0%")
    assert notes[1].startswith("autopilot tries: max_tier of support: as built -> small")
    assert notes[-1] == "as built"
    arms = Experiment.named(world.thrift, "support@2").results().arms
    assert {arm.name for arm in arms} == {"control", "canary"}
    assert all(arm.requests and arm.judged for arm in arms)


def test_a_weaker_model_is_given_up_and_not_tried_again_at_once(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3, quality=weak_when_small)
    assert _only(autopilot.run())[0] == "tries"
    assert _fly(world, autopilot, 5, until="gives up", quality=weak_when_small) == ["gives up"]
    assert _settings(world) == {}
    (given_up,) = [each for each in autopilot.status().proposals if each.kind == "max_tier"]
    assert given_up.standing == "given up before"
    autopilot.approve(given_up.id)
    world.pass_days(1, quality=weak_when_small)
    assert _only(autopilot.run())[0] == "tries"


def test_what_was_kept_is_taken_back_when_its_model_gets_worse(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    autopilot.run()
    assert _fly(world, autopilot, 8, until="keeps") == ["keeps"]
    begun = world.clock.now
    assert _fly(world, autopilot, 1, quality=weak_when_small) == ["takes back"]
    assert world.clock.now - begun <= DAY
    assert autopilot.alerts()[0].startswith("autopilot takes back support: ")
    assert _settings(world) == {}
    assert _value(world)["canary"]["settings"] == {"max_tier": "small"}
    assert _fly(world, autopilot, 4, until="gives up", quality=weak_when_small) == ["gives up"]
    assert "canary" not in _value(world)
    assert _settings(world) == {}


def test_what_was_kept_is_watched_while_the_next_change_is_tried(world: World) -> None:
    autopilot = _autopilot(world, "max_tier", "cache_ttl_seconds")
    world.questions = 300
    world.pass_days(3)
    autopilot.run()
    assert _fly(world, autopilot, 8, until="keeps") == ["keeps"]
    assert _fly(world, autopilot, 1) == ["tries"]
    assert _fly(world, autopilot, 1, quality=weak_when_small) == ["takes back"]
    assert _settings(world) == {}
    assert _value(world)["canary"] == {"settings": {"max_tier": "small"}, "share": 0.2, "unit": "user"}


def test_a_longer_life_is_kept_for_what_a_replay_says_that_it_saves(world: World) -> None:
    autopilot = _autopilot(world, "cache_ttl_seconds", max_change=24)
    world.questions = 300
    world.pass_days(3)
    assert _only(autopilot.run())[0] == "tries"
    assert _fly(world, autopilot, 10, until="keeps") == ["keeps"]
    assert _settings(world) == {"cache_ttl_seconds": 86_400}


def test_a_longer_life_is_not_tried_where_no_canary_of_questions_can_show_what_it_costs(world: World) -> None:
    autopilot = _autopilot(world, "cache_ttl_seconds", "max_tier")
    world.questions = 60  # a fifth of them are 12
    world.pass_days(3)
    standing = {each.kind: each.standing for each in autopilot.status().proposals if each.tuning}
    assert standing["cache_ttl_seconds"] == "a canary cannot show it"
    assert _only(autopilot.run())[0] == "tries"
    assert _value(world)["canary"]["settings"] == {"max_tier": "small"}


def test_harder_questions_are_no_fault_of_what_was_kept(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    autopilot.run()
    assert _fly(world, autopilot, 8, until="keeps") == ["keeps"]
    done = _fly(world, autopilot, 10, until="keeps", quality=lambda settings: 0.75)
    assert done == ["takes back", "keeps"]
    assert _settings(world) == {"max_tier": "small"}


def test_a_number_goes_as_far_as_it_may_in_one_step_and_no_further_than_its_bounds(world: World) -> None:
    world.questions = 300
    world.thrift.configurations.save("support", {"cache_ttl_seconds": 3_600})
    autopilot = _autopilot(world, "cache_ttl_seconds", max_change=3, bounds={"cache_ttl_seconds": (60, 7_200)})
    world.pass_days(3)
    assert _only(autopilot.run())[0] == "tries"
    assert _value(world)["canary"] == {"settings": {"cache_ttl_seconds": 7_200}, "share": 0.2, "unit": "question"}


def test_only_what_is_allowed_is_tried_and_the_rest_waits_for_a_word(world: World) -> None:
    autopilot = _autopilot(world)
    world.pass_days(3)
    action, why = _only(autopilot.run())
    assert (action, why.split(";")[0]) == ("waits", "nothing that is allowed should save anything")
    proposals = {each.kind: each for each in autopilot.status().proposals if each.tuning}
    assert {"max_tier", "output_cap_tokens", "cache_ttl_seconds"} <= proposals.keys()
    assert all(each.standing == "waits for approval" for each in proposals.values())
    dear = proposals["max_tier"]
    assert dear.low_usd <= dear.saving_usd <= dear.high_usd
    assert dear.saving_usd > 0
    assert dear.evidence
    assert dear.risk == "high"
    autopilot.approve(dear.id)
    assert _only(autopilot.run())[0] == "tries"
    with pytest.raises(ConfigurationError, match="there is no proposal 'nothing'"):
        autopilot.approve("nothing")


def test_what_no_setting_changes_is_proposed_and_said_to_be_so(world: World) -> None:
    for _ in range(60):
        world.thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000, output_tokens=100), feature="chat")
    found = [each for each in _autopilot(world).status().proposals if not each.tuning]
    assert found
    assert {each.standing for each in found} == {"not applicable by itself"}
    assert all(each.how for each in found)


def test_stopped_in_one_process_it_is_stopped_in_all_and_canaries_end(world: World) -> None:
    autopilot, other = _autopilot(world, "max_tier"), _autopilot(world, "max_tier")
    world.pass_days(3)
    assert _only(autopilot.run())[0] == "tries"
    other.stop("we launch today")
    assert "canary" not in _value(world)
    world.pass_days(1)
    report = autopilot.run()
    assert not report.acted
    assert [(each.action, each.why) for each in report.steps] == [("stopped", "we launch today")]
    autopilot.start()
    assert _only(other.run())[0] == "tries"


def test_an_approval_does_not_undo_a_stop_of_the_same_moment(world: World) -> None:
    configurations, stops = world.thrift.configurations, [_autopilot(world).stop]

    def approve(said: Switch) -> Switch:
        while stops:
            stops.pop()("we launch today")
        return replace(said, approved=("cheaper",))

    Switch.change(configurations, "autopilot: approved cheaper", approve)
    said = Switch.read(configurations)
    assert (said.stopped, said.why, said.approved) == (True, "we launch today", ("cheaper",))
    assert [each.version for each in configurations.versions("autopilot")] == [2, 1]


def test_a_week_without_calls_changes_nothing(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    autopilot.run()
    world.pass_days(1)
    before = _value(world)
    for _ in range(7):
        world.clock.now += DAY
        action, why = _only(autopilot.run())
        assert action == "waits"
        assert why.startswith("no calls since 20")
    assert _value(world) == before
    assert _fly(world, autopilot, 8, until="keeps") == ["keeps"]


def test_without_judges_nothing_is_tried_and_what_is_tried_is_not_kept(world: World) -> None:
    autopilot = _autopilot(world, "max_tier", longest_days=6)
    world.pass_days(3, judged=0.0)
    action, why = _only(autopilot.run())
    assert action == "waits"
    assert "only 0 answers were judged" in why
    world.pass_days(2)
    assert _only(autopilot.run())[0] == "tries"
    world.pass_days(4, judged=0.0)
    action, why = _only(autopilot.run())
    assert action == "waits"
    assert "only 0 answers of the canary and 0 of the others were judged" in why
    assert _fly(world, autopilot, 3, judged=0.0) == ["gives up"]
    assert _settings(world) == {}


def test_judges_that_disagree_decide_nothing(world: World) -> None:
    autopilot = _autopilot(world, "max_tier", min_quality=0.85)
    world.judges["judge:b"] = lambda quality: 1.0 if quality < 0.9 else 0.2
    world.pass_days(3)
    autopilot.run()
    world.pass_days(8)
    action, why = _only(autopilot.run())
    assert action == "waits"
    assert "judges disagree by" in why
    assert _settings(world) == {}


def test_a_budget_that_runs_out_makes_it_wait_and_no_budget_is_touched(world: World) -> None:
    thrift, autopilot = world.thrift, _autopilot(world, "max_tier")
    thrift.budgets.add(Budget(limit_usd=1, window="day", name="all"))
    world.pass_days(3)
    autopilot.run()
    world.pass_days(8)
    before = _value(world)
    with thrift.budgets.reserve(estimate_usd=1) as hold:
        hold.settle(cost_usd=1)
    action, why = _only(autopilot.run())
    assert action == "waits"
    assert why.startswith("budget 'all' has run out, until 20")
    assert _value(world) == before
    world.clock.now += DAY
    world.pass_days(0.5)
    assert _only(autopilot.run())[0] == "keeps"
    assert [budget.limit_usd for budget in thrift.budgets.all()] == [1]


def test_a_users_own_change_ends_what_is_tried(world: World) -> None:
    autopilot = _autopilot(world, "max_tier", "output_cap_tokens")
    world.pass_days(3)
    autopilot.run()
    world.thrift.configurations.save("support", {"shorten": "lossless"}, note="mine")
    world.pass_days(2)
    autopilot.run()
    assert _settings(world) == {"shorten": "lossless"}


def test_a_users_change_in_the_middle_of_a_look_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)

    def slow(*arguments: Any, **options: Any) -> Any:
        world.thrift.configurations.save("support", {"output_cap_tokens": 100})
        return margin_left(*arguments, **options)

    monkeypatch.setattr(pilot, "margin_left", slow)
    assert _only(autopilot.run()) == ("waits", "somebody has changed the configuration meanwhile")
    assert _settings(world) == {"output_cap_tokens": 100}
    assert "canary" not in _value(world)


def test_a_user_who_goes_back_between_its_last_look_and_its_save_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configurations = world.thrift.configurations
    configurations.save("support", {"shorten": "off"}, note="mine")
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    add = VersionStore.add

    def late(store: VersionStore, name: str, *arguments: Any, **options: Any) -> Any:
        if name == "support":
            configurations.roll_back("support")  # the latest number stays the same
        return add(store, name, *arguments, **options)

    monkeypatch.setattr(VersionStore, "add", late)
    assert _only(autopilot.run()) == ("waits", "somebody has changed the configuration meanwhile")
    assert _value(world) == {}
    assert [(each.version, each.active) for each in configurations.versions("support")] == [(2, False), (1, True)]


def test_when_judging_stops_after_a_change_was_kept_it_says_that_it_is_blind(world: World) -> None:
    autopilot = _autopilot(world, "max_tier", "output_cap_tokens")
    world.pass_days(3)
    autopilot.run()
    assert _fly(world, autopilot, 8, until="keeps") == ["keeps"]
    assert autopilot.alerts() == []
    assert _fly(world, autopilot, 1, judged=0.0) == ["tries"]  # judges may run once a day
    assert _fly(world, autopilot, 3, until="cannot watch", judged=0.0) == ["cannot watch"]
    assert "canary" in _value(world)
    (alert,) = autopilot.alerts()
    assert alert.startswith("autopilot cannot watch support: none of ")
    assert alert.endswith(" was judged: what was kept could get worse unseen")
    world.thrift.attach(autopilot)
    assert alert in world.thrift.health()["alerts"]
    world.pass_days(6, judged=0.0)
    assert _only(autopilot.run())[0] == "cannot watch"
    world.pass_days(0.5, judged=0.1)
    action, why = _only(autopilot.run())
    assert (action, why.split(" of ")[0][:5]) == ("cannot watch", "only ")
    world.pass_days(0.5)
    assert _only(autopilot.run())[0] != "cannot watch"
    assert autopilot.alerts() == []
    world.clock.now += 3 * DAY
    assert _only(autopilot.run())[1].startswith("no calls since 20")  # without calls there is nothing to watch


def test_a_user_who_rolls_back_what_was_kept_is_not_overruled(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    autopilot.run()
    assert _fly(world, autopilot, 8, until="keeps") == ["keeps"]
    world.thrift.configurations.roll_back("support")
    world.pass_days(1)
    assert _only(autopilot.run())[0] == "gives up"
    assert "canary" not in _value(world)
    assert _fly(world, autopilot, 3) == []
    assert _settings(world) == {}


def test_a_pruned_ledger_ends_what_is_tried(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    autopilot.run()
    world.pass_days(4)
    world.thrift.prune(older_than=datetime.fromtimestamp(world.clock.now - DAY, UTC))
    action, why = _only(autopilot.run())
    assert (action, why) == ("gives up", "calls since it began were pruned from the ledger")
    assert _settings(world) == {}


def test_of_two_on_one_database_one_acts(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    with Lease(world.thrift.database, "autopilot", seconds=60, clock=world.clock) as is_ours:
        assert is_ours
        report = autopilot.run()
    assert not report.acted
    assert "another autopilot is at work" in str(report)
    assert f"process {os.getpid()} on " in str(report)
    assert "canary" not in _value(world)


def test_after_a_kill_it_says_who_held_the_lease_since_when_and_acts_when_that_ends(world: World) -> None:
    autopilot = _autopilot(world, "max_tier")
    world.pass_days(3)
    began = datetime.fromtimestamp(world.clock.now, UTC)
    Lease(world.thrift.database, "autopilot", seconds=900, clock=world.clock).__enter__()  # and never ended
    world.clock.now += 60
    _, why = _only(autopilot.run())
    assert f"since {began:%Y-%m-%d %H:%M:%S} UTC" in why
    assert f"from {began + timedelta(seconds=900):%H:%M:%S} UTC on" in why
    world.clock.now += 900
    assert autopilot.run().acted


def test_plans_of_the_prompt_cache_are_tried_and_kept_where_prompts_are_long(world: World) -> None:
    world.input_tokens = 2_000
    autopilot = _autopilot(world, "prompt_caching")
    world.pass_days(3)
    action, why = _only(autopilot.run())
    assert (action, "a third is read again" in why) == ("tries", True)
    for _ in range(8):
        world.pass_days(1, 400)
        if _only(autopilot.run())[0] == "keeps":
            break
    assert _settings(world) == {"prompt_caching": True}
    world.pass_days(1)
    assert all(each.kind != "prompt_caching" for each in autopilot.status().proposals)


def test_short_prompts_have_no_prefix_to_plan(world: World) -> None:
    world.pass_days(3)
    assert all(each.kind != "prompt_caching" for each in _autopilot(world).status().proposals)


_KILLED = """
import os, signal, sys
from llmthrift_core import Thrift
from llmthrift_core.autopilot import Autopilot
from llmthrift_core.versions.store import VersionStore

url, now, when = sys.argv[1], float(sys.argv[2]), sys.argv[3]
add = VersionStore.add

def dies(store, name, *arguments, **options):
    if name == "support" and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    found = add(store, name, *arguments, **options)
    if name == "support":
        os.kill(os.getpid(), signal.SIGKILL)
    return found

VersionStore.add = dies
with Thrift(url, clock=lambda: now) as thrift:
    Autopilot(thrift, allow={"max_tier"}, min_quality=0.95, canary=0.2).run()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_is_killed_while_it_promotes_leaves_one_version_or_the_other(tmp_path: Path, clock: Clock, when: str) -> None:
    url = str(tmp_path / "ledger.db")
    with Thrift(url, clock=clock) as thrift:
        thrift.configurations.save("support", {}, note="as built")
        world = World(thrift, clock)
        autopilot = _autopilot(world, "max_tier")
        world.pass_days(3)
        assert _only(autopilot.run())[0] == "tries"
        world.pass_days(4, 400)
        assert _only(autopilot.status())[0] == "keeps"
        died = subprocess.run([sys.executable, "-c", _KILLED, url, str(clock.now), when], check=False, timeout=120)
        assert died.returncode == -signal.SIGKILL
        assert world.tuning.look() is (when == "after")
        assert [each.version for each in thrift.configurations.versions("support") if each.active] == [3 if when == "after" else 2]
        assert not autopilot.run().acted  # the one that died may still be at work, as far as anybody knows
        clock.now += 901
        action, _ = _only(autopilot.run())
        assert (action, _settings(world)) == ("watches" if when == "after" else "keeps", {"max_tier": "small"})
        assert [each.version for each in thrift.configurations.versions("support")] == [3, 2, 1]


def test_two_at_once_make_one_version(tmp_path: Path, clock: Clock) -> None:
    with Thrift(tmp_path / "ledger.db", clock=clock) as thrift:
        thrift.configurations.save("support", {})
        world = World(thrift, clock)
        world.pass_days(3)
        with Thrift(tmp_path / "ledger.db", clock=clock) as second:
            reports: list[AutopilotReport] = []
            threads = [
                threading.Thread(target=lambda each=each: reports.append(Autopilot(each, allow={"max_tier"}, min_quality=0.95).run()))
                for each in (thrift, second)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(reports) == 2
        assert [each.version for each in thrift.configurations.versions("support")] == [2, 1]


def test_it_runs_in_the_background_only_where_it_is_asked_to(world: World) -> None:
    world.pass_days(3)
    idle = _autopilot(world, "max_tier")
    assert "canary" not in _value(world)
    running = _autopilot(world, "max_tier", every_seconds=0.01)
    for _ in range(500):
        if "canary" in _value(world):
            break
        threading.Event().wait(0.01)
    assert "canary" in _value(world)
    (healthy,) = [part for part in world.thrift.health()["tuning"] if "autopilot" in part]
    assert healthy["errors"] == 0
    running.close()
    idle.close()


def test_observing_it_proposes_and_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.pass_days(3)
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    report = _autopilot(world, "max_tier").run()
    assert not report.acted
    assert report.steps[0].why.startswith("would be next: ")
    assert "canary" not in _value(world)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"allow": {"budgets"}}, "allow names settings of doors"),
        ({"max_change": 1}, "max_change must be a factor"),
        ({"canary": 0.9}, "canary must be a share"),
        ({"min_quality": 1.2}, "min_quality must be a share"),
        ({"bounds": {"cache_ttl_seconds": (60,)}}, "the bounds of cache_ttl_seconds"),
        ({"bounds": {"max_tier": (1, 2)}}, "bounds are for"),
        ({"unit": "planet"}, "unit must be"),
        ({"every_seconds": 0}, "every_seconds must be"),
        ({"speed": 3}, "an option of the autopilot cannot be used"),
    ],
)
def test_options_that_cannot_be_used_are_refused(thrift: Thrift, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Autopilot(thrift, **options)


def test_what_stays_undecided_is_given_up(world: World) -> None:
    autopilot = _autopilot(world, "shorten", shortest_days=1, longest_days=4)
    world.pass_days(3)
    assert _only(autopilot.run())[0] == "tries"
    assert _fly(world, autopilot, 4) == ["gives up"]
    assert _settings(world) == {}


def test_on_every_kind_of_database(any_url: str, clock: Clock) -> None:
    with Thrift(any_url, clock=clock) as thrift:
        thrift.configurations.save("support", {})
        world = World(thrift, clock)
        world.judges["judge:b"] = lambda quality: quality
        autopilot = _autopilot(world, "max_tier")
        world.pass_days(3)
        assert _only(autopilot.run())[0] == "tries"
        assert _fly(world, autopilot, 8, until="keeps") == ["keeps"]
        assert _fly(world, autopilot, 2, until="takes back", quality=weak_when_small) == ["takes back"]
