"""`Evaluation`: which answers are judged, by whom, and within which daily amount."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from llmthrift_core.attribution import current_attribution
from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.background.work_queue import Offers
from llmthrift_core.display import Printed, counted, plain_table, usd
from llmthrift_core.errors import BudgetExceededError, ConfigurationError, JudgeError, StorageError, place_of
from llmthrift_core.ledger.judged import SOURCE_PREFIX, read_unjudged, texts_of
from llmthrift_core.model_calls.models import EVALUATION
from llmthrift_core.moments import DAY_US, Moment, to_us
from llmthrift_core.quality.judge import Judgement
from llmthrift_core.quality.sampling import Sampling
from llmthrift_core.quality.spending import JudgingAmount
from llmthrift_core.settings import is_disabled
from llmthrift_core.statistics import Interval, RatioSums, quality_interval
from llmthrift_core.texts import as_texts, require_thrift

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost

Judge = Callable[[str, str], Judgement | float | None]
_DEFAULT_PERIOD_US: Final = 7 * DAY_US
_MOST_WAITING: Final = 200
_MOST_FAILURES: Final = 5
_CLOSE_SECONDS: Final = 30.0


class _StopError(Exception):
    """No more judgements now; its text says why."""


class _Offer(NamedTuple):
    request_id: str
    question: str
    answer: str
    reason: str


class Evaluation:
    """Judges a part of the answers, and hands what is said to `thrift.feedback`.

    All calls of `always_features` and of `canary_prompt_versions` are judged, and a share of the others, chosen by a hash of the request
    id: every process chooses the same. `run()` takes them from the ledger, whose texts are stored with `Thrift(capture="text")`;
    `offer()` takes them from a running application, off the caller's path, and stores no text. A judge's own calls are attributed to the
    request type "evaluation", and never judged.

    Money: what a judgement costs is read from the ledger if the judge's model is metered; for another, say `usd_per_judgement`. The
    amount of a UTC day is a budget, shared by all processes; each process exceeds it by one judgement at most. A judge of unknown cost
    is asked once, and then no more.

    Args:
        thrift: whose calls are judged.
        judge: a `PointwiseJudge`, or a function from question and answer to a quality from 0 to 1, or None where it cannot say.
        cheap_judge: asked first. The other one is asked only where this one says less than `flag_below`, or nothing.
        always_features, canary_prompt_versions: judged whatever the share.
        sample: the share of the other calls.
        max_usd_per_day: for judging.
        usd_per_judgement: what a judgement costs whose model is not metered.
        flag_below: a quality.
        name: of the budget. Evaluations of the same name share the amount.

    Raises:
        ConfigurationError: an option that cannot be used.
        StorageError: the budget cannot be kept.

    >>> from llmthrift_core import Thrift, Usage
    >>> from llmthrift_core.quality import Evaluation
    >>> thrift = Thrift(":memory:")
    >>> evaluation = Evaluation(thrift, lambda question, answer: 1.0 if "42" in answer else 0.0, sample=1, usd_per_judgement=0)
    >>> request_id = thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=12, output_tokens=3))
    >>> evaluation.offer(request_id, "What is 6 times 7?", "It is 42."), evaluation.flush()
    (True, True)
    >>> thrift.quality(by="model").to_dicts()[0]["quality"]
    1.0
    """

    def __init__(
        self,
        thrift: AccountHost,
        judge: Judge,
        *,
        cheap_judge: Judge | None = None,
        always_features: Iterable[str] = (),
        canary_prompt_versions: Iterable[str] = (),
        sample: float = 0.10,
        max_usd_per_day: Decimal | float | str = 1,
        usd_per_judgement: Decimal | float | str | None = None,
        flag_below: float = 0.7,
        name: str = "evaluation",
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        for judging in (judge,) if cheap_judge is None else (judge, cheap_judge):
            if not callable(judging):
                raise ConfigurationError(f"a judge is a function of question and answer, not {type(judging).__name__}")
        if isinstance(flag_below, bool) or not isinstance(flag_below, int | float) or not 0 <= flag_below <= 1:
            raise ConfigurationError(f"flag_below must be a quality from 0 to 1, not {flag_below!r}")
        self.thrift = thrift
        always, canaries = as_texts("always_features", always_features), as_texts("canary_prompt_versions", canary_prompt_versions)
        self.sampling = Sampling(always, canaries, sample)
        self._judge = judge
        self._cheap_judge = cheap_judge
        self._flag_below = flag_below
        self._amount = JudgingAmount(thrift, name, max_usd=max_usd_per_day, usd_per_judgement=usd_per_judgement)
        self._unknown_cost: str | None = None
        self._failures = 0
        self._counting = ForkedLock()
        self._offered = EvaluationReport()
        self._dropped = 0
        self._offers: Offers[_Offer] = Offers(self._take, most_waiting=_MOST_WAITING)

    def run(self, since: Moment | None = None, until: Moment | None = None, *, limit: int | None = None) -> EvaluationReport:
        """Judge what the ledger holds. For a job; never raises for what goes wrong with judges or the database.

        Args:
            since, until: the calls of [since, until); None is a week ago, and now.
            limit: judge at most so many.

        Raises:
            ConfigurationError: a time that is none.
        """
        report = EvaluationReport()
        if is_disabled():
            report.stopped = "LLMTHRIFT_DISABLED is set"
            return report
        now_us = self.thrift.now_us()
        since_us = now_us - _DEFAULT_PERIOD_US if since is None else to_us(since)
        until_us = now_us + 1 if until is None else to_us(until)
        self._failures = 0
        try:
            for offer in self._chosen(report, since_us, until_us):
                if limit is not None and report.judged >= limit:
                    raise _StopError(f"the limit of {counted(limit, 'judgement')} is reached")
                texts = texts_of(self.thrift.database, offer)
                if texts is None:
                    report.not_judged["gone"] += 1
                else:
                    self._evaluate(offer, *texts, report)
        except _StopError as stop:
            report.stopped = str(stop)
        except StorageError as error:
            self.thrift.note_failure("evaluation", error)
            report.stopped = f"the database cannot be used: {error}"
        self.thrift.flush()
        return report

    def offer(self, request_id: str, question: str, answer: str, *, feature: str | None = None, prompt_version: str | None = None) -> bool:
        """Judge an answer later, on a thread of its own. Never raises, never waits.

        Args:
            request_id: of the call in the ledger.
            feature, prompt_version: of the call; None takes those of the surrounding `attribute(...)`.

        Returns:
            Whether it will be judged: it is chosen, and there is room in the queue.
        """
        try:
            who = current_attribution()
            if is_disabled() or who.request_type == EVALUATION:
                return False
            reason = self.sampling.reason(request_id, feature or who.feature, prompt_version or who.prompt_version)
            taken = reason is not None and self._offers.put(_Offer(request_id, question, answer, reason))
            with self._counting:
                self._offered.considered += 1
                self._dropped += reason is not None and not taken
            return taken
        except Exception as error:
            self.thrift.note_failure("evaluation", error)
            return False

    def flush(self, timeout_seconds: float = _CLOSE_SECONDS) -> bool:
        """Wait until what was offered is judged and recorded. False if that was not possible in time."""
        return self._offers.flush(timeout_seconds) and self.thrift.flush()

    def health(self) -> dict[str, Any]:
        """What became of what was offered in this process: an EvaluationReport's figures, `waiting` and `dropped`."""
        with self._counting:
            return {**self._offered.to_dict(), "waiting": self._offers.waiting, "dropped": self._dropped}

    def close(self) -> None:
        """Drop what waits, finish what is being judged. Call it before the Thrift is closed."""
        self._offers.close(_CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- steps ---

    def _chosen(self, report: EvaluationReport, since_us: int, until_us: int) -> list[str]:
        """Request ids to judge: those that always are, then the others as if drawn."""
        self.thrift.flush()
        found: list[tuple[bool, float, str]] = []
        with self.thrift.database.read() as connection:
            for call in read_unjudged(connection, since_us=since_us, until_us=until_us):
                report.considered += 1
                if (reason := self.sampling.reason(*call)) is not None:
                    report.chosen[reason] += 1
                    found.append((reason == "sample", self.sampling.order(call.request_id), call.request_id))
        return [request_id for _, _, request_id in sorted(found)]

    def _take(self, offer: _Offer) -> None:
        with self._counting:
            self._offered.chosen[offer.reason] += 1
        report = EvaluationReport()
        try:
            self._evaluate(offer.request_id, offer.question, offer.answer, report)
        except _StopError as stop:
            report.stopped = str(stop)
        except Exception as error:  # on a thread of our own: whatever it is, the next offer may fare better
            self.thrift.note_failure("evaluation", error)
            report.stopped = place_of(error)
        with self._counting:
            self._offered.add(report)

    def _evaluate(self, request_id: str, question: str, answer: str, report: EvaluationReport) -> None:
        """Judge one answer. Raises _StopError where the next one is not to be tried."""
        judgement, failure = None, None
        if self._cheap_judge is not None:
            judgement, failure = self._ask(self._cheap_judge, question, answer, report)
        if judgement is None or judgement.quality < self._flag_below:
            report.escalated += self._cheap_judge is not None
            judgement, failure = self._ask(self._judge, question, answer, report)
        if judgement is None:
            report.not_judged["failed" if failure is None else failure.kind] += 1
            self._failures = self._failures + 1 if failure is not None and failure.kind == "failed" else 0
            if self._failures >= _MOST_FAILURES:
                self._failures = 0
                raise _StopError(f"{_MOST_FAILURES} judgements failed in a row; the last: {failure}")
            return
        self._failures = 0
        report.judged += 1
        report.qualities.add(1, judgement.quality)
        # A reason may quote the answer: it is stored where texts are.
        comment = judgement.reason if self.thrift.capture == "text" and judgement.reason else None
        self.thrift.ledger.feedback(request_id, quality=judgement.quality, source=SOURCE_PREFIX + judgement.judge, comment=comment)

    def _ask(self, judge: Judge, question: str, answer: str, report: EvaluationReport) -> tuple[Judgement | None, JudgeError | None]:
        if self._unknown_cost is not None:
            raise _StopError(self._unknown_cost)
        try:
            paid = self._amount.pay_for(lambda: _judged(judge, question, answer), kind=id(judge))
        except BudgetExceededError:
            raise _StopError("the amount for judging is spent for today") from None
        report.spent_usd += paid.usd or 0
        if paid.usd is None and (paid.failure is None or paid.failure.kind == "unreadable"):
            self._unknown_cost = (
                "what a judgement costs is not known: wrap the judge's model with thrifty(model, thrift) or give it a "
                "ThriftCallbackHandler, set the price of its model, or say usd_per_judgement="
            )
        return paid.said, paid.failure


def _judged(judge: Judge, question: str, answer: str) -> Judgement:
    """What any kind of judge says. Raises JudgeError where that is no judgement."""
    try:
        said = judge(question, answer)
    except JudgeError:
        raise
    except Exception as error:  # its text may hold the answer, or a key
        raise JudgeError(f"the judge failed with {type(error).__name__}", kind="failed") from None
    name = str(getattr(judge, "name", None) or getattr(judge, "__name__", type(judge).__name__))
    judgement = said if isinstance(said, Judgement) else None
    quality: Any = said if judgement is None else judgement.quality
    if isinstance(quality, bool | int | float) and math.isfinite(quality) and 0 <= quality <= 1:
        return judgement or Judgement(float(quality), "", name)
    raise JudgeError(f"the judge {name!r} said nothing that is a quality from 0 to 1", kind="unreadable")


@dataclass(repr=False)
class EvaluationReport(Printed):
    """What became of the calls that may be judged.

    Attributes:
        considered: calls with a text, not judged before.
        chosen: of those, how many were to be judged, by reason: "feature", "canary" or "sample".
        judged: got a quality.
        escalated: of those that the cheap judge saw, how many went to the other one.
        not_judged: got none, by kind: "failed" or "unreadable"; "gone" where the text was deleted meanwhile.
        spent_usd: what the judges cost.
        stopped: why calls are left, or None.
    """

    considered: int = 0
    chosen: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    escalated: int = 0
    not_judged: Counter[str] = field(default_factory=Counter)
    spent_usd: Decimal = Decimal(0)
    stopped: str | None = None
    qualities: RatioSums = field(default_factory=RatioSums, repr=False)

    @property
    def left(self) -> int:
        """Chosen, and not tried: another run takes them up."""
        return self.chosen.total() - self.judged - self.not_judged.total()

    @property
    def quality(self) -> Interval:
        """The mean quality of what was judged here, within limits of 95%. NaN where nothing was."""
        return quality_interval(self.qualities, 0.95)

    def add(self, other: EvaluationReport) -> None:
        """Take over the figures of another one, and why it stopped."""
        self.considered += other.considered
        self.chosen += other.chosen
        self.judged += other.judged
        self.escalated += other.escalated
        self.not_judged += other.not_judged
        self.spent_usd += other.spent_usd
        self.stopped = other.stopped
        self.qualities = self.qualities.plus(other.qualities)

    def to_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        quality = self.quality
        return {
            "considered": self.considered,
            "chosen": dict(self.chosen),
            "judged": self.judged,
            "escalated": self.escalated,
            "not_judged": dict(self.not_judged),
            "left": self.left,
            "spent_usd": self.spent_usd,
            "quality": None if math.isnan(quality.estimate) else quality.estimate,
            "low": quality.low,
            "high": quality.high,
            "stopped": self.stopped,
        }

    def to_text(self) -> str:
        """All of it as text."""
        lines = plain_table(["evaluation", ""], self._lines())
        return lines if self.stopped is None else f"{lines}\nStopped: {self.stopped}"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in self._lines())
        stopped = "" if self.stopped is None else f"<p>Stopped: {escape(self.stopped)}</p>"
        return f"<table><tbody>{rows}</tbody></table>{stopped}"

    def _lines(self) -> list[tuple[str, str]]:
        quality = self.quality
        lines = [
            ("calls with a text, not judged before", f"{self.considered:,}"),
            ("chosen", _counted(self.chosen)),
            ("judged", f"{self.judged:,}"),
            ("sent on by the cheap judge", f"{self.escalated:,}"),
            ("not judged", _counted(self.not_judged)),
            ("left", f"{self.left:,}"),
            ("spent", usd(self.spent_usd)),
        ]
        if self.judged:
            lines.append(("quality", f"{quality.estimate:.3f} ({quality.low:.3f} to {quality.high:.3f})"))
        return lines


def _counted(counts: Counter[str]) -> str:
    named = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    return f"{counts.total():,} ({named})" if named else "0"
