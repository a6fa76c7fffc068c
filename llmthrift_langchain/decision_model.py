"""`RoutingDecisionModel`: a routing policy as a decision model of LangChain, such as `ModelRouterMiddleware` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from langchain_core.decisions import (
    BaseDecisionModel,
    Choice,
    ChoiceAnswer,
    ClassifierResponse,
    Noul,
    NoulAnswer,
    Question,
    Score,
    ScoreAnswer,
    State,
)
from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from langchain_core.runnables.config import var_child_runnable_config
from pydantic import ConfigDict, Field, PrivateAttr

from llmthrift_core.attribution import call_site_of_prompt, current_attribution, with_call_site
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Needed, NeededTier, RouteRequest, as_policy
from llmthrift_core.routing.needed_tier import models_of
from llmthrift_langchain.messages import fields_of, has_images, question_of, system_of, text_of
from llmthrift_langchain.run_metadata import attribution_of_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmthrift_core.routing import Cascade, Example, RoutingPolicy


_MOST_QUESTIONS: Final = 64  # whose tiers are remembered: they are few, and written by programmers


class RoutingDecisionModel(BaseDecisionModel):
    """Answer which model a request needs: offline, in a fraction of a millisecond, and with calibrated probabilities.

    It knows one thing, which is what its policy knows, and reads no instructions. By the type of a question:

    - `Choice`: its labels are tiers, all or some. The label chosen is the policy's, which weighs prices too. A label's probability says
      how likely it is the cheapest one whose answer is good enough; the confidence, how likely the chosen one's is.
    - `Score`: its levels are the tiers, cheapest first.
    - `Noul`: the probability that more than the cheapest tier is needed.

    Of a cascade, and where the state ends with an answer, a `Noul` is the probability that this answer is good enough, and a `Choice`
    takes the next tier where it is not to be kept.

    Args:
        policy: a learned router, a `Complexity`, a cascade, or whatever else a router takes as its policy. May be given first.
        tiers: their names, cheapest first. None: the models of a learned router or a cascade; else the labels of each question.
        model: the name that answers carry.

    Raises:
        ConfigurationError: what is no policy, or a question that it cannot answer: a `Box`, or labels that are no tiers.

    >>> from langchain_core.decisions import Choice
    >>> from llmthrift_core.routing import Complexity
    >>> from llmthrift_langchain import RoutingDecisionModel
    >>> decisions = RoutingDecisionModel(Complexity())
    >>> question = Choice(instructions="Which model?", criteria={"small": None, "large": None})
    >>> decisions.invoke({"state": "What is the capital of France?", "questions": {"route": question}}).choices["route"].choice
    'small'
    """

    model: str = "llmthrift-routing"
    policy: Any = Field(exclude=True)
    tiers: tuple[str, ...] | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    _routing: RoutingPolicy = PrivateAttr()
    _needed: NeededTier | None = PrivateAttr(default=None)
    _of_labels: dict[tuple[str, ...], NeededTier] = PrivateAttr(default_factory=dict)

    def __init__(self, policy: Any = None, **fields: Any) -> None:
        super().__init__(policy=policy, **fields)
        self._routing = as_policy(self.policy)
        if self.tiers is not None or models_of(self.policy):
            self._needed = NeededTier(self.policy, self.tiers)

    @property
    def _provider(self) -> str:
        return "llmthrift"

    @property
    def version(self) -> str:
        """The policy's, followed by what was calibrated."""
        return self._routing.version if self._needed is None else self._needed.version

    def fit(self, examples: Iterable[Example], *, good: float = 0.5) -> Self:
        """Calibrate the probabilities by judged answers, which a learned router must not have seen: see `NeededTier.fit`.

        Raises:
            ConfigurationError: the tiers are not known yet, or an example cannot be used.
        """
        if self._needed is None:
            raise ConfigurationError('the tiers are not known: give tiers=("small", "large"), cheapest first')
        self._needed.fit(examples, good=good)
        return self

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        messages = _messages_of(state)
        request, answer = _request_of(messages), _answer_of(messages)
        return ClassifierResponse(
            model=self.model, answers={name: self._answered(name, question, request, answer) for name, question in questions.items()}
        )

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        return self._classify(state, questions)  # quicker than a thread would be

    def _answered(self, name: str, question: Question, request: RouteRequest, answer: str | None) -> Any:
        if isinstance(question, Choice):
            return self._chosen(tuple(question.criteria), request, answer)
        if isinstance(question, Score):
            levels = tuple(range(len(question.criteria)))
            needed = self._for_levels(len(levels))(request)
            shares = dict(zip(levels, needed.probabilities.values(), strict=True))
            return ScoreAnswer(
                type="score",
                score=sum(level * share for level, share in shares.items()),
                legend=dict(enumerate(question.criteria)),
                probabilities=shares,
                confidence=max(shares.values()),
            )
        if isinstance(question, Noul):
            if (cascade := self._cascade) is not None and answer is not None:
                return NoulAnswer(type="noul", noul=cascade.confidence(request.question, answer))
            first = next(iter(self._for_levels(2 if self._needed is None else None)(request).probabilities.values()))
            return NoulAnswer(type="noul", noul=_within(1.0 - first))
        raise ConfigurationError(f"question {name!r} is a {type(question).__name__}: a routing policy answers Choice, Score and Noul")

    def _chosen(self, labels: tuple[str, ...], request: RouteRequest, answer: str | None) -> ChoiceAnswer:
        if len(labels) == 1 and self._needed is None:  # nothing that it could be compared with
            return ChoiceAnswer(type="choice", choice=labels[0], probabilities={labels[0]: 1.0}, confidence=1.0)
        needed, cascade = self._for(labels)(request, labels), self._cascade
        if cascade is not None and answer is not None and len(labels) > 1:
            return _after_answer(cascade, needed, request, answer)
        shares = {label: _within(needed.probabilities[label]) for label in labels}
        return ChoiceAnswer(type="choice", choice=needed.decision.tier, probabilities=shares, confidence=_within(needed.confidence))

    def _for(self, labels: tuple[str, ...]) -> NeededTier:
        if self._needed is not None:
            return self._needed
        known = self._of_labels.get(labels)
        if known is None:
            if len(self._of_labels) >= _MOST_QUESTIONS:
                self._of_labels.clear()
            known = self._of_labels[labels] = NeededTier(self.policy, labels)
        return known

    def _for_levels(self, levels: int | None) -> NeededTier:
        if self._needed is None:
            return self._for(tuple(f"level {place}" for place in range(levels or 2)))
        if levels is not None and levels != len(self._needed.tiers.names):
            raise ConfigurationError(f"a Score of {levels} levels: they stand for the tiers {', '.join(self._needed.tiers.names)}")
        return self._needed

    @property
    def _cascade(self) -> Cascade | None:
        found: Cascade | None = getattr(None if self._needed is None else self._needed.policy, "cascade", None)
        return found


