"""Routing policies as decision models of LangChain, and decision models as policies of a router."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("langchain_core.decisions", reason="this langchain-core has no decision models")

from langchain.agents import create_agent
from langchain_core.decisions import BaseDecisionModel, Box, Choice, ClassifierResponse, Noul, Score
from langchain_core.messages import AIMessage, HumanMessage

from llmthrift_core import attribute
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Cascade, Complexity, Example, LearnedRouter, Rule, contains
from llmthrift_langchain import ChatRouter, DecisionPolicy, RoutingDecisionModel
from llmthrift_langchain.testing import DecisionModelTests

EASY, HARD = "What is the capital of France?", "Compare both plans and calculate which is cheaper for 12 users over 3 years."


def judged(count: int, seed: int = 0) -> list[Example]:
    """Prompts of two kinds, with noise: the weak model is good at 90% of lookups and at 15% of proofs."""
    chance, found = random.Random(seed), []
    for number in range(count):
        is_easy = number % 2 == 0
        prompt = f"What is the state of order {number}?" if is_easy else f"Prove theorem {number} step by step, why it holds."
        found.append(Example(prompt, "weak", float(chance.random() < (0.9 if is_easy else 0.15))))
        found.append(Example(prompt, "strong", 1.0))
    return found


@pytest.fixture(scope="module")
def router() -> LearnedRouter:
    return LearnedRouter({"weak": 0.6, "strong": 12.0}, min_quality=0.9).fit(judged(200))


class TestComplexity(DecisionModelTests):
    @property
    def decision_model(self) -> BaseDecisionModel:
        return RoutingDecisionModel(Complexity())


class TestThreeTiers(DecisionModelTests):
    labels = ("small", "middle", "large")

    @property
    def decision_model(self) -> BaseDecisionModel:
        return RoutingDecisionModel(Complexity(), tiers=self.labels)


class TestLearned(DecisionModelTests):
    labels = ("weak", "strong")

    @pytest.fixture(autouse=True)
    def _fitted(self, router: LearnedRouter) -> None:
        self._model = RoutingDecisionModel(router).fit(judged(100, seed=1))

    @property
    def decision_model(self) -> BaseDecisionModel:
        return self._model


class TestUnfitted(DecisionModelTests):
    labels = ("weak", "strong")

    @property
    def decision_model(self) -> BaseDecisionModel:
        return RoutingDecisionModel(LearnedRouter({"weak": 0.6, "strong": 12.0}))


class TestCascade(DecisionModelTests):
    labels = ("weak", "strong")

    @property
    def decision_model(self) -> BaseDecisionModel:
        return RoutingDecisionModel(Cascade(["weak", "strong"]))


class TestRules(DecisionModelTests):
    @property
    def decision_model(self) -> BaseDecisionModel:
        return RoutingDecisionModel([Rule("sql", contains("sql"), use="large")])


def test_probabilities_are_calibrated(router):
    model = RoutingDecisionModel(router).fit(judged(200, seed=1))
    question = Choice(instructions="Which?", criteria={"weak": None, "strong": None})
    for kind, rate in (("What is the state of order 150?", 0.9), ("Prove theorem 9 step by step, why it holds.", 0.15)):
        answer = model.invoke({"state": kind, "questions": {"q": question}}).choices["q"]
        assert answer.probabilities["weak"] == pytest.approx(rate, abs=0.07)
        assert answer.choice == ("weak" if rate == 0.9 else "strong")
        assert model.invoke({"state": kind, "questions": {"n": Noul(instructions="Hard?")}}).nouls["n"].noul == pytest.approx(
            1 - answer.probabilities["weak"]
        )


def test_what_a_learned_router_cannot_judge_has_the_usual_shares(router):
    model = RoutingDecisionModel(router)
    asked: Any = {
        "state": "Quelle heure est-il à Köln?",
        "questions": {"q": Choice(instructions="?", criteria=dict.fromkeys(router.models))},
    }
    assert model.invoke(asked).choices["q"].probabilities["weak"] == 0.5
    labels = judged(100, seed=1)
    answer = model.fit(labels).invoke(asked).choices["q"]
    usual = sum(each.quality for each in labels if each.model == "weak") / 100
    assert (answer.choice, answer.probabilities["weak"]) == ("strong", pytest.approx(usual, abs=0.02))


def test_fitting_corrects_a_heuristic_that_is_too_sure():
    model = RoutingDecisionModel(Complexity(), tiers=("weak", "strong"))
    asked: Any = {"state": EASY, "questions": {"q": Choice(instructions="?", criteria={"weak": None, "strong": None})}}
    before = model.invoke(asked).choices["q"].probabilities["weak"]
    coin = [Example(f"What is {n}?", name, good) for n in range(60) for name, good in (("weak", float(n % 2)), ("strong", 1.0))]
    model.fit(coin)
    assert before > 0.9
    assert model.invoke(asked).choices["q"].probabilities["weak"] == pytest.approx(0.5, abs=0.05)


def test_what_is_left_of_the_tiers_shares_what_the_others_had():
    model = RoutingDecisionModel(Complexity(), tiers=("small", "middle", "large"))
    every = model.invoke({"state": HARD, "questions": {"q": Choice(instructions="?", criteria=dict.fromkeys(model.tiers))}}).choices["q"]
    some = model.invoke({"state": HARD, "questions": {"q": Choice(instructions="?", criteria={"large": None, "small": None})}})
    shares = some.choices["q"].probabilities
    assert shares["small"] == pytest.approx(every.probabilities["small"])
    assert shares["large"] == pytest.approx(every.probabilities["middle"] + every.probabilities["large"])


def test_a_cascade_judges_the_answer_that_a_state_ends_with():
    model = RoutingDecisionModel(Cascade(["weak", "strong"]))
    question = Choice(instructions="?", criteria={"weak": None, "strong": None})

    def said(text: str) -> ClassifierResponse:
        state = [HumanMessage("What is 12 * 12?"), AIMessage(text)]
        return model.invoke({"state": state, "questions": {"q": question, "good": Noul(instructions="Is the answer good?")}})

    good, bad = said("12 * 12 = 144"), said("I'm sorry, but I cannot help with that.")
    assert (good.choices["q"].choice, bad.choices["q"].choice) == ("weak", "strong")
    assert good.nouls["good"].noul > 0.7 > bad.nouls["good"].noul


@pytest.mark.parametrize(
    ("question", "tiers", "match"),
    [
        (Box(instructions="Where?"), None, "is a Box: a routing policy answers Choice, Score and Noul"),
        (Choice(instructions="?", criteria={"huge": None, "small": None}), ("small", "large"), "no such tier: huge"),
        (Score(instructions="?", criteria=["a", "b", "c"]), ("small", "large"), "a Score of 3 levels"),
    ],
)
def test_what_it_cannot_answer_is_said(question, tiers, match):
    model = RoutingDecisionModel(Complexity(), tiers=tiers)
    with pytest.raises(ConfigurationError, match=match):
        model.invoke({"state": "?", "questions": {"q": question}})


def test_wrong_options_are_said():
    with pytest.raises(ConfigurationError, match="policy must be"):
        RoutingDecisionModel(5)
    with pytest.raises(ConfigurationError, match="tiers must be two or more"):
        RoutingDecisionModel(Complexity(), tiers=("one",))
    with pytest.raises(ConfigurationError, match="the tiers are not known"):
        RoutingDecisionModel(Complexity()).fit([])
    with pytest.raises(ConfigurationError, match="must be a decision model"):
        DecisionPolicy(Complexity(), {"small": None})


@pytest.mark.loopback
@pytest.mark.filterwarnings("ignore:The middleware `ModelRouterMiddleware` is in beta")
@pytest.mark.parametrize("is_async", [False, True])
async def test_langchains_own_router_takes_it(thrift, client, provider, router, is_async):
    router_middleware = pytest.importorskip("langchain.agents.middleware.model_router")
    ModelChoice = router_middleware.ModelChoice
    middleware = router_middleware.ModelRouterMiddleware(
        choices={"weak": ModelChoice(client("gpt-4o-mini"), None), "strong": ModelChoice(client("gpt-4o"), None)},
        instructions="Choose.",
        classifier=RoutingDecisionModel(router),
    )
    agent = create_agent(client(), middleware=[middleware])
    for text, model in (("What is the state of order 8?", "gpt-4o-mini"), ("Prove theorem 9 step by step, why it holds.", "gpt-4o")):
        given: Any = {"messages": [("user", text)]}
        found = await agent.ainvoke(given) if is_async else agent.invoke(given)
        assert provider.requests[-1].body["model"] == model
        assert found["model_route"].choice in ("weak", "strong")


class Scripted(BaseDecisionModel):
    """A decision model as a provider's would be: it waits, and reports usage."""

    model: str = "gpt-4o-mini"
    choice: str = "small"
    confidence: float = 0.9
    fails: bool = False

    @property
    def _provider(self) -> str:
        return "openai"

    def _classify(self, state: Any, questions: Any) -> ClassifierResponse:
        if self.fails:
            raise RuntimeError("no")
        shares = {label: self.confidence if label == self.choice else 1 - self.confidence for label in questions["model_route"].criteria}
        answer = {"type": "choice", "choice": self.choice, "probabilities": shares, "confidence": self.confidence}
        usage = {"input_tokens": 100, "output_tokens": 10}
        return ClassifierResponse.model_validate({"model": self.model, "answers": {"model_route": answer}, "usage": usage})


