"""`DecisionModelTests`: what any decision model of LangChain keeps. It needs pytest, and a class that inherits from it."""

from __future__ import annotations

import asyncio
import json
import math
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any, ClassVar

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.decisions import (
    BaseDecisionModel,
    Choice,
    ChoiceAnswer,
    ClassifierRequest,
    ClassifierResponse,
    Noul,
    NoulAnswer,
    Score,
    ScoreAnswer,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

ODD_TEXTS = ("", " ", "?", "\x00", "Wie weit ist es nach Köln?", "日本の首都は？", "😀" * 50, "word " * 4_000, "\ud800 alone")
"""What users send: nothing, other scripts, a page, half of a surrogate pair."""


class DecisionModelTests(ABC):
    """What every decision model keeps: types, probabilities, one answer in all doors, and a state that it leaves alone.

        class TestMine(DecisionModelTests):
            labels = ("fast", "powerful")

            @property
            def decision_model(self) -> BaseDecisionModel:
                return MyDecisionModel()

    Attributes:
        labels: of the `Choice` that it is asked, and as many levels of the `Score`.
        answers_nouls, answers_scores: whether it is asked these kinds of questions.
        is_deterministic: whether the same question has the same answer.
        odd_texts: what users send; a model that refuses one of them leaves it out.
        tolerance: of the sum of probabilities.
    """

    labels: ClassVar[tuple[str, ...]] = ("small", "large")
    answers_nouls: ClassVar[bool] = True
    answers_scores: ClassVar[bool] = True
    is_deterministic: ClassVar[bool] = True
    odd_texts: ClassVar[tuple[str, ...]] = ODD_TEXTS
    tolerance: ClassVar[float] = 1e-6

    @property
    @abstractmethod
    def decision_model(self) -> BaseDecisionModel:
        """The model, made anew or the same each time."""

    def test_it_says_who_it_is(self) -> None:
        """Its name and its provider are texts, and answers carry a name."""
        model = self.decision_model
        assert model.model
        assert isinstance(model._provider, str)
        assert model._provider
        assert model.invoke(self.asked("Which?")).model

    def test_each_question_has_an_answer_of_its_kind(self) -> None:
        """All questions of a request are answered, under their names, each by its type."""
        asked = self.asked("What is the capital of France?")
        response = self.decision_model.invoke(asked)
        assert set(response.answers) == set(asked["questions"])
        self.check(response)

    def test_odd_texts_are_answered_soundly(self) -> None:
        """Whatever a text holds, probabilities are probabilities."""
        model = self.decision_model
        for text in self.odd_texts:
            self.check(model.invoke(self.asked(text)))

    def test_every_form_of_state_is_read(self) -> None:
        """A text, a message, messages, a mapping that holds messages, and JSON."""
        model = self.decision_model
        said = HumanMessage("Compare both plans for twelve users over three years.")
        states: tuple[Any, ...] = (
            said.text,
            said,
            [SystemMessage("You are a clerk."), said],
            {"messages": [said]},
            {"ticket": {"text": said.text, "urgent": True, "tries": 2, "rate": 0.5, "who": None}, "history": [AIMessage("Hello."), said]},
            [],
            {},
        )
        for state in states:
            self.check(model.invoke(self.asked(state)))

    def test_one_label_is_chosen(self) -> None:
        """Where there is one label, it is the answer."""
        only = self.labels[0]
        question = Choice(instructions="Which?", criteria={only: None})
        answer = self.decision_model.invoke({"state": "Hello.", "questions": {"q": question}}).choices["q"]
        assert answer.choice == only
        assert math.isclose(answer.probabilities[only], 1.0, abs_tol=self.tolerance)

    def test_criteria_may_be_json(self) -> None:
        """Labels may be described by text, JSON, or nothing."""
        kinds = ("Simple tasks.", {"examples": ["Hello."]}, None, ["a", 1])
        criteria: dict[str, Any] = {label: kinds[place % len(kinds)] for place, label in enumerate(self.labels)}
        question = Choice(instructions={"task": "Choose."}, criteria=criteria)
        self.check_choice(self.decision_model.invoke({"state": "Hello.", "questions": {"q": question}}).choices["q"], self.labels)

    def test_all_doors_answer_alike(self) -> None:
        """`invoke`, `ainvoke`, `batch`, `abatch`, and threads."""
        model, asked = self.decision_model, self.asked("Why is the sky blue?")

        async def awaited() -> list[ClassifierResponse]:
            return [await model.ainvoke(asked), *await model.abatch([asked, asked])]

        with ThreadPoolExecutor(8) as pool:
            found = [model.invoke(asked), *model.batch([asked, asked]), *pool.map(model.invoke, [asked] * 16), *asyncio.run(awaited())]
        for response in found:
            self.check(response)
        if self.is_deterministic:
            assert all(response.answers == found[0].answers for response in found)

    def test_a_question_alone_has_the_answer_that_it_has_among_others(self) -> None:
        """Questions of one request do not change each other's answers."""
        if not self.is_deterministic:
            return
        model, asked = self.decision_model, self.asked("Why is the sky blue?")
        together = model.invoke(asked).answers
        for name, question in asked["questions"].items():
            assert model.invoke({"state": asked["state"], "questions": {name: question}}).answers[name] == together[name]

    def test_a_request_is_left_as_it_is(self) -> None:
        """Neither the state nor the questions change."""
        asked = self.asked([SystemMessage("You are a clerk."), HumanMessage("Hello.")])
        before = deepcopy(asked)
        self.decision_model.invoke(asked)
        assert asked == before

    def test_answers_survive_json(self) -> None:
        """Agents keep answers in their state, and checkpoints keep them as JSON."""
        response = self.decision_model.invoke(self.asked("Hello."))
        assert ClassifierResponse.model_validate(json.loads(response.model_dump_json())) == response

    def test_callbacks_are_told(self) -> None:
        """A decision is a run: its start and its end are told, once each."""
        told: list[str] = []

        class Listener(BaseCallbackHandler):
            def on_chain_start(self, *given: Any, **more: Any) -> None:
                told.append("start")

            def on_chain_end(self, *given: Any, **more: Any) -> None:
                told.append("end")

        self.decision_model.invoke(self.asked("Hello."), {"callbacks": [Listener()]})
        assert told == ["start", "end"]

    # --- what the tests are made of ---

    def asked(self, state: Any) -> ClassifierRequest:
        """One question of each kind that the model answers."""
        questions: dict[str, Any] = {"choice": Choice(instructions="Which model?", criteria=dict.fromkeys(self.labels))}
        if self.answers_nouls:
            questions["noul"] = Noul(instructions="Is this hard?")
        if self.answers_scores:
            questions["score"] = Score(instructions="How hard is this?", criteria=[f"As for {label}." for label in self.labels])
        return {"state": state, "questions": questions}

    def check(self, response: ClassifierResponse) -> None:
        """Check the answers to `asked`."""
        self.check_choice(response.choices["choice"], self.labels)
        if self.answers_nouls:
            answer = response.answers["noul"]
            assert isinstance(answer, NoulAnswer)
            assert 0.0 <= answer.noul <= 1.0
        if self.answers_scores:
            self.check_score(response.scores["score"])

    def check_choice(self, answer: ChoiceAnswer, labels: tuple[str, ...]) -> None:
        """One of the labels is chosen, and all have a probability; together they are certain."""
        assert answer.choice in labels
        assert set(answer.probabilities) == set(labels)
        self.check_shares(answer.probabilities)
        assert 0.0 <= answer.confidence <= 1.0

    def check_score(self, answer: ScoreAnswer) -> None:
        """The score is the mean of the levels by their probabilities."""
        levels = range(len(self.labels))
        assert sorted(answer.probabilities) == sorted(answer.legend) == list(levels)
        self.check_shares(answer.probabilities)
        mean = sum(level * share for level, share in answer.probabilities.items())
        assert math.isclose(answer.score, mean, abs_tol=max(self.tolerance, 1e-3))
        assert 0.0 <= answer.confidence <= 1.0

    def check_shares(self, shares: Any) -> None:
        """Probabilities, of which one and only one is true."""
        assert all(math.isfinite(share) and 0.0 <= share <= 1.0 for share in shares.values())
        assert math.isclose(sum(shares.values()), 1.0, abs_tol=self.tolerance)
