"""`QuestionVerifier`: asks a model whether two questions are one, within a daily amount."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llmthrift_core.errors import JudgeError
from llmthrift_core.quality.judge import _ModelJudge, unreadable_verdict
from llmthrift_core.quality.spending import JudgingAmount
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost

_TASK: Final = (
    "Two users ask an assistant one question each. Would one answer be right for both, with nothing missing and nothing wrong? Different "
    "wording does not matter. Another number, date, name, place, product, kind of person, condition, direction, or a negation does."
)
_FORM: Final = (
    'Reply with one JSON object and nothing else: {"code": "CODE", "same": "yes" or "no"}. '
    "A shorter reply is the code and the word alone. The code is CODE"
)
_MOST_CHARS: Final = 4_000
_YES: Final[dict[Any, float]] = {"yes": 1.0, "no": 0.0, True: 1.0, False: 0.0}


class QuestionVerifier(_ModelJudge):
    """Asks a model whether two questions have one answer: `SemanticCache(thrift, verifier=QuestionVerifier(model, thrift))`.

    A pair is asked for once: what was said is remembered in the database, for ninety days, as a hash and a number. What it costs is read
    from the ledger, if the model is metered, and counts against a daily amount; when that is spent, nothing is asked, and the cache serves
    nothing by meaning until the next day (UTC).

    Args:
        model: a chat model of LangChain, an LLM of LlamaIndex, or a function from a prompt to a text. A cheap one does. Wrap it with
            `thrifty`, or give it a callback, to meter it; give it a timeout, and temperature 0.
        thrift: whose ledger and budgets are used.
        max_usd_per_day: for asking, in all processes.
        usd_per_question: what it costs to ask a model that is not metered.
        name: of the daily amount: verifiers of the same name share it.

    Raises:
        ConfigurationError: an option that cannot be used.
        StorageError: the daily amount cannot be kept.

    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.quality import QuestionVerifier
    >>> def model(prompt):  # stands for a chat model, which repeats the code at the prompt's end
    ...     return f"{prompt.split()[-1]} yes"
    >>> verifier = QuestionVerifier(model, Thrift(":memory:"), usd_per_question="0.0001")
    >>> verifier("When do you open?", "What are your opening hours?")
    True
    """

    def __init__(
        self,
        model: Any,
        thrift: AccountHost,
        *,
        max_usd_per_day: Decimal | float | str = 1,
        usd_per_question: Decimal | float | str | None = None,
        name: str = "question verifier",
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        super().__init__(model, name=None, thrift=thrift, most_chars=_MOST_CHARS)
        self._amount = JudgingAmount(thrift, name, max_usd=max_usd_per_day, usd_per_judgement=usd_per_question)

    def __call__(self, one: str, other: str) -> bool:
        """Whether the model says that one answer does for both.

        Raises:
            BudgetExceededError: the amount of the day is spent.
            JudgeError: the model failed, or its reply is neither yes nor no.
            StorageError: the budget or the ledger cannot be reached.
        """
        first, second = sorted((one, other))
        paid = self._amount.pay_for(lambda: self._say(first, second), kind=0)
        if paid.said is None:
            raise paid.failure or JudgeError("the model did not say", kind="failed")
        return paid.said.same

    def _say(self, first: str, second: str) -> _Said:
        value, _, remembered = self._verdict(_TASK, {"first": first, "second": second}, _FORM, "same", _read)
        return _Said(value == 1.0, remembered)


class _Said(NamedTuple):
    """What a model said, and whether it had said it before."""

    same: bool
    remembered: bool


def _read(verdict: Any) -> float:
    key = verdict.strip().lower() if isinstance(verdict, str) else verdict
    if not isinstance(key, str | bool) or key not in _YES:
        raise unreadable_verdict(verdict, "yes or no")
    return _YES[key]