CRITERIA = {"small": "Lookups.", "large": "Everything else."}


@pytest.mark.loopback
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("options", "min_confidence", "model", "reason"),
    [
        ({}, 0.0, "gpt-4o-mini", "small with confidence 0.90, by gpt-4o-mini"),
        ({}, 0.95, "gpt-4o", "small with confidence 0.90, below 0.95; the strongest allowed"),
        ({"choice": "huge"}, 0.0, "gpt-4o", "the decision model chose none of the tiers; the strongest allowed"),
        ({"fails": True}, 0.0, "gpt-4o", "the decision model failed; the strongest allowed"),
    ],
)
async def test_any_decision_model_is_a_policy(thrift, client, provider, is_async, options, min_confidence, model, reason):
    policy = DecisionPolicy(Scripted(**options), CRITERIA, min_confidence=min_confidence, thrift=thrift)
    chat = ChatRouter(thrift, models={"small": client("gpt-4o-mini"), "large": client("gpt-4o")}, policy=policy)
    with attribute(user="ada"):
        await chat.ainvoke("Hello?") if is_async else chat.invoke("Hello?")
    assert provider.requests[-1].body["model"] == model
    thrift.flush()
    rows = {row.request_type: row for row in thrift.ledger.calls()}
    assert rows[None].route_reason == reason
    if not options.get("fails"):  # what deciding costs is a row of its own: 100 * 0.15 + 10 * 0.60 dollars a million
        assert (rows["routing"].cost_nano_usd, rows["routing"].user) == (21_000, "ada")


def test_a_policy_of_this_package_does_not_wait_and_versions_tell_models_apart(router):
    quick = DecisionPolicy(RoutingDecisionModel(Complexity()), CRITERIA)
    slow = DecisionPolicy(Scripted(), CRITERIA)
    assert (quick.waits, slow.waits) == (False, True)
    others = [
        DecisionPolicy(RoutingDecisionModel(Complexity([0.4])), CRITERIA),
        DecisionPolicy(RoutingDecisionModel(router), CRITERIA),
        DecisionPolicy(Scripted(model="other"), CRITERIA),
        DecisionPolicy(Scripted(), {"small": None}),
    ]
    assert len({each.version for each in (quick, slow, *others)}) == 6
