"""Who gets which arm, and what follows from what the arms cost and how good they were."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core import Thrift, Usage, attribute
from llmthrift_core.attribution import current_attribution
from llmthrift_core.cache import CachePolicy
from llmthrift_core.calls.request import CacheUse, PromptFeatures, Request, Response
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.quality import Experiment, ExperimentResults
from llmthrift_core.quality.experiment_results import read_arms
from llmthrift_core.quality.sampling import position
from tests.core.clock import Clock

HALVES = {"control": 1, "candidate": 1}


@pytest.fixture
def memory_thrift() -> Any:
    with Thrift(":memory:") as opened:
        yield opened


# --- assignment ---


@pytest.mark.parametrize("arms", [HALVES, {"a": 9, "b": 1}, {"a": 1, "b": 2, "c": 3}])
def test_shares_are_those_of_the_weights(memory_thrift: Thrift, arms: dict[str, float]) -> None:
    experiment = Experiment(memory_thrift, "e", arms=arms)
    counts = Counter(experiment.arm_of(f"user-{number}") for number in range(20_000))
    for name, share in experiment.arms.items():
        assert abs(counts[name] - 20_000 * share) < 4 * math.sqrt(20_000 * share * (1 - share))


def test_the_arm_of_a_unit_never_changes_in_any_process(memory_thrift: Thrift) -> None:
    experiment = Experiment(memory_thrift, "e", arms=HALVES)
    here = [experiment.arm_of(f"u{number}") for number in range(50)]
    program = (
        "from llmthrift_core import Thrift\n"
        "from llmthrift_core.quality import Experiment\n"
        "e = Experiment(Thrift(':memory:'), 'e', arms={'control': 1, 'candidate': 1})\n"
        "print(*[e.arm_of(f'u{n}') for n in range(50)])"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert there.stdout.split() == here
    assert [experiment.arm_of(f"u{number}") for number in range(50)] == here


def test_experiments_are_independent_unless_they_share_a_salt(memory_thrift: Thrift) -> None:
    one, two, same = (
        Experiment(memory_thrift, name, arms=HALVES, salt=salt) for name, salt in (("one", None), ("two", None), ("same", "one"))
    )
    users = [f"user-{number}" for number in range(10_000)]
    assert all(one.arm_of(user) == same.arm_of(user) for user in users)
    both = sum(one.arm_of(user) == two.arm_of(user) for user in users)
    assert abs(both - 5_000) < 4 * 50  # binomial with p = 1/2


@given(st.text(), st.floats(0.001, 1_000), st.floats(0.001, 1_000))
def test_every_unit_gets_an_arm(unit: str, one: float, two: float) -> None:
    assert 0 <= position(unit, key=b"k") < 1
    with Thrift(":memory:") as thrift:
        assert Experiment(thrift, "e", arms={"a": one, "b": two}).arm_of(unit) in ("a", "b")


def test_raising_a_weight_moves_no_unit_out_of_the_raised_arm(memory_thrift: Thrift) -> None:
    small = Experiment(memory_thrift, "small", arms={"candidate": 1, "control": 9}, control="control", salt="s")
    large = Experiment(memory_thrift, "large", arms={"candidate": 5, "control": 5}, control="control", salt="s")
    users = [f"user-{number}" for number in range(2_000)]
    assert all(large.arm_of(user) == "candidate" for user in users if small.arm_of(user) == "candidate")


def test_the_arm_is_recorded_with_every_call_of_the_block(any_thrift: Thrift) -> None:
    experiment = Experiment(any_thrift, "e", arms=HALVES)
    for user in ("ada", "ben", "cy"):
        with attribute(user=user), experiment.assigned() as arm:
            assert arm == experiment.arm_of(user)
            any_thrift.ledger.record("gpt-4o", Usage(input_tokens=1))
    with experiment.assigned("dee") as arm:
        any_thrift.ledger.record("gpt-4o", Usage(input_tokens=1))
    assert {row.user: row.tags["experiment:e"] for row in any_thrift.ledger.calls()} == {
        user: experiment.arm_of(user) for user in ("ada", "ben", "cy", "dee")
    }
    assert sum(row["requests"] for row in any_thrift.report(by="experiment:e").to_dicts()) == 4


def test_requests_get_an_arm_each(any_thrift: Thrift) -> None:
    experiment = Experiment(any_thrift, "e", arms=HALVES, unit="request")
    arms = Counter()  # type: ignore[var-annotated]
    for _ in range(200):
        with attribute(user="ada"), experiment.assigned() as arm:
            arms[arm] += 1
            assert current_attribution().user == "ada"
    assert 60 < arms["control"] < 140


def test_calls_without_a_unit_are_not_part_of_it(any_thrift: Thrift, caplog: pytest.LogCaptureFixture) -> None:
    experiment = Experiment(any_thrift, "e", arms={"candidate": 1, "control": 1}, control="control", unit="session")
    for _ in range(3):
        with attribute(user="ada"), experiment.assigned() as arm:
            assert arm == "control"
            assert current_attribution().tags == ()
    assert caplog.text.count("calls without a session are not part of it") == 1


@pytest.mark.parametrize("switch", ["LLMTHRIFT_OBSERVE", "LLMTHRIFT_DISABLED"])
def test_observed_and_disabled_applications_stay_as_they_are(any_thrift: Thrift, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    experiment = Experiment(any_thrift, "e", arms=HALVES)
    monkeypatch.setenv(switch, "1")
    for number in range(20):
        with experiment.assigned(f"u{number}") as arm:
            assert (arm, current_attribution().tags) == ("control", ())


# --- the definition ---


def test_another_definition_of_the_same_name_is_refused(any_thrift: Thrift) -> None:
    Experiment(any_thrift, "e", arms=HALVES)
    Experiment(any_thrift, "e", arms=HALVES)
    for options in ({"arms": {"control": 9, "candidate": 1}}, {"arms": HALVES, "unit": "session"}, {"arms": HALVES, "salt": "s"}):
        with pytest.raises(ConfigurationError, match="Take another name"):
            Experiment(any_thrift, "e", **options)  # type: ignore[arg-type]


def test_found_again_by_its_name(any_thrift: Thrift, clock: Clock) -> None:
    made = Experiment(any_thrift, "e", arms={"b": 1, "a": 3}, control="a", unit="session", salt="s")
    clock.now += 3600
    found = Experiment.named(any_thrift, "e")
    assert (list(found.arms.items()), found.control, found.unit) == ([("b", 0.25), ("a", 0.75)], "a", "session")
    assert [found.arm_of(str(n)) for n in range(100)] == [made.arm_of(str(n)) for n in range(100)]
    assert found.results().since == made.results().since
    with pytest.raises(ConfigurationError, match="there is no experiment 'f'; there are: 'e'"):
        Experiment.named(any_thrift, "f")


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\0b"},
        {"name": 5},
        {"arms": {"only": 1}},
        {"arms": ["a", "b"]},
        {"arms": {"a": 0, "b": 1}},
        {"arms": {"a": math.nan, "b": 1}},
        {"arms": {"a": True, "b": 1}},
        {"arms": {"": 1, "b": 1}},
        {"unit": "team"},
        {"control": "c"},
        {"salt": ""},
    ],
)
def test_options_that_cannot_be_used(memory_thrift: Thrift, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Experiment(memory_thrift, **{"name": "e", "arms": HALVES, **options})


@pytest.mark.parametrize(
    "options", [{"confidence": 2}, {"min_saving": -1}, {"quality_margin": 0}, {"quality_margin": math.nan}, {"since": "soon"}]
)
def test_results_that_cannot_be_asked_for(memory_thrift: Thrift, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Experiment(memory_thrift, "e", arms=HALVES).results(**options)


# --- results ---


class Traffic:
    """Calls of users, whose cost is in cents and whose quality is given by the arm."""

    def __init__(self, thrift: Thrift, **options: Any) -> None:
        thrift.prices.override("m", input_usd_per_million=10, output_usd_per_million=0)
        self.thrift = thrift
        self.experiment = Experiment(thrift, "e", arms=HALVES, **options)
        self._random = random.Random(5)

    def flow(self, users: int, *, cents: dict[str, float], right: dict[str, float], judged: float = 1.0, requests: int = 2) -> None:
        """Costs are log-normal with sigma 1 and the given mean."""
        for number in range(users):
            with attribute(user=f"user-{number}"), self.experiment.assigned() as arm:
                for _ in range(requests):
                    cost = cents[arm] * self._random.lognormvariate(-0.5, 1)
                    request_id = self.thrift.ledger.record("m", Usage(input_tokens=round(cost * 1_000)))
                    if self._random.random() < judged:
                        self.thrift.ledger.feedback(request_id, quality=float(self._random.random() < right[arm]), source="judge:j")

    def candidate(self, **options: Any) -> Any:
        return next(arm for arm in self.experiment.results(**options).arms if arm.verdict is not None)


def test_sums_are_exact_and_by_arm(any_thrift: Thrift) -> None:
    experiment = Experiment(any_thrift, "e", arms=HALVES)
    any_thrift.prices.override("m", input_usd_per_million=10, output_usd_per_million=0)
    expected: dict[str, list[Any]] = {"control": [set(), 0, 0], "candidate": [set(), 0, 0]}
    for number in range(60):
        user = f"user-{number % 20}"
        with attribute(user=user, tags={"other": str(number)}), experiment.assigned() as arm:
            request_id = any_thrift.ledger.record("m", Usage(input_tokens=1_000 + number))
            any_thrift.ledger.record("m", Usage(input_tokens=10**6), request_type="evaluation")
        any_thrift.ledger.feedback(request_id, quality=0.5)
        units, requests, tokens = expected[arm]
        units.add(user)
        expected[arm][1:] = [requests + 1, tokens + 1_000 + number]
    any_thrift.ledger.record("m", Usage(input_tokens=1), user="user-1", tags={"experiment:E": "control", "x": '"experiment:e":"control"'})
    rows = {row["arm"]: row for row in experiment.results().to_dicts()}
    for arm, (units, requests, tokens) in expected.items():
        row = rows[arm]
        assert (row["units"], row["requests"], row["cost_usd"], row["judged"]) == (len(units), requests, Decimal(tokens) / 10**5, requests)
        assert row["quality"] == 0.5
        assert row["cost_per_request_usd"] == pytest.approx(tokens / 10**5 / requests)


def test_a_cheaper_candidate_that_is_as_good_is_recommended(any_thrift: Thrift) -> None:
    traffic = Traffic(any_thrift)
    traffic.flow(700, cents={"control": 10, "candidate": 5}, right={"control": 0.99, "candidate": 0.99}, requests=3)
    arm = traffic.candidate()
    assert arm.verdict == "recommended", arm.reasons
    assert 0.10 < arm.saving.low < 0.5 < arm.saving.high
    assert -0.02 < arm.quality_change.low < 0 < arm.quality_change.high
    assert "It saves 4" in arm.reasons[0] or "It saves 5" in arm.reasons[0]


def test_a_cheaper_candidate_that_is_worse_is_rejected(any_thrift: Thrift) -> None:
    traffic = Traffic(any_thrift)
    traffic.flow(300, cents={"control": 10, "candidate": 2}, right={"control": 0.95, "candidate": 0.75})
    arm = traffic.candidate()
    assert (arm.verdict, arm.reasons[0].split(":")[0]) == ("rejected", "Its quality is lower by more than 0.02")


def test_a_candidate_that_saves_nothing_is_rejected(any_thrift: Thrift) -> None:
    traffic = Traffic(any_thrift)
    traffic.flow(300, cents={"control": 5, "candidate": 10}, right={"control": 0.95, "candidate": 0.95})
    arm = traffic.candidate()
    assert (arm.verdict, arm.reasons[0].split(":")[0]) == ("rejected", "It does not save more than 10.0%")


def test_a_saving_that_may_be_chance_is_not_claimed(any_thrift: Thrift) -> None:
    traffic = Traffic(any_thrift)
    traffic.flow(150, cents={"control": 10, "candidate": 8}, right={"control": 1, "candidate": 1})
    arm = traffic.candidate(quality_margin=0.2)
    assert arm.saving.low < 0.10 < arm.saving.high
    assert (arm.verdict, len(arm.reasons)) == ("undecided", 1)
    assert arm.reasons[0].startswith("That it saves more than 10.0% is not certain yet")


def test_too_few_judged_answers_are_named(any_thrift: Thrift) -> None:
    traffic = Traffic(any_thrift)
    traffic.flow(300, cents={"control": 10, "candidate": 5}, right={"control": 0.9, "candidate": 0.9}, judged=0.15)
    arm = traffic.candidate()
    assert arm.verdict == "undecided"
    assert "Too few judged users: " in arm.reasons[-1]
    judged, needed = (
        int(text.replace(",", "")) for text in arm.reasons[-1].split("judged users: ")[1].removesuffix(" in each arm.").split(" of about ")
    )
    assert 30 <= judged < 60
    # Of qualities of 0.9: (1.96 + 0.84)^2 * 2 * 0.09 / 0.02^2 is 3,532.
    assert 1_500 < needed < 6_000


def test_an_empty_experiment_says_what_is_missing(any_thrift: Thrift) -> None:
    results = Experiment(any_thrift, "e", arms={"control": 1, "one": 1, "two": 1}).results()
    assert [(arm.name, arm.verdict) for arm in results.arms] == [("control", None), ("one", "undecided"), ("two", "undecided")]
    assert results.arms[1].reasons == ("Too few users: 0 of at least 30 in each arm.", "Too few judged users: 0 of about 30 in each arm.")
    assert "unknown" in str(results)
    json.dumps(results.to_dicts(), default=str, allow_nan=False)


def test_calls_without_a_price_leave_it_open(any_thrift: Thrift) -> None:
    traffic = Traffic(any_thrift)
    traffic.flow(200, cents={"control": 10, "candidate": 1}, right={"control": 1, "candidate": 1})
    with attribute(user="user-1"), traffic.experiment.assigned():
        any_thrift.ledger.record("unheard-of", Usage(input_tokens=1))
    arm = traffic.candidate()
    assert arm.verdict == "undecided"
    assert "1 call has no price" in arm.reasons[0]
    any_thrift.prices.override("unheard-of", input_usd_per_million=1, output_usd_per_million=1)
    assert any_thrift.ledger.reprice_unpriced() == 1
    assert "no price" not in str(traffic.experiment.results())


def test_a_candidate_like_the_control_is_hardly_ever_recommended(memory_thrift: Thrift) -> None:
    verdicts = Counter()  # type: ignore[var-annotated]
    memory_thrift.prices.override("m", input_usd_per_million=10, output_usd_per_million=0)
    chance = random.Random(11)
    for number in range(40):
        experiment = Experiment(memory_thrift, f"e{number}", arms=HALVES, unit="request")
        for request in range(120):
            with experiment.assigned(str(request)):
                request_id = memory_thrift.ledger.record("m", Usage(input_tokens=round(1_000 * chance.lognormvariate(0, 1))))
            memory_thrift.ledger.feedback(request_id, quality=1.0)
        verdicts[experiment.results(quality_margin=0.5).arms[1].verdict] += 1  # cost alone decides
    # With no saving at all, more than 10% is claimed wrongly in less than 1 of 40.
    assert verdicts["recommended"] <= 3, verdicts


def test_lost_calls_of_an_arm_are_noticed(any_thrift: Thrift) -> None:
    experiment = Experiment(any_thrift, "e", arms=HALVES)
    for number in range(400):
        with experiment.assigned(f"u{number}") as arm:
            if arm == "control" or number % 2:
                any_thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000))
    assert any("were to be expected" in note for note in experiment.results().notes)


def test_costs_of_a_few_units_are_pointed_out(any_thrift: Thrift) -> None:
    experiment = Experiment(any_thrift, "e", arms=HALVES)
    for number in range(100):
        with experiment.assigned(f"u{number}"):
            any_thrift.ledger.record("gpt-4o", Usage(input_tokens=10**7 if number in (3, 4, 5, 6) else 1_000))
    assert any("A few users make up much of the cost" in note for note in experiment.results().notes)


def test_the_period_of_results(any_thrift: Thrift, clock: Clock) -> None:
    with attribute(user="ada", tags={"experiment:e": "control"}):
        any_thrift.ledger.record("gpt-4o", Usage(input_tokens=1), at="2026-03-01")
    experiment = Experiment(any_thrift, "e", arms=HALVES)
    assert experiment.results().arms[0].requests == 0  # made later
    assert experiment.results(since="2026-02-01").arms[0].requests == 1
    assert experiment.results("2026-02-01", "2026-02-28").arms[0].requests == 0


def test_shown_as_text_and_html(any_thrift: Thrift) -> None:
    experiment = Experiment(any_thrift, "e", arms={"<control>": 1, "candidate": 1}, unit="request")
    with experiment.assigned():
        any_thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000))
    results = experiment.results()
    assert isinstance(results, ExperimentResults)
    assert "&lt;control&gt;" in results._repr_html_()
    assert "candidate: undecided." in str(results)
    assert "one look" in str(results)


# --- questions as units ---


def test_a_question_has_one_arm_whoever_asks_and_hits_may_count_as_what_they_saved(memory_thrift: Thrift) -> None:
    experiment = Experiment(memory_thrift, "by question", arms=HALVES, unit="question")
    with experiment.assigned() as nobody:
        assert (nobody, current_attribution().tags) == ("control", ())
    for number in range(40):
        for user in ("ada", "bob"):
            with attribute(user=user), experiment.assigned(f"question {number}") as arm:
                assert arm == experiment.arm_of(f"question {number}")
                prompt = PromptFeatures.of([("human", f"question {number}")], "features")
                call = memory_thrift.begin(Request("gpt-4o-mini", attribution=current_attribution(), prompt=prompt))
                call.finish(Response(usage=Usage(input_tokens=1_000)))
    arms = {each.name: each for each in experiment.results().arms}
    assert sum(each.units for each in arms.values()) == 40  # prompts, asked by two users each
    assert sum(each.requests for each in arms.values()) == 80


@pytest.mark.parametrize(("hits_at_price", "nano_usd"), [(False, 150_000), (True, 300_000)])
def test_what_a_hit_counts(memory_thrift: Thrift, hits_at_price: bool, nano_usd: int) -> None:
    experiment = Experiment(memory_thrift, "e", arms=HALVES, unit="request")
    policy = CachePolicy()
    for _ in range(2):
        with attribute(tags={experiment.tag: "control"}):
            use = CacheUse(policy.key(b"one question"), policy, lambda payload: payload)
            call = memory_thrift.begin(Request("gpt-4o-mini", attribution=current_attribution(), cache=use))
            if call.hit is not None:
                call.finish_hit()
            else:
                call.finish(Response(usage=Usage(input_tokens=1_000), payload=lambda: b"answer"))
    memory_thrift.flush()
    with memory_thrift.database.read() as connection:
        found = read_arms(
            connection,
            tag=experiment.tag,
            arms=["control"],
            unit="request",
            since_us=0,
            until_us=None,
            source=None,
            hits_at_price=hits_at_price,
        )
    assert (found["control"].requests, found["control"].cost_nano_usd) == (2, nano_usd)