def _after_answer(cascade: Cascade, needed: Needed, request: RouteRequest, answer: str) -> ChoiceAnswer:
    """Of a cascade's first step: keep the first tier's answer, or ask the next tier."""
    labels = tuple(needed.probabilities)
    verdict = cascade.verdict(request.question, answer, model=labels[0])
    share = cascade.confidence(request.question, answer, model=labels[0]) if verdict.confidence is None else verdict.confidence
    kept = labels[0] if verdict.is_kept else labels[1]
    shares = {labels[0]: share, labels[1]: 1.0 - share, **dict.fromkeys(labels[2:], 0.0)}
    return ChoiceAnswer(type="choice", choice=kept, probabilities=shares, confidence=shares[kept])


def _messages_of(state: State) -> list[BaseMessage]:
    """The conversation of a state; its JSON as one message, where it has none."""
    if isinstance(state, str):
        return [HumanMessage(state)]
    if isinstance(state, BaseMessage):
        return [state]
    inner: Any = state.get("messages", state) if isinstance(state, Mapping) else state
    if isinstance(inner, Sequence) and not isinstance(inner, str) and inner and all(_is_message(each) for each in inner):
        return convert_to_messages(list(inner))
    return [HumanMessage(json.dumps(state, default=_as_json, ensure_ascii=False))]


def _is_message(item: Any) -> bool:
    return isinstance(item, BaseMessage) or (isinstance(item, Mapping) and "content" in item and ("role" in item or "type" in item))


def _as_json(value: Any) -> Any:
    return text_of(value.content) if isinstance(value, BaseMessage) else str(value)


def _request_of(messages: Sequence[BaseMessage]) -> RouteRequest:
    fields = [fields_of(message) for message in messages]
    given = (var_child_runnable_config.get() or {}).get("metadata") or {}
    metadata = {name: value for name, value in given.items() if name != "langgraph_node"}  # the router's own, not the model's
    system = system_of(fields)
    attribution = attribution_of_metadata(metadata).over(current_attribution())
    if attribution.call_site is None and system:
        attribution = with_call_site(attribution, call_site_of_prompt(system))
    return RouteRequest(
        question=question_of(fields) or (text_of(fields[-1]["content"]) if len(fields) == 1 else ""),
        system=system,
        history_messages=len(fields),
        input_chars=sum(len(text_of(each["content"])) for each in fields),
        has_images=has_images(fields),
        attribution=attribution,
        metadata=metadata,
    )


def _answer_of(messages: Sequence[BaseMessage]) -> str | None:
    """The answer that a conversation ends with."""
    return text_of(messages[-1].content) if len(messages) > 1 and messages[-1].type == "ai" else None


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)
