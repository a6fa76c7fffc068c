"""A door that is given `tuning=` does what the active version of a configuration says: both frameworks, models and routers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift, attribute
from llmthrift_core.attribution import Attribution
from llmthrift_core.autopilot import Autopilot
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.testing import Answer, LoopbackProvider
from llmthrift_core.versions.tuning import Tuning
from tests.contracts.doors import ask, client, llm
from tests.core.autopilot.world import World
from tests.core.clock import Clock

pytestmark = pytest.mark.loopback

WAYS = ("invoke", "ainvoke", "stream", "astream")
TURNS = [{"role": "user", "content": "Summarize   the tale\n\n\n\nof the bridge."}]


def _langchain(thrift: Thrift, provider: LoopbackProvider, **options: Any) -> Any:
    return lc.thrifty(client(provider), thrift, **options)


def _langchain_router(thrift: Thrift, provider: LoopbackProvider, **options: Any) -> Any:
    models = {"small": client(provider), "large": client(provider).model_copy(update={"model_name": "gpt-4o"})}
    return lc.ChatRouter(thrift, models=models, policy=lambda request: "large", **options)


def _llamaindex(thrift: Thrift, provider: LoopbackProvider, **options: Any) -> Any:
    return li.thrifty(llm(provider), thrift, **options)


def _llamaindex_router(thrift: Thrift, provider: LoopbackProvider, **options: Any) -> Any:
    models = {"small": llm(provider), "large": llm(provider).model_copy(update={"model": "gpt-4o"})}
    return li.RouterLLM(thrift, models=models, policy=lambda request: "large", **options)


DOORS = [_langchain, _langchain_router, _llamaindex, _llamaindex_router]
ROUTERS = [_langchain_router, _llamaindex_router]
doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__.strip("_"))


@pytest.fixture
def clock() -> Clock:
    return Clock(1_780_000_000.0)


@pytest.fixture
def thrift(clock: Clock) -> Iterator[Thrift]:
    with Thrift(":memory:", clock=clock) as opened:
        yield opened


@pytest.fixture
def tuning(thrift: Thrift) -> Tuning:
    return thrift.configurations.follow("support", check_seconds=3_600)


def _save(thrift: Thrift, tuning: Tuning, value: dict[str, Any]) -> int:
    saved = thrift.configurations.save("support", value)
    assert tuning.look()
    return saved.version


def _limit(body: Any) -> int | None:
    limit: int | None = body.get("max_completion_tokens") or body.get("max_tokens")
    return limit


@doors
@pytest.mark.parametrize("how", WAYS)
def test_a_saved_version_changes_what_is_sent_and_a_roll_back_changes_it_back(
    door: Any, how: str, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider
) -> None:
    model = door(thrift, provider, tuning="support", cache=False)
    ask(model, TURNS, how)
    assert _limit(provider.requests[-1].body) is None
    _save(thrift, tuning, {})
    _save(thrift, tuning, {"output_cap_tokens": 40, "shorten": "lossless"})
    ask(model, TURNS, how)
    body = provider.requests[-1].body
    assert _limit(body) == 40
    assert "tale\n\n\n\nof" not in body["messages"][-1]["content"]
    thrift.configurations.roll_back("support")
    assert tuning.look()
    ask(model, TURNS, how)
    assert _limit(provider.requests[-1].body) is None
    thrift.flush()
    versions = [dict(row["tags"]).get("tuning") for row in thrift.ledger.calls(order="oldest")]
    assert versions == [None, "support@2", "support@1"]


@doors
def test_how_long_an_answer_serves_is_looked_up(
    door: Any, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider, clock: Clock
) -> None:
    model = door(thrift, provider, tuning="support", cache=True)
    _save(thrift, tuning, {"cache_ttl_seconds": 60})
    asked = len(provider.requests)
    ask(model, TURNS)
    clock.now += 50
    ask(model, TURNS)
    assert len(provider.requests) == asked + 1
    clock.now += 20
    ask(model, TURNS)
    assert len(provider.requests) == asked + 2  # 70 seconds old
    _save(thrift, tuning, {"cache_ttl_seconds": 10})
    clock.now += 20
    ask(model, TURNS)
    assert len(provider.requests) == asked + 3  # stored for a minute, and too old for what is in force now
    _save(thrift, tuning, {"cache_ttl_seconds": 86_400})
    ask(model, TURNS)
    clock.now += 50_000
    assert len(provider.requests) == asked + 3
    ask(model, TURNS)
    assert len(provider.requests) == asked + 4  # was stored by a version that kept it for ten seconds
    clock.now += 50_000
    ask(model, TURNS)
    assert len(provider.requests) == asked + 4


@pytest.mark.parametrize("door", ROUTERS, ids=lambda door: door.__name__.strip("_"))
def test_the_strongest_tier_is_looked_up_and_keeps_answers_apart(
    door: Any, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider
) -> None:
    model = door(thrift, provider, tuning="support", cache=True)
    ask(model, TURNS)
    assert provider.requests[-1].body["model"] == "gpt-4o"
    _save(thrift, tuning, {"max_tier": "small"})
    ask(model, TURNS)
    assert provider.requests[-1].body["model"] == "gpt-4o-mini"
    _save(thrift, tuning, {"max_tier": "huge"})  # which this door does not have
    asked = len(provider.requests)
    ask(model, TURNS)
    assert len(provider.requests) == asked + 1
    assert provider.requests[-1].body["model"] == "gpt-4o"


@pytest.mark.parametrize("door", ROUTERS, ids=lambda door: door.__name__.strip("_"))
def test_what_the_autopilot_tries_keeps_and_stops_is_what_the_door_does(
    door: Any, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider, clock: Clock
) -> None:
    model = door(thrift, provider, tuning="support", cache=False)
    thrift.configurations.save("support", {})
    autopilot, world = Autopilot(thrift, allow={"max_tier"}, canary=0.2, min_quality=0.95), World(thrift, clock)

    def served() -> set[str]:
        tuning.look()
        asked = len(provider.requests)
        for number in range(12):
            with attribute(user=f"user {number}"):
                ask(model, TURNS)
        return {request.body["model"] for request in provider.requests[asked:]}

    world.pass_days(3)
    assert served() == {"gpt-4o"}
    assert autopilot.run().steps[0].action == "tries"
    assert served() == {"gpt-4o", "gpt-4o-mini"}
    autopilot.stop()
    assert served() == {"gpt-4o"}
    autopilot.start()
    world.pass_days(1)
    assert autopilot.run().steps[0].action == "tries"
    for _ in range(8):
        world.pass_days(1)
        if autopilot.run().steps[0].action == "keeps":
            break
    assert served() == {"gpt-4o-mini"}


@doors
def test_answers_by_meaning_are_switched_off_and_on(door: Any, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider) -> None:
    options: dict[str, Any] = {"semantic": 0.8} if "llamaindex" in door.__name__ else {"cache": lc.ThriftCache(thrift, semantic=0.8)}
    model = door(thrift, provider, tuning="support", **options)
    _save(thrift, tuning, {"semantic": False})
    ask(model, [{"role": "user", "content": "How do I reset my password?"}])
    asked = len(provider.requests)
    ask(model, [{"role": "user", "content": "how can I reset my password"}])
    assert len(provider.requests) == asked + 1
    _save(thrift, tuning, {"semantic": True})
    ask(model, [{"role": "user", "content": "How do I reset my password?"}], "stream")
    thrift.invalidate(scope={"namespace": "default"})
    ask(model, [{"role": "user", "content": "How do I reset my password?"}])
    asked = len(provider.requests)
    ask(model, [{"role": "user", "content": "how can I reset my password"}])
    assert len(provider.requests) == asked


@doors
def test_a_canary_serves_its_share_of_users_and_rows_say_so(door: Any, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider) -> None:
    model = door(thrift, provider, tuning="support", cache=False)
    number = _save(thrift, tuning, {"canary": {"settings": {"output_cap_tokens": 40}, "share": 0.5, "unit": "user"}})
    limits: dict[str, set[int | None]] = {}
    for user in [f"user {number}" for number in range(12)] * 2:
        with attribute(user=user):
            ask(model, TURNS)
        limits.setdefault(user, set()).add(_limit(provider.requests[-1].body))
    assert all(len(each) == 1 for each in limits.values())  # sticky
    assert {limit for each in limits.values() for limit in each} == {40, None}
    ask(model, TURNS)  # without a user: not part of it
    assert _limit(provider.requests[-1].body) is None
    thrift.flush()
    for row in thrift.ledger.calls():
        tags = dict(row["tags"])
        assert tags["tuning"] == f"support@{number}"
        capped = row["user"] is not None and limits[row["user"]] == {40}
        assert tags.get(f"experiment:support@{number}") == (None if row["user"] is None else "canary" if capped else "control")


@doors
@pytest.mark.parametrize("how", ["invoke", "astream"])
def test_a_question_is_in_one_arm_whoever_asks_it(door: Any, how: str, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider) -> None:
    model = door(thrift, provider, tuning="support", cache=False)
    _save(thrift, tuning, {"canary": {"settings": {"output_cap_tokens": 40}, "share": 0.5, "unit": "question"}})
    limits: dict[int, set[int | None]] = {}
    for user in ("ada", "bob"):
        for number in range(8):
            with attribute(user=user):
                ask(model, [{"role": "user", "content": f"What is {number} squared?"}], how)
            limits.setdefault(number, set()).add(_limit(provider.requests[-1].body))
    assert all(len(each) == 1 for each in limits.values())
    assert {limit for each in limits.values() for limit in each} == {40, None}


@doors
def test_what_an_arm_stores_serves_the_other_for_its_own_time(
    door: Any, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider, clock: Clock
) -> None:
    model = door(thrift, provider, tuning="support", cache=True)
    canary = {"settings": {"cache_ttl_seconds": 1_000}, "share": 0.5, "unit": "user"}
    _save(thrift, tuning, {"cache_ttl_seconds": 100, "canary": canary})
    arms: dict[float | None, str] = {}
    for number in range(40):
        with attribute(user=f"user {number}") as who:
            settings, _ = tuning.for_call(who)
        arms.setdefault(settings.cache_ttl_seconds, f"user {number}")
    with attribute(user=arms[100]):
        ask(model, TURNS)
    asked = len(provider.requests)
    clock.now += 500
    with attribute(user=arms[1_000]):
        ask(model, TURNS)
    assert len(provider.requests) == asked
    with attribute(user=arms[100]):
        ask(model, TURNS)
    assert len(provider.requests) == asked + 1


@doors
def test_what_cannot_be_used_leaves_the_door_as_it_was(
    door: Any, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider, caplog: pytest.LogCaptureFixture
) -> None:
    model = door(thrift, provider, tuning=tuning, cache=False)
    provider.answerer = lambda question: Answer("fine")
    _save(thrift, tuning, {"output_cap_tokens": 50})
    thrift.configurations.save("support", {"output_caps": 3})
    assert not tuning.look()
    assert ask(model, TURNS) == "fine"
    assert _limit(provider.requests[-1].body) == 50
    assert "no setting 'output_caps'" in caplog.text
    assert any("output_caps" in alert for alert in thrift.health()["alerts"])
    with pytest.raises(ConfigurationError, match="tuning must be the name"):
        door(thrift, provider, tuning=3)


@doors
def test_observing_changes_nothing(
    door: Any, thrift: Thrift, tuning: Tuning, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    model = door(thrift, provider, tuning="support", cache=False)
    _save(thrift, tuning, {"output_cap_tokens": 50})
    ask(model, TURNS)
    assert _limit(provider.requests[-1].body) is None


def test_in_another_process_it_is_followed_there(tmp_path: Path) -> None:
    with Thrift(tmp_path / "ledger.db") as thrift:
        thrift.configurations.save("support", {"output_cap_tokens": 50})
        copy = pickle.loads(pickle.dumps(thrift.configurations.follow("support")))
        with copy._thrift:
            assert copy.for_call(Attribution())[0].output_cap_tokens == 50
