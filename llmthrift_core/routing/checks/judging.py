"""A judge's word on an answer, before it is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from llmthrift_core.attribution import current_attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.model_calls.circuit_breaker import LimitedAsking
from llmthrift_core.routing.checks.check import Finding

THRESHOLD: Final = 0.85


class JudgeCheck:
    """Asks a judge about each answer that the other checks accept, and keeps it from a quality of 0.85.

    A verifier. The judge costs a call for each such answer: that pays where the stronger model costs many times the judge. A
    `PointwiseJudge` asks once about the same question and answer, across processes with `PointwiseJudge(model, thrift=thrift)`; wrap its
    model with `thrifty` to meter it, and give it a timeout of its own. Its calls are attributed as the call whose answer is judged, with
    request type "evaluation" (other functions: "routing"), and count against the same budgets.

    No judgement (a reply that is none, a failure, a budget that refuses, a time-out) leaves the answer to the other checks, or rejects it,
    as `unjudged` says. After three failures in a row the judge is not asked for a minute.

    Args:
        judge: a `PointwiseJudge`, or a function from question and answer to a quality from 0 to 1, or None where it cannot say. The
            question is the whole conversation where the router gives it, else the prompt.
        accepts_from: the quality from which an answer is kept.
        timeout_seconds: how long a call waits for the judge.
        unjudged: what happens to answers that were not judged: "keep" or "reject".
        most_at_once: judgements under way; beyond these, answers are not judged.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core.routing import Cascade
    >>> from llmthrift_core.routing.checks import BUILT_IN, JudgeCheck
    >>> judge = JudgeCheck(lambda question, answer: 0.9 if "144" in answer else 0.3)
    >>> cascade = Cascade(["small", "large"], checks=[*BUILT_IN, judge])
    >>> cascade.accepts("What is 12 * 12?", "12 * 12 = 144"), cascade.accepts("What is 12 * 12?", "It is a square.")
    (True, False)
    """

    waits: Final = True

    def __init__(
        self,
        judge: Callable[[str, str], Any],
        *,
        accepts_from: float = THRESHOLD,
        timeout_seconds: float = 10.0,
        unjudged: Literal["keep", "reject"] = "keep",
        most_at_once: int = 32,
    ) -> None:
        if not callable(judge):
            raise ConfigurationError(f"a judge is a function of question and answer, not {type(judge).__name__}")
        if unjudged not in ("keep", "reject"):
            raise ConfigurationError(f'unjudged must be "keep" or "reject", not {unjudged!r}')
        self.accepts_from = checked_threshold(accepts_from)
        self._judge = judge
        self._judge_name = str(getattr(judge, "name", None) or getattr(judge, "__qualname__", type(judge).__name__))
        self._unjudged = unjudged
        self._asking = LimitedAsking("the judge", timeout_seconds=timeout_seconds, most_at_once=most_at_once)

    @property
    def name(self) -> str:
        return f"judge {self._judge_name} from {self.accepts_from:g}, else {self._unjudged}"

    def __call__(self, prompt: str, answer: str, context: Mapping[str, Any]) -> Finding | None:
        """The judge's quality; None, or 0, where there is none."""
        question = context.get("conversation") or prompt
        who = context.get("attribution") or current_attribution()
        said, why_not = self._asking.ask([lambda: self._judge(question, answer)], who)
        if said and said[0] is not None:
            quality = getattr(said[0], "quality", said[0])
            if isinstance(quality, bool | int | float) and math.isfinite(quality) and 0 <= quality <= 1:
                self._asking.succeeded()
                return Finding(float(quality), f"the judge {self._judge_name} gives it {quality:.2f}, below {self.accepts_from:g}")
            self._asking.failed("said nothing that is a quality from 0 to 1")
            why_not = "the judge said nothing that is a quality"
        if self._unjudged == "keep":
            return None
        return Finding(0.0, why_not or "the judge could not say")


def checked_threshold(accepts_from: float) -> float:
    """A score from which answers are kept.

    Raises:
        ConfigurationError: not above 0 and up to 1.
    """
    if isinstance(accepts_from, bool) or not isinstance(accepts_from, int | float) or not 0 < accepts_from <= 1:
        raise ConfigurationError(f"accepts_from must be a score above 0 and up to 1, not {accepts_from!r}")
    return float(accepts_from)
