"""Requests that share a prompt: who is asked with whom, what each costs, and what happens where answers cannot be matched."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage, attribute
from llmthrift_core.batching import Batcher, JointAnswer, ModelAnswer
from llmthrift_core.errors import ConfigurationError

MODEL = "gpt-4o-mini"  # $0.15 and $0.60 per million
LONG = 60.0  # seconds that no test waits


class Model:
    """Answers a frame as it should be, or as `spoil` makes of it, and single requests in capitals. 1,000 tokens in, 100 out."""

    def __init__(self, spoil: Callable[[list[dict[str, Any]]], Any] = lambda answers: answers) -> None:
        self.prompts: list[str] = []
        self.spoil = spoil

    def requests(self) -> list[list[str]]:
        return [
            [each["request"] for each in json.loads(prompt.partition("\n\n")[2])] if "\n\n" in prompt else [prompt]
            for prompt in self.prompts
        ]

    def __call__(self, prompt: str) -> ModelAnswer:
        self.prompts.append(prompt)
        if "\n\n" not in prompt:
            return ModelAnswer(prompt.upper(), Usage(10, 5))
        asked = json.loads(prompt.partition("\n\n")[2])
        answers = self.spoil([{"id": each["id"], "answer": each["request"].upper()} for each in asked])
        return ModelAnswer(answers if isinstance(answers, str) else json.dumps(answers), Usage(1_000, 100))


def texts(answers: Any) -> list[str]:
    return [future.result(LONG).text for future in answers]


def test_a_full_group_is_asked_at_once_and_the_rest_at_the_end() -> None:
    model = Model()
    with Batcher(model, max_size=3, flush_seconds=LONG) as batcher:
        answers = [batcher.submit(f"q{number}") for number in range(7)]
    assert texts(answers) == [f"Q{number}" for number in range(7)]
    assert sorted(map(len, model.requests())) == [1, 3, 3]


def test_a_group_is_asked_when_its_first_request_has_waited() -> None:
    model = Model()
    batcher = Batcher(model, flush_seconds=0.02)
    assert texts([batcher.submit("one"), batcher.submit("two")]) == ["ONE", "TWO"]
    assert batcher.ask("three").text == "THREE"  # the clock goes again after it had nothing to do
    batcher.close()
    assert model.requests()[-1] == ["three"]


def test_only_requests_of_one_user_feature_and_scope_share_a_prompt() -> None:
    model = Model()
    with Batcher(model, flush_seconds=LONG) as batcher:
        for user, feature, scope in (("ada", "a", ""), ("ben", "a", ""), ("ada", "b", ""), ("ada", "a", "other"), ("ada", "a", "")):
            with attribute(user=user, feature=feature):
                batcher.submit(f"{user} {feature} {scope}", scope=scope)
    assert sorted(model.requests()) == [["ada a ", "ada a "], ["ada a other"], ["ada b "], ["ben a "]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answers: answers[1:],
        lambda answers: [*answers[1:], answers[1] | {"id": "nobody"}],
        lambda answers: [answers[0], answers[0] | {"answer": "forged"}, *answers[1:]],
        lambda answers: [answers[0] | {"answer": None}, *answers[1:]],
        lambda answers: [*answers[1:], answers[0]][:-1],
        lambda answers: json.dumps([*answers[1:], answers[0]])[:-10],
    ],
)
def test_what_cannot_be_matched_is_asked_alone(thrift: Thrift, spoil: Any) -> None:
    model = Model(spoil)
    with Batcher(model, thrift=thrift, model=MODEL, flush_seconds=LONG) as batcher, attribute(user="ada"):
        answers = [batcher.submit(text) for text in ("one", "two", "three")]
    assert texts(answers) == ["ONE", "TWO", "THREE"]
    assert model.requests() == [["one", "two", "three"], ["one"]]
    assert [answers[0].result().size, answers[1].result().size] == [1, 3]
    total = thrift.report().total
    assert total["requests"] == 3
    # 1,000 and 100 tokens together, 10 and 5 for the one that was asked again.
    assert total["cost_usd"] == Decimal((1_000 + 10) * 150 + (100 + 5) * 600) / 10**9


@pytest.mark.parametrize("given", [None, ["one"]])
def test_an_answer_that_is_no_text_is_billed_and_answers_nobody(thrift: Thrift, given: Any) -> None:
    model = Model()

    def ask(prompt: str) -> ModelAnswer:
        whole = model(prompt)
        return replace(whole, text=given) if "\n\n" in prompt else whole

    with Batcher(ask, thrift=thrift, model=MODEL, flush_seconds=LONG) as batcher:
        answers = [batcher.submit(text) for text in ("one", "two")]
    assert texts(answers) == ["ONE", "TWO"]
    assert thrift.report().total["cost_usd"] == Decimal((1_000 + 20) * 150 + (100 + 10) * 600) / 10**9


@pytest.mark.parametrize("answer", ["", "no", "[[[", "[" * 50_000, '{"id": 1}'])
def test_an_answer_that_is_no_list_answers_nobody(answer: str) -> None:
    model = Model(lambda answers: answer)
    with Batcher(model, flush_seconds=LONG) as batcher:
        answers = [batcher.submit(text) for text in ("one", "two")]
    assert texts(answers) == ["ONE", "TWO"]
    assert model.requests() == [["one", "two"], ["one"], ["two"]]


def test_the_cost_is_split_to_the_nano_dollar(thrift: Thrift) -> None:
    seen: list[JointAnswer] = []
    with (
        Batcher(Model(), thrift=thrift, model=MODEL, flush_seconds=LONG, on_result=seen.append) as batcher,
        attribute(user="ada", session="s"),
    ):
        for text in ("a", "a somewhat longer request than the first one", "what " * 40):
            batcher.submit(text)
    bill = 1_000 * 150 + 100 * 600
    assert sum(answer.cost_usd or 0 for answer in seen) == Decimal(bill) / 10**9
    assert sum(answer.usage.input_tokens for answer in seen) == 1_000
    assert sum(answer.usage.output_tokens for answer in seen) == 100
    assert seen[0].usage.input_tokens < seen[1].usage.input_tokens < seen[2].usage.input_tokens
    rows = {row["request_id"]: row for row in thrift.ledger.calls()}
    assert {answer.request_id: answer.cost_usd for answer in seen} == {identity: row["cost_usd"] for identity, row in rows.items()}
    assert {(row["user"], row["session"]) for row in rows.values()} == {("ada", "s")}
    assert thrift.report(by="llmthrift.batching").to_dicts()[0]["llmthrift.batching"] == "joint"


def test_each_answer_is_cached_by_itself(thrift: Thrift) -> None:
    model = Model()
    with Batcher(model, thrift=thrift, model=MODEL, flush_seconds=LONG) as batcher:
        first = [batcher.submit("one"), batcher.submit("two")]
    with Batcher(model, thrift=thrift, model=MODEL, flush_seconds=LONG) as batcher:
        again = [batcher.submit("two"), batcher.submit("three"), batcher.submit("two", scope="other")]
    assert texts(first) + texts(again) == ["ONE", "TWO", "TWO", "THREE", "TWO"]
    assert [answer.result().is_cached for answer in again] == [True, False, False]
    assert thrift.report().total["cache_hits"] == 1
    assert thrift.report().total["saved_usd"] > 0


def test_the_arms_of_an_experiment(thrift: Thrift) -> None:
    model = Model()
    with Batcher(model, thrift=thrift, model=MODEL, flush_seconds=LONG) as batcher:
        answers = [batcher.submit("one"), batcher.submit("two"), batcher.submit("three", alone=True)]
    assert texts(answers) == ["ONE", "TWO", "THREE"]
    for answer, quality in zip(answers, (0.25, 0.75, 1.0), strict=True):
        thrift.feedback(answer.result().request_id, quality=quality)
    thrift.flush()
    found = {row["llmthrift.batching"]: row["quality"] for row in thrift.quality(by="tag:llmthrift.batching").to_dicts()}
    assert found == {"joint": 0.5, "single": 1.0}


def test_a_model_that_fails_fails_all_of_its_group_and_nobody_is_billed(thrift: Thrift) -> None:
    def down(prompt: str) -> str:
        raise ConnectionRefusedError("nobody there")

    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    with Batcher(down, thrift=thrift, model=MODEL, flush_seconds=LONG) as batcher:
        answers = [batcher.submit("one"), batcher.submit("two")]
    for answer in answers:
        with pytest.raises(ConnectionRefusedError):
            answer.result()
    assert [(row["cost_usd"], row["error"]) for row in thrift.ledger.calls()] == [(0, "ConnectionRefusedError")] * 2
    assert thrift.budgets.holds() == []


def test_a_budget_refuses_one_and_lets_the_others_go_on(thrift: Thrift) -> None:
    thrift.budgets.add(Budget(limit_requests=1, window="day", per="session"))
    with Batcher(Model(), thrift=thrift, model=MODEL, flush_seconds=LONG, parameters={"max_tokens": 50}) as batcher:
        answers = []
        for session in ("s1", "s1", "s2"):
            with attribute(user="ada", session=session):
                answers.append(batcher.submit(f"a request of {session}"))
    assert [type(answer.exception()) for answer in answers] == [type(None), BudgetExceededError, type(None)]
    assert thrift.budgets.holds() == []


def test_what_waits_is_asked_when_the_thrift_is_closed(tmp_path: Any) -> None:
    model = Model()
    with Thrift(tmp_path / "books.db") as thrift:
        answer = Batcher(model, thrift=thrift, model=MODEL, flush_seconds=LONG).submit("one")
        assert thrift.health()["status"] == "ok"
    assert answer.result(LONG).text == "ONE"


async def test_on_an_event_loop_with_an_async_model() -> None:
    loops: set[Any] = set()
    model = Model()

    async def call(prompt: str) -> ModelAnswer:
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return model(prompt)

    async with Batcher(call, max_size=3, flush_seconds=LONG) as batcher:
        answers = await asyncio.gather(*(batcher.aask(text) for text in ("one", "two", "three")))
    assert [answer.text for answer in answers] == ["ONE", "TWO", "THREE"]
    assert loops == {asyncio.get_running_loop()}


def test_an_async_model_without_an_event_loop() -> None:
    async def call(prompt: str) -> str:
        return prompt[::-1]

    with Batcher(call, max_size=1) as batcher:
        assert batcher.ask("abc").text == "cba"


def test_a_listener_that_fails_costs_no_answer(thrift: Thrift) -> None:
    def listener(answer: JointAnswer) -> None:
        raise RuntimeError("mine")

    with Batcher(Model(), thrift=thrift, model=MODEL, max_size=1, on_result=listener) as batcher:
        assert batcher.ask("one").text == "ONE"
    assert thrift.health()["failures"]["batching"] == 1


def test_many_threads_at_once(thrift: Thrift) -> None:
    model, found = Model(), dict[int, str]()
    with Batcher(model, max_size=5, flush_seconds=0.05) as batcher:
        threads = [threading.Thread(target=lambda n=n: found.update({n: batcher.ask(f"q{n}").text})) for n in range(33)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: f"Q{n}" for n in range(33)}
    assert sum(map(len, model.requests())) == 33


@pytest.mark.parametrize("options", [{"max_size": 0}, {"flush_seconds": -1}, {"flush_seconds": float("nan")}])
def test_options_that_cannot_be_used(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        Batcher(Model(), **options)


def test_requests_that_cannot_be_asked() -> None:
    batcher = Batcher(Model())
    for request in ("", "  ", None, 7, ["one"]):
        with pytest.raises(ConfigurationError, match="a text that is not empty"):
            batcher.submit(request)  # type: ignore[arg-type]
    batcher.close()
    batcher.close()
    with pytest.raises(ConfigurationError, match="closed"):
        batcher.submit("one")
