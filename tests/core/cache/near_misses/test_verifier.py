"""`SemanticCache(verifier=...)`: a judge of two questions has the last word, is asked once for a pair, and costs what it may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core import Thrift
from llmthrift_core.cache import ErrorBound, FixedThreshold, SemanticCache
from llmthrift_core.errors import BudgetExceededError, ConfigurationError, JudgeError
from llmthrift_core.quality import QuestionVerifier
from tests.core.cache.test_semantic import by_topic

CACHED, ASKED = "What are the opening hours?", "Tell me the hours please"


@pytest.fixture(params=["file", "postgresql"])
def thrift(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Thrift]:
    with Thrift(tmp_path / "ledger.db" if request.param == "file" else request.getfixturevalue("postgresql_url")) as opened:
        yield opened


@pytest.fixture
def make(thrift: Thrift) -> Iterator[Callable[..., SemanticCache]]:
    opened: list[SemanticCache] = []

    def made(**options: Any) -> SemanticCache:
        cache = SemanticCache(thrift, **{"embedder": by_topic, "policy": FixedThreshold(0.8), **options})
        cache.store(CACHED, "Nine to five.")
        opened.append(cache)
        return cache

    yield made
    for cache in opened:
        cache.close()


class Judge:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self, says: Any) -> None:
        self.says = says
        self.asked: list[tuple[str, str]] = []

    def __call__(self, one: str, other: str) -> Any:
        self.asked.append((one, other))
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.mark.parametrize("policy", [FixedThreshold(1.0), FixedThreshold(0.1), ErrorBound(0.01)])
@pytest.mark.parametrize(("says", "is_hit"), [(True, True), (False, False), (1, True), (0, False), (0.93, True), (0.2, False)])
def test_its_word_counts_whatever_the_policy_alone_would_do(make, policy, says, is_hit):
    judge = Judge(says)
    hit = make(policy=policy, verifier=judge).lookup(ASKED)
    assert (hit is not None) == is_hit
    assert judge.asked == [(ASKED, CACHED)]


@pytest.mark.parametrize("says", ["yes", None, 1.5, -1, float("nan"), RuntimeError("secret key"), JudgeError("down", kind="failed")])
def test_what_is_no_answer_is_no_yes(make, says):
    cache = make(verifier=Judge(says))
    assert cache.lookup(ASKED) is None
    assert cache.health()["verifier"] == {"asked": 0, "agreed": 0, "failed": 1}
    assert cache.health()["errors"] == 1
    assert "secret" not in str(cache.health())


def test_a_pair_is_asked_for_once_in_whichever_order(make):
    judge = Judge(True)
    cache = make(verifier=judge)
    assert cache.lookup(ASKED)
    assert cache.lookup(ASKED)
    cache.clear()
    cache.store(ASKED, "From nine.")
    assert cache.lookup(CACHED).answer == "From nine."
    assert len(judge.asked) == 1
    assert cache.health()["verifier"] == {"asked": 1, "agreed": 1, "failed": 0}


def test_equal_and_refused_and_far_questions_are_not_asked_for(make):
    judge = Judge(True)
    cache = make(verifier=judge, verify_from=0.99)
    assert cache.lookup("what are  the opening HOURS?").kind == "exact"
    assert cache.lookup("What are the opening hours on Monday?") is None
    assert cache.lookup(ASKED) is None  # their cosine is about 0.95
    assert judge.asked == []


def test_a_coroutine_function_is_awaited_on_one_loop(make):
    loops = []

    async def judge(one: str, other: str) -> bool:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return "hours" in one and "hours" in other

    cache = make(verifier=judge)
    assert cache.lookup(ASKED).answer == "Nine to five."
    assert cache.lookup("Which hours please") is not None
    assert len(set(loops)) == 1


async def test_it_may_be_asked_off_the_event_loop(make):
    seen = []

    def judge(one: str, other: str) -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        seen.append(one)
        return True

    cache = await asyncio.to_thread(make, verifier=judge)
    assert (await cache.alookup(ASKED)).answer == "Nine to five."
    assert seen == [ASKED]


def test_in_the_background_nobody_waits_for_it(make):
    may_answer, asked = threading.Event(), []

    def judge(one: str, other: str) -> bool:
        asked.append(one)
        return may_answer.wait(30)

    cache = make(verifier=judge, verify_in_background=True)
    assert cache.lookup(ASKED) is None
    assert cache.lookup(ASKED) is None  # asked for already
    may_answer.set()
    cache.flush()
    assert cache.lookup(ASKED).answer == "Nine to five."
    assert asked == [ASKED]


def test_what_cannot_be_a_verifier(thrift):
    with pytest.raises(ConfigurationError, match="verifier"):
        SemanticCache(thrift, by_topic, verifier="gpt-4o-mini")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="verify_from"):
        SemanticCache(thrift, by_topic, verifier=Judge(True), verify_from=2)


# --- a model as the judge ---


class Model:
    """Stands for a chat model: repeats the code at the prompt's end."""

    def __init__(self, says: str = "yes") -> None:
        self.says = says
        self.prompts: list[str] = []
        self.model_name = "stand-in"

    def invoke(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self.says.format(code=prompt.split()[-1])


@pytest.mark.parametrize(("says", "is_hit"), [("{code} yes", True), ('{{"code": "{code}", "same": "no"}}', False), ("{code} No", False)])
def test_a_model_is_asked(make, thrift, says, is_hit):
    model = Model(says)
    cache = make(verifier=QuestionVerifier(model, thrift, usd_per_question="0.001"))
    assert (cache.lookup(ASKED) is not None) == is_hit
    assert len(model.prompts) == 1
    assert ASKED in model.prompts[0]
    assert CACHED in model.prompts[0]


@pytest.mark.parametrize("says", ["yes", "The answer is yes.", "{code} maybe", '{{"code": "0", "same": "yes"}}', ""])
def test_a_reply_that_is_no_verdict_is_no_yes(make, thrift, says):
    assert make(verifier=QuestionVerifier(Model(says), thrift, usd_per_question=0)).lookup(ASKED) is None


def test_what_it_said_is_remembered_by_other_processes(thrift):
    first, second = Model("{code} yes"), Model("{code} no")
    assert QuestionVerifier(first, thrift, usd_per_question=0)("a?", "b?") is True
    assert QuestionVerifier(second, thrift, usd_per_question=0)("b?", "a?") is True
    assert (len(first.prompts), len(second.prompts)) == (1, 0)


def test_what_it_costs_is_in_the_ledger_and_capped(thrift):
    model = Model("{code} yes")
    verifier = QuestionVerifier(model, thrift, max_usd_per_day="0.0025", usd_per_question="0.001")
    assert verifier("a?", "b?")
    assert verifier("a?", "c?")
    with pytest.raises(BudgetExceededError):
        verifier("a?", "d?")
    (row,) = thrift.report(by="request_type").rows
    assert (row["request_type"], row["other_cost_usd"]) == ("evaluation", Decimal("0.002"))


def test_when_the_amount_is_spent_nothing_is_served_by_meaning(make, thrift):
    cache = make(verifier=QuestionVerifier(Model("{code} yes"), thrift, max_usd_per_day=0, usd_per_question="0.001"))
    assert cache.lookup(ASKED) is None
    assert cache.health()["verifier"]["failed"] == 1
