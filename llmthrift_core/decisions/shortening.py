"""`simulate_shortening`: what shorter prompts would have done to recorded traffic, in dollars after the provider's cache."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.decisions.kept_values import values_left
from llmthrift_core.decisions.prefix_bills import PrefixBills
from llmthrift_core.display import Printed, counted, percent, plain_table, usd
from llmthrift_core.errors import ConfigurationError, LLMThriftError
from llmthrift_core.money import to_usd
from llmthrift_core.prompt_caching.terms import CacheTerms, terms_of
from llmthrift_core.prompts.messages import messages_of, question_index, text_of
from llmthrift_core.statistics import Interval, RatioSums, quality_interval
from llmthrift_core.statistics.ratios import ratio_interval

if TYPE_CHECKING:
    from llmthrift_core.ledger.sent import SentCall
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompts.shorten import Shorten

_CONFIDENCE: Final = 0.95
_MARGIN: Final = 0.05
Judge = Callable[[str, str], Any]


@dataclass(frozen=True, slots=True)
class SentPrompt:
    """A prompt that was sent.

    Attributes:
        messages: a text, or dicts in the shape of OpenAI's chat.
        model: its name, for tokens, prices and cache terms.
        at: seconds, on any clock that all prompts share.
        answer: what is known to be right, or what the model answered then; None: nothing is known.
        caches: the provider kept its prefixes; None: as its terms say, where it does so without being asked.
    """

    messages: Any
    model: str
    at: float = 0.0
    answer: str | None = None
    call_site: str | None = None
    provider: str | None = None
    caches: bool | None = None


@dataclass(slots=True)
class _Sums:
    calls: int = 0
    tokens: int = 0
    tokens_shorter: int = 0
    nano_usd: int = 0
    nano_usd_shorter: int = 0
    unpriced: int = 0
    dearer: int = 0
    kept: RatioSums = field(default_factory=RatioSums)


@dataclass(frozen=True, repr=False)
class ShorteningSimulation(Printed):
    """What a policy would have done.

    Attributes:
        rows: by call site, the most dollars first: call_site, calls, tokens, tokens_shorter, usd, usd_shorter (input alone, after the
            provider's cache), dearer (calls that would have cost more, since a prefix broke), answers (how many are known), answers_kept.
        total: the same of all of them.
        answers_kept: the share of known answers whose text, or whose every number and name, is still in the prompt where it was.
        quality_difference: by the judge, of answers to shorter prompts minus the others; None: nobody was asked.
        judged: so many prompts.
        margin: by which quality may be lower.
        failures: what was passed over, by name.
    """

    rows: tuple[Mapping[str, Any], ...]
    total: Mapping[str, Any]
    answers_kept: Interval | None
    quality_difference: Interval | None = None
    judged: int = 0
    margin: float = _MARGIN
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def saved_usd(self) -> Decimal:
        """Dollars of input that would have been saved; negative where broken prefixes cost more."""
        return Decimal(self.total["usd"] - self.total["usd_shorter"])

    @property
    def is_non_inferior(self) -> bool | None:
        """Whether the judge is sure that quality is lower by less than the margin; None: nobody was asked."""
        return None if self.quality_difference is None else self.quality_difference.low > -self.margin

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row for each call site."""
        return [dict(row) for row in self.rows]

    def to_text(self) -> str:
        """A table by call site, and what was found of answers."""
        if not self.total["calls"]:
            return 'No prompt with its text is known: Thrift(capture="text") stores texts from now on.'
        table = plain_table(
            ["call site", "calls", "tokens", "saved", "input", "saved", "dearer"], [_row(row) for row in self.rows], total=_row(self.total)
        )
        lines = [table, "", "Dollars are of input, with the provider's cache as it would have been."]
        if self.answers_kept is None:
            lines.append("No answer is known that stands in its prompt.")
        else:
            known, kept = self.total["answers"], self.answers_kept
            lines.append(
                f"{known:,} known answers stand in their prompts; {kept.estimate:.1%} still do ({kept.low:.1%} to {kept.high:.1%})."
            )
        if self.quality_difference is not None:
            found = self.quality_difference
            verdict = "not inferior" if self.is_non_inferior else "may be inferior"
            between = f"{found.low:+.3f} to {found.high:+.3f}"
            lines.append(f"Judged, {counted(self.judged, 'answer')}: {found.estimate:+.3f} ({between}), {verdict} within {self.margin:g}.")
        if self.failures:
            lines.append("Passed over: " + ", ".join(f"{name} {times:,} times" for name, times in sorted(self.failures.items())) + ".")
        return "\n".join(lines)


def simulate_shortening(
    sent: Iterable[SentPrompt],
    shorten: Shorten,
    prices: PriceCatalog,
    *,
    terms: Callable[[str, str | None], CacheTerms | None] = terms_of,
    ask: Callable[[str], str] | None = None,
    judge: Judge | None = None,
    sample: int = 50,
    seed: int = 0,
    margin: float = _MARGIN,
) -> ShorteningSimulation:
    """Shorten each prompt, and bill both on a provider's cache that is replayed in the order of time.

    Args:
        shorten: the policy.
        prices: of input, and of what is read from and written to the provider's cache.
        terms: of a model and a provider; None where prefixes are not kept.
        ask: answers a prompt; with a judge, a sample of the shorter prompts is answered anew.
        judge: a question and an answer to something with a `quality`, such as `PointwiseJudge`.
        sample: so many prompts are asked; each is two judgements, and where no answer is known, two answers.

    Raises:
        ConfigurationError: a judge without `ask`, or a sample that is not positive.
    """
    if (judge is None) != (ask is None):
        raise ConfigurationError("judge= and ask= belong together: shorter prompts are answered anew, and both answers judged")
    if sample < 1:
        raise ConfigurationError(f"sample must be at least 1, not {sample!r}")
    plain, shorter = PrefixBills(prices, terms), PrefixBills(prices, terms)
    sites: dict[str | None, _Sums] = {}
    failures: dict[str, int] = {}
    pairs: list[tuple[str, str, str | None, str]] = []
    for each in sorted(sent, key=lambda one: one.at):
        try:
            made = shorten(each.messages, model=each.model)
        except LLMThriftError as error:
            failures[type(error).__name__] = failures.get(type(error).__name__, 0) + 1
            continue
        for name, times in made.failures.items():
            failures[name] = failures.get(name, 0) + times
        before, after = messages_of(each.messages), messages_of(made.messages)
        sums = sites.setdefault(each.call_site, _Sums())
        one, other = plain.bill(before, each), shorter.bill(after, each)
        sums.calls += 1
        sums.tokens += one.tokens
        sums.tokens_shorter += other.tokens
        if one.nano_usd is None or other.nano_usd is None:
            sums.unpriced += 1
        else:
            sums.nano_usd += one.nano_usd
            sums.nano_usd_shorter += other.nano_usd
            sums.dearer += other.nano_usd > one.nano_usd
        whole, left = _said(before), _said(after)
        if each.answer and (kept := values_left(each.answer, whole, left)) is not None:
            sums.kept.add(1, float(kept))
        if whole != left:
            asked = question_index(before)
            pairs.append((text_of(before[asked]) if asked is not None else whole, whole, each.answer, left))
    difference, judged = None, 0
    if judge is not None and ask is not None:
        chosen = random.Random(seed).sample(pairs, min(sample, len(pairs)))  # noqa: S311 - the same in every run
        difference, judged = _judged(chosen, ask, judge, failures)
    rows = sorted((_dict(site, sums) for site, sums in sites.items()), key=lambda row: (-row["usd"], str(row["call_site"])))
    total = _added(sites.values())
    known = quality_interval(total.kept, _CONFIDENCE) if total.kept.units else None
    return ShorteningSimulation(tuple(rows), _dict("all", total), known, difference, judged, margin, failures)


def prompts_of_ledger(sent: Sequence[SentCall]) -> list[SentPrompt]:
    """Recorded calls whose text is stored. Where a call site's rows have reads or writes of the provider's cache, it asked for it."""
    caching = {call.call_site for call in sent if call.cache_read_tokens or call.cache_write_tokens}
    return [
        SentPrompt(
            call.messages(),
            call.model,
            call.at_us / 1e6,
            call.answer,
            call.call_site,
            call.provider,
            True if call.call_site in caching else None,
        )
        for call in sent
        if call.prompt is not None
    ]


def prompts_of_lines(lines: Iterable[str], model: str | None = None) -> list[SentPrompt]:
    """Prompts of JSON lines: {"messages" or "prompt", "model", "at" (seconds), "answer", "call_site"}.

    Raises:
        ConfigurationError: a line that is none, or no model is named.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            messages = given["messages"] if "messages" in given else given["prompt"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigurationError(f'line {number} is no JSON object with "messages" or "prompt"') from None
        named = model or given.get("model")
        if not isinstance(named, str):
            raise ConfigurationError(f'line {number} names no "model", and none is given')
        answer, site = given.get("answer"), given.get("call_site")
        at = given.get("at", float(number))
        found.append(SentPrompt(messages, named, float(at), None if answer is None else str(answer), site))
    return found


def _judged(
    pairs: Sequence[tuple[str, str, str | None, str]], ask: Callable[[str], str], judge: Judge, failures: dict[str, int]
) -> tuple[Interval, int]:
    sums = RatioSums()
    for question, whole, answer, left in pairs:
        try:
            before = judge(question, answer if answer is not None else ask(whole)).quality
            sums.add(1, judge(question, ask(left)).quality - before)
        except Exception:  # a model of the application's: one answer less is judged
            failures["judge"] = failures.get("judge", 0) + 1
    return ratio_interval(sums, _CONFIDENCE), sums.units


def _said(messages: Sequence[Any]) -> str:
    return "\n".join(f"{each.get('role', 'user')}: {text_of(each)}" if isinstance(each, Mapping) else str(each) for each in messages)


def _added(sums: Iterable[_Sums]) -> _Sums:
    total = _Sums()
    for each in sums:
        for name in ("calls", "tokens", "tokens_shorter", "nano_usd", "nano_usd_shorter", "unpriced", "dearer"):
            setattr(total, name, getattr(total, name) + getattr(each, name))
        total.kept = total.kept.plus(each.kept)
    return total


def _dict(site: str | None, sums: _Sums) -> dict[str, Any]:
    return {
        "call_site": site,
        "calls": sums.calls,
        "tokens": sums.tokens,
        "tokens_shorter": sums.tokens_shorter,
        "usd": to_usd(sums.nano_usd),
        "usd_shorter": to_usd(sums.nano_usd_shorter),
        "unpriced": sums.unpriced,
        "dearer": sums.dearer,
        "answers": sums.kept.units,
        "answers_kept": sums.kept.ratio if sums.kept.units else None,
    }


def _row(row: Mapping[str, Any]) -> list[Any]:
    spared = 1 - row["tokens_shorter"] / row["tokens"] if row["tokens"] else 0.0
    saved = 1 - float(row["usd_shorter"] / row["usd"]) if row["usd"] else 0.0
    return [row["call_site"] or "(unknown)", row["calls"], row["tokens"], percent(spared), usd(row["usd"]), percent(saved), row["dearer"]]
