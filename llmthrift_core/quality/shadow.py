"""`ShadowEvaluation`: other configurations answer a sample of the live traffic too, and a judge compares the answers blindly.

LiteLLM calls this shadow evaluations. It runs in observe mode and beside it, on a thread of its own: no caller waits for it, and nothing of
it reaches a caller.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from llmthrift_core.attribution import current_attribution
from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.background.work_queue import Offers
from llmthrift_core.errors import BudgetExceededError, ConfigurationError, JudgeError, StorageError, place_of
from llmthrift_core.model_calls.models import EVALUATION, answerer
from llmthrift_core.moments import MICROSECONDS, from_us
from llmthrift_core.money import to_usd
from llmthrift_core.quality import shadow_sums
from llmthrift_core.quality.judge import Preference
from llmthrift_core.quality.shadow_results import ShadowReport
from llmthrift_core.quality.shadow_sums import Tally
from llmthrift_core.quality.spending import JudgingAmount
from llmthrift_core.settings import acting, is_disabled
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.usage import Usage

Judge = Callable[[str, str, str], Preference]
_MOST_WAITING: Final = 200
_MOST_FAILURES: Final = 5
_CLOSE_SECONDS: Final = 30.0


class _Live(NamedTuple):
    """One call of the application, answered."""

    question: str
    answer: str
    messages: Any
    usd: float


class _Tried(NamedTuple):
    """What a configuration did with it."""

    value: float
    usd: float | None  # None: not known, and the judge was not asked


class ShadowEvaluation:
    """Compares configurations with the present answers on a sample of the traffic, and says what to switch on.

    A configuration is a model behind a door: `thrifty(model, thrift, shorten=...)`, `thrifty(..., output=OutputLimits())`, a `ChatRouter`
    or `RouterLLM`, one with `prompt_caching=True` or with a semantic cache of its own, or a smaller model. It gets the messages that the
    application sent. The judge sees the question and two answers without names, in an order drawn by lot, and a `PairwiseJudge` sees both
    orders. Equal answers are the same without a judge. Attach it with `llmthrift_langchain.ShadowHandler` or
    `llmthrift_llamaindex.ShadowEventHandler`, or call `offer`.

    Limits are confidence sequences, so that the evaluation may be looked at at any time. A configuration whose verdict is clear is asked no
    more. Money fails closed: the amount of a UTC day is a budget that all processes share, and what cannot be priced is not asked again.

    What was compared is kept in this process or, under a name, in the database for all of them. A cache in a configuration sees the sample
    alone, so that what it saves is a lower limit, and the provider's prompt cache likewise; `thrift.observed()` knows the hits of all the
    traffic.

    Args:
        thrift: whose ledger meters the configurations and the judge.
        configurations: name -> a chat model, an LLM, or a function from messages to a text; its calls must be metered.
        judge: a `PairwiseJudge`, or a function of a question and two answers that gives a `Preference`.
        sample: the share of the calls.
        max_usd_per_day: for answers and judgements together.
        min_saving: a share of the present cost, below which a configuration is not worth it.
        max_loss: so many more answers of all may be judged worse than better.
        confidence: of all limits of all configurations together.
        name: of the budget.
        kept_as: a name under which what was compared is kept in the database: all processes add to it, and a restart goes on from it. Give
            another name with other configurations. None: this process keeps it. `llmthrift quality shadow NAME` prints it.
        seed: of the sample and the order of the answers.

    Raises:
        ConfigurationError: an option that cannot be used.
        StorageError: the budget cannot be kept.
    """

    def __init__(
        self,
        thrift: AccountHost,
        configurations: Mapping[str, Any],
        judge: Judge,
        *,
        sample: float = 0.05,
        max_usd_per_day: Decimal | float | str = 1,
        min_saving: float = 0.05,
        max_loss: float = 0.05,
        confidence: float = 0.95,
        name: str = "shadow",
        kept_as: str | None = None,
        seed: int | None = None,
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        if not configurations:
            raise ConfigurationError('configurations is empty; give at least one: {"smaller": thrifty(ChatOpenAI(model=...), thrift)}')
        if not callable(judge):
            raise ConfigurationError(f"a judge is a PairwiseJudge or a function, not {type(judge).__name__}")
        for option, value, low, high in (
            ("sample", sample, 0, 1),
            ("min_saving", min_saving, -1, 1),
            ("max_loss", max_loss, 0, 1),
            ("confidence", confidence, 0.5, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigurationError(f"{option} must be from {low:g} to {high:g}, not {value!r}")
        if max_loss == 0 or confidence == 1:
            raise ConfigurationError("max_loss must be above 0 and confidence below 1: no number of judgements shows more")
        self.thrift = thrift
        self._ask = {str(each): answerer(model) for each, model in configurations.items()}
        self._judge, self._sample, self._confidence = judge, float(sample), float(confidence)
        if kept_as is not None and (not isinstance(kept_as, str) or not kept_as):
            raise ConfigurationError(f"kept_as must be a name, such as 'smaller model', not {kept_as!r}")
        self._bar = shadow_sums.bar_of(float(min_saving), float(max_loss), float(confidence), len(self._ask))
        self._amount = JudgingAmount(thrift, name, max_usd=max_usd_per_day, usd_per_judgement=None)
        self._random = random.Random(seed)  # noqa: S311 - a sample
        self._lock = ForkedLock()
        self._kept_as = kept_as
        self._known, self._fresh = Tally.of(self._ask), Tally.of(self._ask)  # of all processes, and what is not among that yet
        self._notes: dict[str, str] = {}  # why a configuration is not asked any more, other than a clear verdict
        self._failed_in_a_row = dict.fromkeys(self._ask, 0)
        self._stopped: str | None = None
        self._offers: Offers[_Live] = Offers(self._take, most_waiting=_MOST_WAITING)
        self._open = tuple(self._ask)
        self._keep()

    @property
    def is_finished(self) -> bool:
        """Whether no configuration is asked any more."""
        return not self._open

    def offer(self, question: str, answer: str, *, messages: Any, usd: float | Decimal | None) -> bool:
        """A call of the application. Never raises, never waits.

        Args:
            question: what the judge sees of what was asked.
            answer: that the caller got.
            messages: as they were sent, in the form that the configurations take.
            usd: what the call cost; None: not known, and the call is only counted.

        Returns:
            Whether it is taken.
        """
        try:
            if is_disabled() or current_attribution().request_type == EVALUATION or self.is_finished:
                return False
            with self._lock:
                now_us, fresh = self.thrift.now_us(), self._fresh
                fresh.first_us, fresh.last_us = fresh.first_us or now_us, now_us
                fresh.offered += 1
                if usd is None:
                    fresh.skipped["their cost is not known"] += 1
                    return False
                fresh.present_usd += float(usd)
                chosen = self._random.random() < self._sample
            if not chosen:
                return False
            taken = self._offers.put(_Live(question, answer, messages, float(usd)))
            with self._lock:
                self._fresh.sampled += taken
                if not taken:
                    self._fresh.skipped["too many were waiting"] += 1
            return taken
        except Exception as error:
            self.thrift.note_failure("shadow evaluation", error)
            return False

    def skip(self, why: str) -> None:
        """Count a call that cannot be compared, such as one with tools."""
        with self._lock:
            self._fresh.skipped[why] += 1

    def price(self, usage: Usage | None, model: str | None, provider: str | None = None) -> Decimal | None:
        """What an answer cost, for adapters; None: not known."""
        if usage is None or model is None:
            return None
        priced = self.thrift.prices.price(usage, model, provider, self.thrift.now_us())
        return None if priced is None else to_usd(priced.nano_usd)

    def report(self) -> ShadowReport:
        """What is known by now, in all processes where it is kept."""
        self._keep()
        with self._lock:
            return self._tally().report(self._bar, self._confidence, notes=self._notes, stopped=self._stopped)

    def flush(self, timeout_seconds: float = _CLOSE_SECONDS) -> bool:
        """Wait until what was taken is compared. False if that took longer."""
        return self._offers.flush(timeout_seconds)

    def health(self) -> dict[str, Any]:
        """What waits in this process, what was compared, and how much failed."""
        with self._lock:
            compared = self._tally().compared
            failed = sum(each.failed for each in compared.values())
            judged = {name: each.judged for name, each in compared.items()}
        return {"shadow": judged, "waiting": self._offers.waiting, "failed": failed, "stopped": self._stopped}

    def close(self) -> None:
        """Drop what waits, finish what is being compared. Call it before the Thrift is closed."""
        self._offers.close(_CLOSE_SECONDS)
        self._keep()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- steps ---

    def _tally(self) -> Tally:
        return self._known.plus(self._fresh)

    def _keep(self) -> None:
        """Add what is fresh to what all processes know, and see who is still to be asked. What the database does not take stays here."""
        if self._kept_as is not None:
            with self._lock:
                fresh, self._fresh = self._fresh, Tally.of(self._ask)
            try:
                if fresh.last_us or fresh.skipped:
                    shadow_sums.add(self.thrift.database, self._kept_as, fresh, self._bar, self._confidence)
                    fresh = Tally.of(self._ask)
                known = shadow_sums.read(self.thrift.database, self._kept_as, self._ask)
            except StorageError as error:
                self.thrift.note_failure("shadow evaluation", error)
                known = self._known
            with self._lock:
                self._known, self._fresh = Tally.of(self._ask).plus(known), self._fresh.plus(fresh)
        with self._lock:
            compared = self._tally().compared
            is_open = {name: each.verdict(self._bar) == "not clear yet" for name, each in compared.items()}
            self._open = tuple(name for name in self._ask if is_open[name] and name not in self._notes)

    def _take(self, live: _Live) -> None:
        for kind, name in enumerate(self._ask):
            if name not in self._open:
                continue
            try:
                paid = self._amount.pay_for(lambda name=name: self._tried(name, live), kind=kind)  # type: ignore[misc]
            except BudgetExceededError:
                self._stopped = "the amount of the day is spent"
                break
            except Exception as error:  # on a thread of our own: whatever it is, the next call may fare better
                self.thrift.note_failure("shadow evaluation", error)
                self._stopped = place_of(error)
                break
            with self._lock:
                self._stopped = None
                self._fresh.spent_usd += float(paid.usd or 0)
                self._note(name, live, paid.said, paid.failure)
        self._keep()

    def _note(self, name: str, live: _Live, said: _Tried | None, failure: JudgeError | None) -> None:
        compared = self._fresh.compared[name]
        if said is not None and said.usd is not None:
            compared.add(said.value, live.usd, said.usd)
            self._failed_in_a_row[name] = 0
            return
        compared.failed += 1
        self._failed_in_a_row[name] += 1
        if said is not None:
            self._notes[name] = "what it costs is not known: wrap its model with thrifty, and set the price of the model"
        elif self._failed_in_a_row[name] >= _MOST_FAILURES:
            self._notes[name] = f"{_MOST_FAILURES} comparisons failed in a row; the last: {failure}"

    def _tried(self, name: str, live: _Live) -> _Tried:
        """Have a configuration answer, and compare. Raises JudgeError."""
        run, began_us = current_attribution().run, self.thrift.now_us()
        try:
            with acting():
                answer = self._ask[name](live.messages)
        except BudgetExceededError:
            raise
        except Exception as error:  # its text may hold a prompt, or a key
            raise JudgeError(f"the configuration failed with {type(error).__name__}", kind="failed") from None
        self.thrift.flush()
        rows = self.thrift.ledger.calls(since=from_us(began_us - MICROSECONDS), run=run)
        usd = _cost(rows)
        if usd is None:
            return _Tried(0.0, None)
        if " ".join(answer.split()) == " ".join(live.answer.split()):
            return _Tried(0.0, usd)
        is_first = self._random.random() < 0.5
        pair = (answer, live.answer) if is_first else (live.answer, answer)
        with acting():
            value = self._judge(live.question, *pair).value
        return _Tried(value if is_first else -value, usd)


def _cost(rows: Iterable[Any]) -> float | None:
    """The dollars of rows of the ledger, hits among them; None: not known."""
    total, number = Decimal(0), 0
    for number, row in enumerate(rows, 1):  # noqa: B007
        amount = row.cost_usd if row.cache is None else Decimal(0)
        if amount is None:
            return None
        total += amount
    return float(total) if number else None
