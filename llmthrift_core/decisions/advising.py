"""Advise what to switch on first: from the ledger, or from the answers to six questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attachments import AccountHost
from llmthrift_core.decisions.workloads import Expected, Workload, expectations
from llmthrift_core.display import Plan, counted, drawn_bars, percent, usd
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import Moment
from llmthrift_core.money import DAYS_PER_MONTH, Number, exact, money
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.display import Drawn


@dataclass(frozen=True, slots=True)
class Step:
    """How a lever is switched on.

    Attributes:
        hours: of work, about; an estimate of ours, by which advice is ordered.
        risk: what can go wrong.
        code: the lines that switch it on.
    """

    hours: float
    risk: str
    code: str


_STEPS: Final[Mapping[str, Step]] = {
    "exact caching": Step(0.5, "an answer that should have changed is given until its TTL ends", "model = thrifty(model, thrift)"),
    "semantic caching": Step(
        2,
        "a wrong answer to a similar question; the error bound keeps such hits at 1% of the requests",
        "model = thrifty(model, thrift, cache=ThriftCache(thrift, semantic=True))",
    ),
    "routing": Step(
        8,
        "the cheaper model is wrong where the dearer one was right: measure with an experiment first",
        'model = ChatRouter(thrift, models={"simple": cheap, "complex": strong})',
    ),
    "prefix caching": Step(
        1,
        "none for answers; writes cost more than reading saves where prompts differ early",
        "model = thrifty(model, thrift, prompt_caching=True)",
    ),
    "shortening": Step(
        2, "what is cut may have mattered; lossless steps alone cut nothing that does", "model = thrifty(model, thrift, shorten=Shorten())"
    ),
    "limit output": Step(0.5, "an answer that is longer than the limit is cut", 'model = ChatOpenAI(model="...", max_tokens=500)'),
    "batches": Step(4, "answers come within a day, not at once", "model = BatchChatModel(model, thrift)"),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """One lever to switch on.

    Attributes:
        lever: its name.
        low_share, high_share: of the cost, what it is expected to save.
        low_usd, high_usd: the same in dollars, of the period that was looked at, or a month where questions were answered.
        hours: of work, about.
        risk: what can go wrong.
        code: the lines that switch it on.
        basis: "ledger", or "rule of thumb".
        why: what the expectation is made of.
    """

    lever: str
    low_share: float
    high_share: float
    low_usd: Decimal
    high_usd: Decimal
    hours: float
    risk: str
    code: str
    basis: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Every attribute by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, repr=False)
class AdviceReport(Plan):
    """What to switch on, first things first: by the dollars saved for an hour of work. Savings overlap and must not be added.

    Attributes:
        spent_usd: in the period, or a month.
        advice: the levers.
        notes: what is not known, and how to know it.
    """

    spent_usd: Decimal
    period: str
    advice: tuple[Advice, ...]
    notes: tuple[str, ...] = field(default=())

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """One row a lever."""
        header = ["switch on", "saves", "of the cost", "hours", "basis"]
        rows: list[list[Any]] = []
        for each in self.advice:
            saves, share = f"{usd(each.low_usd)} to {usd(each.high_usd)}", f"{percent(each.low_share)} to {percent(each.high_share)}"
            rows.append([each.lever, saves, share, each.hours, each.basis])
        return header, rows

    def remarks(self) -> list[str]:
        """Why, the risk and the code of each."""
        lines = [f"{usd(self.spent_usd)} {self.period}. Savings overlap: do not add them."]
        for number, each in enumerate(self.advice, 1):
            lines += [f"{number}. {each.lever}: {each.why}. Risk: {each.risk}.", *(f"   > {line}" for line in each.code.splitlines())]
        if not self.advice:
            lines.append("Nothing stands out that should be switched on.")
        return [*lines, *self.notes]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The levers as dicts."""
        return [each.to_dict() for each in self.advice]

    def _drawn(self, alt: Any) -> Drawn:
        """What each lever saves, from its least to its most."""
        rows = [{"name": each.lever, "low": each.low_usd, "high": each.high_usd, "kind": each.basis} for each in self.advice]
        return drawn_bars(alt, rows, title=f"US dollars saved, of {usd(self.spent_usd)} {self.period}")


