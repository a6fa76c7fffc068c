"""`QualityGuard`: watches whether routing pays, and switches it off where it does not."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, Table, func, select

from llmthrift_core.background.refreshing import Refreshing
from llmthrift_core.display import counted, plain_table, usd
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.judged import BY_APPLICATION, SOURCE_PREFIX, read_judged, tags_of, within
from llmthrift_core.model_calls.models import EVALUATION, OWN_REQUEST_TYPES
from llmthrift_core.money import to_usd
from llmthrift_core.quality.evaluation import Evaluation, Judge
from llmthrift_core.quality.judge import Judgement
from llmthrift_core.quality.scores import checked_confidence, checked_window_us
from llmthrift_core.quality.spending import JUDGING_TAG
from llmthrift_core.routing.policies.rules import PolicyWrapper
from llmthrift_core.routing.types import Review, RouteDecision
from llmthrift_core.statistics import Interval, RatioSums, quality_interval
from llmthrift_core.storage.tables import calls, other_costs
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.routing.types import RouteRequest, Tiers

logger = logging.getLogger("llmthrift")
MIN_QUALITY: Final = 0.85
_CLOSE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class GuardFigures:
    """A period of routing under a guard.

    Attributes:
        routed: attempts whose saving is known, rejected ones among them; hits of the cache are none.
        routing_saved_usd: the baseline's price minus the cost, over all of these. What rejected answers cost is taken off.
        checks_usd: what models cost that were asked before an answer was kept: judges in a cascade, further samples, ratings.
        judging_usd: what the guard's own judgements cost.
        judged: how many there are.
        quality: the mean of the judged answers within its limits; NaN where there are none.
    """

    routed: int = 0
    routing_saved_usd: Decimal = Decimal(0)
    checks_usd: Decimal = Decimal(0)
    judging_usd: Decimal = Decimal(0)
    judged: int = 0
    quality: Interval = field(default_factory=lambda: Interval(math.nan, 0.0, 1.0))

    @property
    def net_saving_usd(self) -> Decimal:
        """What routing saved, without what it took to make sure of it."""
        return self.routing_saved_usd - self.checks_usd - self.judging_usd


def read_guard_figures(connection: Connection, *, name: str, version: str, since_us: int, confidence: float) -> GuardFigures:
    """The figures from `since_us` on.

    Args:
        name: of the guard: of its judgements and its daily amount.
        version: of the policy, which calls carry as `config_version`.
        confidence: of the limits of quality.
    """
    since = within(since_us, None)
    ours = [*since, calls.c.config_version == version]
    is_checking = calls.c.request_type.in_(OWN_REQUEST_TYPES)
    saved = select(func.count(calls.c.routing_saved_nano_usd), func.sum(calls.c.routing_saved_nano_usd)).where(
        *ours, calls.c.cache.is_(None), BY_APPLICATION
    )
    routed, saved_nano = connection.execute(saved).one()
    checks_nano = connection.execute(select(func.sum(calls.c.cost_nano_usd)).where(*ours, is_checking)).scalar_one()
    sums = RatioSums()
    for judged in read_judged(connection, since_us=since_us, until_us=None, source=f"{SOURCE_PREFIX}{name}/"):
        sums.add(1, judged.quality)
    judging_nano = _marked(connection, calls, name, [*since, calls.c.request_type == EVALUATION])
    judging_nano += _marked(connection, other_costs, name, [other_costs.c.at_us >= since_us, other_costs.c.kind == EVALUATION])
    return GuardFigures(
        routed=int(routed),
        routing_saved_usd=to_usd(int(saved_nano or 0)),
        checks_usd=to_usd(int(checks_nano or 0)),
        judging_usd=to_usd(judging_nano),
        judged=sums.units,
        quality=quality_interval(sums, confidence),
    )


def _marked(connection: Connection, table: Table, name: str, where: list[ColumnElement[bool]]) -> int:
    """The sum of what judgements cost that this name paid for; their number is bounded by the daily amount."""
    rows: Any = connection.execute(select(table.c.cost_nano_usd, table.c.tags).where(*where, table.c.tags.is_not(None)))
    return sum(cost or 0 for cost, tags in rows if tags_of(tags).get(JUDGING_TAG) == name)


@dataclass(frozen=True, slots=True)
class GuardReport:
    """Whether routing is on, and what speaks for it.

    Attributes:
        is_on: routing is on; else the strongest allowed tier answers everything.
        reason: why it is off; "" while it is on.
        figures: of the days that count.
        unjudged: why the last sampled answer in this process was not judged, such as a spent amount or a judge of unknown cost, or None.
    """

    is_on: bool = True
    reason: str = ""
    figures: GuardFigures = field(default_factory=GuardFigures)
    unjudged: str | None = None

    def __str__(self) -> str:
        found = self.figures
        quality = f"{found.quality.estimate:.3f} ({found.quality.low:.3f} to {found.quality.high:.3f})" if found.judged else "not known"
        lines: list[tuple[str, str]] = [
            ("routing", "on" if self.is_on else f"off: {self.reason}"),
            ("routed attempts", f"{found.routed:,}"),
            ("saved by routing", usd(found.routing_saved_usd)),
            ("checks that ask models", usd(found.checks_usd)),
            ("judging", usd(found.judging_usd)),
            ("net saving", usd(found.net_saving_usd)),
            ("judged answers", f"{found.judged:,}"),
            ("their quality", quality),
        ]
        if self.unjudged is not None:
            lines.append(("not judged", self.unjudged))
        return plain_table(["quality guard", ""], lines)


@dataclass(slots=True)
class _Watch:
    """What the guard concluded: one for all copies of it that are made for a call."""

    standing: GuardReport = field(default_factory=GuardReport)


class QualityGuard(PolicyWrapper):
    """A policy around another one, whose cheap answers a judge samples. Put it outermost: `ChatRouter(policy=QualityGuard(...))`.

    A share of the answers that were kept from tiers below the strongest allowed one is judged in the background, within a daily amount, and
    handed to `thrift.feedback`. Routing is switched off (everything goes to the strongest allowed tier) when, over the last `window_days`,

    - the judged answers are worse than `min_quality` with statistical certainty: all of the interval of their mean lies below it; or
    - routing saved less than it took: the baseline's price minus the cost of all attempts, rejected answers included, minus what checks
      that ask models cost, minus what judging cost.

    It comes back by itself. While it is off nothing new is learned, and what spoke against it grows older: when it has left the window, or
    too little is left to be certain, routing is on again and has to prove itself anew. A shorter window tries again sooner. Every process
    reads the same ledger and comes to the same conclusion, also after a restart. Switching is logged; while it is off,
    `thrift.health()["alerts"]` says so. Answers of the cache are served whatever the guard says.

    A decision reads a snapshot; it is renewed by a thread of its own, at most every `refresh_seconds`. Trouble with the ledger leaves
    routing as it is. Savings are those of calls with this policy's version as their `config_version`: calls that an `attribute(...)` block
    gives another one are not counted. Answers without text and tool calls are not judged.

    Args:
        policy: decides: whatever a router takes as its policy.
        thrift: whose ledger is read, the router's own.
        judge: a `PointwiseJudge`, or a function from question and answer to a quality from 0 to 1.
        min_quality: that the judged answers must have on average.
        sample: the share of cheap answers that is judged.
        max_usd_per_day: for judging.
        usd_per_judgement: what a judgement costs whose model is not metered.
        window_days: how far back the figures go.
        confidence: of the limits of the mean quality. The guard looks again and again, so it should be high.
        fewest_judged, fewest_routed: with fewer judged answers, or routed attempts, nothing is concluded from quality, or from savings.
        refresh_seconds: the age at which the snapshot is renewed.
        name: of the daily amount and of the judgements: guards of the same name share both.

    Raises:
        ConfigurationError: an option that cannot be used.
        StorageError: the daily amount cannot be kept.

    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.quality.routing_guard import QualityGuard
    >>> from llmthrift_core.routing import Cascade, RouteRequest, Tiers
    >>> guard = QualityGuard(Cascade(["small", "large"]), Thrift(":memory:"), lambda question, answer: 1.0, usd_per_judgement=0)
    >>> guard.decide(RouteRequest("What is 12 * 12?"), Tiers(("small", "large"))).tier
    'small'
    """

    def __init__(
        self,
        policy: Any,
        thrift: AccountHost,
        judge: Judge,
        *,
        min_quality: float = MIN_QUALITY,
        sample: float = 0.10,
        max_usd_per_day: Decimal | float | str = 1,
        usd_per_judgement: Decimal | float | str | None = None,
        window_days: float = 7.0,
        confidence: float = 0.99,
        fewest_judged: int = 30,
        fewest_routed: int = 200,
        refresh_seconds: float = 300.0,
        name: str = "quality guard",
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        if isinstance(min_quality, bool) or not isinstance(min_quality, int | float) or not 0 < min_quality <= 1:
            raise ConfigurationError(f"min_quality must be a quality above 0 and up to 1, not {min_quality!r}")
        window_us = checked_window_us(window_days, refresh_seconds)
        if fewest_judged < 2 or fewest_routed < 1:
            raise ConfigurationError(f"fewest_judged={fewest_judged!r} must be at least 2, fewest_routed={fewest_routed!r} at least 1")
        if not isinstance(name, str) or not name or "/" in name:
            raise ConfigurationError(f"name must be a text without a slash, not {name!r}")
        super().__init__(policy)
        self._thrift = thrift
        self._name = name
        self._min_quality = float(min_quality)
        self._window_us = window_us
        self._confidence = checked_confidence(confidence)
        self._fewest_judged = fewest_judged
        self._fewest_routed = fewest_routed
        self._watch = _Watch()
        self._evaluation = Evaluation(
            thrift,
            _Signed(judge, name),
            sample=sample,
            max_usd_per_day=max_usd_per_day,
            usd_per_judgement=usd_per_judgement,
            name=name,
        )
        failed = partial(thrift.note_failure, "quality guard")
        self._refreshing = Refreshing(self._read, seconds=refresh_seconds, clock=thrift.now, failed=failed, name="llmthrift-guard")
        thrift.attach(self)

    # --- the policy ---

    @property
    def version(self) -> str:
        """The policy's version, followed by a hash of the guard's name; the same whether routing is on or off."""
        return self._version_with(self._name)

    @property
    def reviews(self) -> bool:
        """It does: answers that are kept may be judged."""
        return True

    @property
    def holds_streams(self) -> bool:
        """As the inner policy, while routing is on."""
        return self._watch.standing.is_on and super().holds_streams

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The policy's choice; the strongest allowed tier while routing is off.

        Raises:
            NoModelQualifiesError: the policy refuses.
        """
        self._refreshing.if_old()
        if self._watch.standing.is_on:
            return self.policy.decide(request, tiers)
        strongest = self.allowed(request, tiers).names[-1]
        return RouteDecision(strongest, f"routing is off: {self._watch.standing.reason}")

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        """As the inner policy: what it thinks of the answer. One that it keeps may be sampled."""
        found = super().review(request, tier, answer, tiers, context)
        if (found is None or found.next is None) and context is not None and answer and tier != tiers.names[-1]:
            try:
                self._offer(request, answer, context)
            except Exception as error:  # judging is no reason to break a call
                self._thrift.note_failure("quality guard", error)
        return found

    # --- watching ---

    def refresh(self) -> GuardReport:
        """Read the ledger now, and switch routing on or off. For jobs and tests: decisions do it by themselves, in the background."""
        self._refreshing.now()
        return self._watch.standing

    def report(self) -> GuardReport:
        """The last conclusion and its figures."""
        return self._watch.standing

    def health(self) -> dict[str, Any]:
        """For `thrift.health()`: whether routing `is_on`, how many `judged` answers say so, their `quality`, and `errors` of readings."""
        figures = self._watch.standing.figures
        quality = figures.quality.estimate if figures.judged else None
        is_on, errors = self._watch.standing.is_on, self._refreshing.errors
        return {"policy": "quality guard", "is_on": is_on, "judged": figures.judged, "quality": quality, "errors": errors}

    def alerts(self) -> list[str]:
        """Says that routing is off, and why."""
        return [] if self._watch.standing.is_on else [f"{self._name}: routing is off: {self._watch.standing.reason}"]

    def flush(self, timeout_seconds: float = _CLOSE_SECONDS) -> bool:
        """Wait until what was sampled is judged, and the snapshot is new. False if that was not possible in time."""
        return self._evaluation.flush(timeout_seconds) and self._refreshing.wait(timeout_seconds)

    def close(self) -> None:
        """Drop what waits to be judged. The Thrift does it when it is closed."""
        self._evaluation.close()
        self._refreshing.close(_CLOSE_SECONDS)

    # --- steps ---

    def _offer(self, request: RouteRequest, answer: str, context: Mapping[str, Any]) -> None:
        request_id = context.get("request_id")
        if request_id is None or context.get("tool_calls"):
            return
        who = request.attribution
        if self._evaluation.sampling.reason(request_id, who.feature, who.prompt_version) is not None:
            question = context.get("conversation") or request.question
            self._evaluation.offer(request_id, question, answer, feature=who.feature, prompt_version=who.prompt_version)

    def _read(self) -> None:
        self._thrift.flush()
        since_us = self._thrift.now_us() - self._window_us
        with self._thrift.database.read() as connection:
            figures = read_guard_figures(connection, name=self._name, version=self.version, since_us=since_us, confidence=self._confidence)
        reason = self._against(figures)
        before, self._watch.standing = self._watch.standing, GuardReport(not reason, reason, figures, self._evaluation.health()["stopped"])
        if reason and before.is_on:
            logger.warning("%s switches routing off: %s", self._name, reason)
        elif not reason and not before.is_on:
            logger.warning("%s switches routing on again: what spoke against it is too old, or too little", self._name)

    def _against(self, figures: GuardFigures) -> str:
        """What speaks against routing; "" if nothing does."""
        quality = figures.quality
        if figures.judged >= self._fewest_judged and quality.high < self._min_quality:
            return (
                f"{counted(figures.judged, 'judged answer has', 'judged answers have')} a quality of {quality.estimate:.2f} "
                f"({quality.low:.2f} to {quality.high:.2f}), below {self._min_quality:g}"
            )
        if figures.routed >= self._fewest_routed and figures.net_saving_usd < 0:
            return (
                f"it saved {usd(figures.routing_saved_usd)}, and checks and judging cost {usd(figures.checks_usd + figures.judging_usd)}, "
                f"over {counted(figures.routed, 'attempt')}"
            )
        return ""


class _Signed:
    """A judge whose judgements carry the guard's name, so that those of other evaluations are not taken for them."""

    def __init__(self, judge: Callable[[str, str], Judgement | float | None], guard: str) -> None:
        self._judge = judge
        self._guard = guard
        if not callable(judge):
            raise ConfigurationError(f"a judge is a function of question and answer, not {type(judge).__name__}")
        self.name = f"{guard}/{getattr(judge, 'name', None) or getattr(judge, '__name__', type(judge).__name__)}"

    def __call__(self, question: str, answer: str) -> Judgement | float | None:
        said = self._judge(question, answer)
        return replace(said, judge=f"{self._guard}/{said.judge}") if isinstance(said, Judgement) else said
