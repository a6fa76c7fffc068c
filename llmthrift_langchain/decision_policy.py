"""`DecisionPolicy`: any decision model of LangChain as the policy of a router."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from langchain_core.decisions import BaseDecisionModel, Choice, ClassifierResponse
from langchain_core.messages import HumanMessage, SystemMessage

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.model_calls.circuit_breaker import LimitedAsking
from llmthrift_core.routing import RouteDecision, RouteRequest, RoutingPolicy, Tiers
from llmthrift_core.routing.policy import fingerprint
from llmthrift_core.texts import require_thrift
from llmthrift_core.usage import Usage
from llmthrift_langchain.decision_model import RoutingDecisionModel

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

INSTRUCTIONS: Final = "Choose the least costly model that answers this request well."
_ROUTE: Final = "model_route"


class DecisionPolicy(RoutingPolicy):
    """Decides by a decision model's `Choice` among the tiers.

    Where it does not answer in time, fails, chooses none of the tiers, or is less sure than `min_confidence`, the strongest allowed tier is
    used; after three failures in a row it is not asked for a minute. It sees the question and the system prompt.

    Args:
        model: the decision model.
        criteria: by tier, the requests that suit it: text or JSON, or None.
        instructions: what it is asked.
        min_confidence: 0 to 1; what is less sure goes to the strongest tier.
        timeout_seconds: how long a call may wait for it.
        thrift: records the usage that it reports, as calls of request type "routing"; None records nothing.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core.routing import Complexity, RouteRequest, Tiers
    >>> from llmthrift_langchain import DecisionPolicy, RoutingDecisionModel
    >>> policy = DecisionPolicy(RoutingDecisionModel(Complexity()), {"small": "Lookups.", "large": "Everything else."})
    >>> policy.decide(RouteRequest("What is the capital of France?"), Tiers(("small", "large"))).tier
    'small'
    """

    def __init__(
        self,
        model: BaseDecisionModel,
        criteria: Mapping[str, Any],
        *,
        instructions: Any = INSTRUCTIONS,
        min_confidence: float = 0.0,
        timeout_seconds: float = 2.0,
        thrift: Thrift | None = None,
    ) -> None:
        if thrift is not None:
            require_thrift(thrift, type(self).__name__)
        if not isinstance(model, BaseDecisionModel):
            raise ConfigurationError(f"model must be a decision model (langchain_core.decisions), not {type(model).__name__}")
        if not isinstance(criteria, Mapping) or not criteria:
            raise ConfigurationError('criteria must map tiers to the requests that suit them: {"small": "Lookups.", "large": None}')
        if not 0 <= min_confidence <= 1:
            raise ConfigurationError(f"min_confidence must lie within 0..1, not {min_confidence!r}")
        self._model = model
        self._criteria = dict(criteria)
        self._instructions = instructions
        self._min_confidence = min_confidence
        self._thrift = thrift
        self._asking = LimitedAsking("the decision model", timeout_seconds=timeout_seconds)

    @property
    def version(self) -> str:
        """Hash of the model's class and name, the question and the options; of a routing policy's model, with that policy's version."""
        inner = self._model.version if isinstance(self._model, RoutingDecisionModel) else None
        parts = (f"{type(self._model).__module__}.{type(self._model).__qualname__}", self._model.model, inner)
        return fingerprint(repr((parts, self._criteria, self._instructions, self._min_confidence)))

    @property
    def waits(self) -> bool:
        """Whether the model may wait for a provider: all but those of this package."""
        return not isinstance(self._model, RoutingDecisionModel)

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The tier that the decision model chooses among the allowed ones."""
        names = [name for name in tiers.names if name in self._criteria]
        if not names:
            return RouteDecision(tiers.names[-1], "the decision model knows none of the allowed tiers; the strongest")
        if len(names) == 1:
            return RouteDecision(names[0], "one tier")
        ask = partial(self._asked, request, names)
        if self.waits:
            came, why_not = self._asking.ask([ask], request.attribution)
            if not came:
                return RouteDecision(tiers.names[-1], f"{why_not or 'the decision model gave nothing'}; the strongest allowed")
            response = came[0]
        else:
            response = ask()
        answer = response.choices.get(_ROUTE)
        if answer is None or answer.choice not in names:
            self._asking.failed("chose none of the tiers")
            return RouteDecision(tiers.names[-1], "the decision model chose none of the tiers; the strongest allowed")
        self._asking.succeeded()
        others = tuple((name, f"{answer.probabilities.get(name, 0.0):.2f} likely") for name in tiers.names if name != answer.choice)
        if answer.confidence < self._min_confidence:
            why = f"{answer.choice} with confidence {answer.confidence:.2f}, below {self._min_confidence:g}; the strongest allowed"
            kept = tuple(each for each in others if each[0] != tiers.names[-1])
            low = ((answer.choice, "not sure enough"),) if answer.choice != tiers.names[-1] else ()
            return RouteDecision(tiers.names[-1], why, score=answer.confidence, rejected=(*kept, *low))
        reason = f"{answer.choice} with confidence {answer.confidence:.2f}, by {response.model}"
        return RouteDecision(answer.choice, reason, score=answer.confidence, rejected=others)

    def _asked(self, request: RouteRequest, names: list[str]) -> ClassifierResponse:
        question = Choice(instructions=self._instructions, criteria={name: self._criteria[name] for name in names})
        said = HumanMessage(request.head_and_tail)
        state: Any = [SystemMessage(request.system), said] if request.system else said
        response = self._model.invoke({"state": state, "questions": {_ROUTE: question}})
        if self._thrift is not None and response.usage is not None:
            usage = Usage.from_langchain(response.usage)
            if usage is not None:
                self._thrift.ledger.record(response.model, usage, provider=self._model._provider, request_type="routing")
        return response