def advise(
    thrift: AccountHost | None = None,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    kind: str | None = None,
    requests_per_day: Number | None = None,
    repeats: Number | None = None,
    input_tokens: Number | None = None,
    output_tokens: Number | None = None,
    model: str | None = None,
    latency_seconds: Number | None = None,
    prices: PriceCatalog | None = None,
) -> AdviceReport:
    """Advise what to switch on first.

    Args:
        thrift: whose ledger says; without it, the questions are answered by
        kind: "support", "analytics", "code" or "other".
        requests_per_day: how many.
        repeats: the share that asks what was asked before, 0 to 1; None goes by the kind.
        input_tokens, output_tokens: of a usual request.
        model: that answers now.
        latency_seconds: how long an answer may take; None is a few seconds.
        since, until: the period of the ledger.
        prices: of the model; None takes the price lists that are installed.

    Raises:
        ConfigurationError: neither a ledger nor the answers, or both, or an answer that makes no sense.
        UnknownModelError: the model has no price.
        StorageError: the database cannot be read.
    """
    needed = {
        "kind": kind,
        "requests_per_day": requests_per_day,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "model": model,
    }
    given = [name for name, value in {**needed, "repeats": repeats, "latency_seconds": latency_seconds}.items() if value is not None]
    if thrift is not None:
        if given:
            raise ConfigurationError(f"give either a Thrift or answers, not both; {', '.join(given)} is given")
        require_thrift(thrift, "advise")
        return _of_ledger(thrift, since, until)
    if missing := [name for name, value in needed.items() if value is None]:
        asked = ", ".join(f"{name}=" for name in missing)
        raise ConfigurationError(f"without a ledger, advise needs answers: {asked} is missing")
    workload = Workload(
        str(kind),
        exact("requests_per_day", requests_per_day),
        None if repeats is None else exact("repeats", repeats),
        exact("input_tokens", input_tokens),
        exact("output_tokens", output_tokens),
        str(model),
        None if latency_seconds is None else exact("latency_seconds", latency_seconds),
    )
    spent, found = expectations(workload, prices or PriceCatalog())
    month = spent * workload.requests_per_day * DAYS_PER_MONTH
    advice = [_of_rule(each, month) for each in found]
    notes = ("Rules of thumb: advise(thrift) knows more, once observe mode (LLMTHRIFT_OBSERVE=1) has seen your traffic.",)
    return AdviceReport(money(month), "a month", _ordered(advice), notes)


def _of_rule(each: Expected, month: Fraction) -> Advice:
    step = _STEPS[each.lever]
    low, high = money(month * each.low), money(month * each.high)
    return Advice(each.lever, float(each.low), float(each.high), low, high, step.hours, step.risk, step.code, "rule of thumb", each.why)


def _of_ledger(thrift: AccountHost, since: Moment | None, until: Moment | None) -> AdviceReport:
    from llmthrift_core.reports.observed import observed
    from llmthrift_core.reports.optimizations.report import optimizations

    thrift.ledger.catch_up()
    seen = observed(thrift.database, since=since, until=until)
    found = optimizations(thrift.database, thrift.prices, since=since, until=until, now_us=thrift.now_us())
    spent = seen.spent_usd
    advice, unknown = [], []
    for lever in seen.levers:
        if lever.saved_usd is None or lever.low_usd is None or lever.high_usd is None:
            unknown.append(f"{lever.name}: {lever.assumed}.")
        elif lever.saved_usd > 0:
            advice.append(_measured(lever.name, max(Decimal(0), lever.low_usd), lever.high_usd, spent, "ledger", lever.assumed))
    known = {each.lever for each in advice}
    advice += [
        _measured(name, low, high, spent, basis, why, code)
        for name, low, high, basis, why, code in _opportunities(found.opportunities)
        if name not in known and high > 0
    ]
    return AdviceReport(spent, f"was spent on {counted(seen.requests, 'request')}", _ordered(advice), (*seen.notes, *unknown))


def _opportunities(found: Any) -> Iterator[tuple[str, Decimal, Decimal, str, str, str]]:
    """What the ledger's findings ask to switch on; those that mend a mistake keep their own name."""
    names = {"premium_models": "routing", "low_hit_rate": "exact caching", "unbounded_output": "limit output"}
    names |= {"system_prompt": "prefix caching"}
    best: dict[str, tuple[str, Decimal, Decimal, str, str, str]] = {}
    for each in found:  # the largest first
        name = names.get(each.kind, each.kind.replace("_", " "))
        best.setdefault(name, (name, each.low_usd, each.high_usd, each.basis, each.description.rstrip("."), each.how))
    yield from best.values()


def _measured(name: str, low: Decimal, high: Decimal, spent: Decimal, basis: str, why: str, code: str | None = None) -> Advice:
    step = _STEPS.get(name) or Step(4, "none for answers; look at the calls that show it", "")
    top, bottom = min(high, spent), min(low, spent)
    low_share, high_share = (float(amount / spent) if spent else 0.0 for amount in (bottom, top))
    return Advice(name, low_share, high_share, bottom, top, step.hours, step.risk, step.code or code or "", basis, why)


def _ordered(advice: list[Advice]) -> tuple[Advice, ...]:
    return tuple(sorted(advice, key=lambda each: (-(each.low_usd + each.high_usd) / Decimal(str(each.hours)), each.lever)))
