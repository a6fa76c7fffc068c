"""`prove`: what four ways to answer cost on one's own recorded workload, how long they take, and how much quality they keep."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llmthrift_core.display import Plan, counted, percent, usd
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts.shorten import Shorten
from llmthrift_core.routing.examples import Example, Examples, checked
from llmthrift_core.routing.learned.calibration import checked_min_quality
from llmthrift_core.routing.learned.observations import ANSWER_TOKENS
from llmthrift_core.routing.learned.router import LearnedRouter
from llmthrift_core.routing.models import ModelPrices, tokens_of
from llmthrift_core.routing.simulation.replay import replay
from llmthrift_core.routing.simulation.traffic import Traffic
from llmthrift_core.statistics import Interval, RatioSums, ratio_interval

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.cache import SemanticCache
    from llmthrift_core.display import Drawn
    from llmthrift_core.pricing import PriceCatalog

WAYS: Final = ("direct", "cache + fallback", "shorten + route", "distilled")
_CONFIDENCE: Final = 0.95

_FOLDS: Final = 2
SameAnswer = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to answer, replayed.

    Attributes:
        name: one of WAYS.
        requests: that it was replayed on; 0: it could not be.
        usd_per_thousand: dollars of a thousand requests, within limits of 95%; None with `requests`.
        saved_share: of what the default model costs for the same requests.
        quality: the mean of its answers.
        quality_kept: of the default model's quality on the same requests, within limits of 95%.
        latency_seconds: the median; None where no latency is recorded.
        how: what was done, or why it could not be.
    """

    name: str
    requests: int
    usd_per_thousand: Interval | None
    saved_share: Interval | None
    quality: float | None
    quality_kept: Interval | None
    latency_seconds: float | None
    how: str

    def to_dict(self) -> dict[str, Any]:
        """Flat, with the limits under names of their own."""
        row: dict[str, Any] = {"way": self.name, "requests": self.requests, "quality": self.quality, "how": self.how}
        row["latency_seconds"] = self.latency_seconds
        for name in ("usd_per_thousand", "saved_share", "quality_kept"):
            found: Interval | None = getattr(self, name)
            row |= {name: None, f"{name}_low": None, f"{name}_high": None}
            if found is not None:
                row |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
        return row


@dataclass(frozen=True, repr=False)
class Proof(Plan):
    """The four ways on one workload.

    Attributes:
        ways: in the order of WAYS.
        default: the model that answers directly, whose quality is the reference.
        min_quality: that the router was asked to keep, as a share of it.
        notes: what the figures take for granted.
    """

    ways: tuple[Way, ...]
    default: str
    min_quality: float
    notes: tuple[str, ...] = field(default=())

    def way(self, name: str) -> Way:
        """A way by its name.

        Raises:
            KeyError: there is none.
        """
        for each in self.ways:
            if each.name == name:
                return each
        raise KeyError(name)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """One row a way, with limits of 95%."""
        rows = []
        for each in self.ways:
            dollars, kept = each.usd_per_thousand, each.quality_kept
            latency = "" if each.latency_seconds is None else f"{each.latency_seconds:.2f}"
            if dollars is None or kept is None:
                rows.append([each.name, "unknown", "", "", "unknown"])
                continue
            limits = f" ({_dollars(dollars.low)} to {_dollars(dollars.high)})"
            rows.append(
                [
                    each.name,
                    _dollars(dollars.estimate) + limits,
                    "" if each.saved_share is None else percent(each.saved_share.estimate),
                    latency,
                    f"{percent(kept.estimate)} ({percent(kept.low)} to {percent(kept.high)})",
                ]
            )
        return ["way", "a thousand requests", "saved", "seconds", "quality kept"], rows

    def remarks(self) -> list[str]:
        """What each way did, and what the figures take for granted."""
        return [*(f"{each.name}: {each.how}" for each in self.ways), *self.notes]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The ways as flat dicts."""
        return [each.to_dict() for each in self.ways]

    def _drawn(self, alt: Any) -> Drawn:
        """Dollars against the quality that is kept, with their limits."""
        data = alt.Data(values=[row for row in self.to_dicts() if row["requests"]])
        across = alt.X("usd_per_thousand:Q", title="US dollars a thousand requests")
        up = alt.Y("quality_kept:Q", title=f"share of {self.default}'s quality").scale(zero=False)
        base = alt.Chart(data).encode(color=alt.Color("way:N", sort=list(WAYS)))
        dots = base.mark_point(filled=True, size=120).encode(across, up)
        wide = base.mark_rule().encode(alt.X("usd_per_thousand_low:Q"), alt.X2("usd_per_thousand_high:Q"), up)
        high = base.mark_rule().encode(across, alt.Y("quality_kept_low:Q").scale(zero=False), alt.Y2("quality_kept_high:Q"))
        drawn: Drawn = alt.layer(dots, wide, high).properties(width=560, height=360)
        return drawn


class _Answered(NamedTuple):
    """What one way did with one request, beside the direct way."""

    direct_usd: float
    direct_quality: float
    usd: float
    quality: float
    latency: float | None


def prove(
    examples: Iterable[Example],
    *,
    models: Mapping[str, float | str],
    default: str | None = None,
    distilled: str | None = None,
    min_quality: float = 0.98,
    cache: SemanticCache | None = None,
    same_answer: SameAnswer | None = None,
    catalog: PriceCatalog | None = None,
    seed: int = 0,
) -> Proof:
    """Replay recorded, judged answers four ways: directly, behind a cache, with shorter prompts and a router, and with a distilled model.

    Args:
        examples: judged answers in the order of their requests, such as `thrift.examples(models=...)` or `examples_of_file(path)`.
        models: names -> US dollars per million tokens, or the name under which the price lists know the model.
        default: the model that answers directly; None is the most expensive.
        distilled: which of the models is fine-tuned on the default model's answers. It stands behind a router that keeps min_quality.
        min_quality: of the default model's quality, that routers keep.
        cache: an empty `SemanticCache`, which is filled by the replay; None: only equal questions are found. Its checks are paid for.
        same_answer: whether two answers say the same. A hit whose question has another recorded answer counts as wrong. None compares
            words.
        catalog: where names of models are looked up.
        seed: of the halves of the prompts that routers are fitted on; each prompt is decided by a router that has not seen it.

    Raises:
        ConfigurationError: no answers of the default model, or an option that cannot be used.
        MissingExtraError: scikit-learn is not installed.

    >>> from llmthrift_core.decisions import prove
    >>> from llmthrift_core.routing import Example
    >>> asked = ["When do you open?", "When do you open?", "Where is my card?", "When do you open?"]
    >>> found = prove([Example(each, "large", 1.0, answer="At nine.") for each in asked], models={"large": 5.0})
    >>> round(found.way("cache + fallback").saved_share.estimate, 2)
    0.5
    """
    given = checked(examples)
    if isinstance(examples, Examples) and examples.times_us:
        order = sorted(range(len(given)), key=lambda place: examples.times_us[place])
        given = [given[place] for place in order]
    prices = ModelPrices.of(models, catalog)
    min_quality = checked_min_quality(min_quality, "default model")  # also where too few prompts are known for a router
    reference = default or max(prices.names, key=prices.blended)
    for name, role in ((reference, "default"), (distilled, "distilled")):
        if name is not None and name not in prices.names:
            raise ConfigurationError(f"{role}={name!r} is not one of the models {', '.join(prices.names)}")
    if distilled == reference:
        raise ConfigurationError(f"distilled={distilled!r} is the default model itself; name the larger model as default=")
    asked = [each for each in given if each.model == reference and each.counts is None]
    if not asked:
        raise ConfigurationError(
            f'there is no judged answer of {reference!r} whose prompt\'s text is known; Thrift(capture="text") stores texts, and feedback '
            "or an Evaluation judges"
        )
    usual = statistics.median([each.length for each in asked if each.length is not None] or [ANSWER_TOKENS])

    def paid(example: Example) -> float:
        return prices.usd(reference, tokens_of(len(example.prompt)), usual if example.length is None else example.length)

    direct = [_Answered(paid(each), each.quality, paid(each), each.quality, each.latency_seconds) for each in asked]
    ways = [_way("direct", direct, f"{reference} answers {counted(len(asked), 'request')}")]
    ways.append(_behind_cache(asked, paid, cache, same_answer or _same_words))
    pool = [name for name in prices.names if name != distilled]
    latencies = {(each.prompt, each.call_site, each.model): each.latency_seconds for each in given}
    routing = _Routing(given, models, prices, reference, min_quality, catalog, seed, latencies)
    ways.append(routing.way("shorten + route", pool, "let the other models answer a sample of the prompts, and judge it"))
    if distilled is None:
        how = "name the fine-tuned model as distilled=; `llmthrift export training` writes judged answers to fine-tune on"
        ways.append(_unknown("distilled", how))
    else:
        ways.append(routing.way("distilled", [distilled, reference], f"let {distilled} answer a sample of the prompts, and judge it"))
    textless = sum(each.counts is not None for each in given)
    notes = ["Dollars are list prices at four characters a token; the provider's prompt cache is in none of the ways."]
    if textless:
        notes.append(f"{counted(textless, 'answer is', 'answers are')} left out, whose prompts' texts are not stored.")
    return Proof(tuple(ways), reference, min_quality, tuple(notes))


def _behind_cache(asked: Sequence[Example], paid: Callable[[Example], float], cache: SemanticCache | None, same: SameAnswer) -> Way:
    first: dict[tuple[str | None, str], Example] = {}
    answered: list[_Answered] = []
    hits = wrong = 0
    for each in asked:
        key = (each.call_site, _plain(each.prompt))
        served = first.get(key)
        if served is None and cache is not None:
            hit = cache.lookup(each.prompt, scope=each.call_site or "")
            served = None if hit is None else first.get((each.call_site, _plain(hit.matched)))
        if served is None:
            first[key] = each
            if cache is not None and each.answer:
                cache.store(each.prompt, each.answer, scope=each.call_site or "")
            answered.append(_Answered(paid(each), each.quality, paid(each), each.quality, each.latency_seconds))
            continue
        hits += 1
        is_equal = _plain(served.prompt) == key[1]
        is_right = is_equal or (served.answer is not None and each.answer is not None and same(served.answer, each.answer))
        wrong += not is_right
        quality = served.quality if is_right else 0.0
        answered.append(_Answered(paid(each), each.quality, 0.0, quality, None if each.latency_seconds is None else 0.0))
    kind = "equal questions" if cache is None else "equal questions, and those that mean the same"
    how = f"{hits / len(asked):.1%} answered from the cache ({kind}), the cold start included; {wrong / len(asked):.2%} with another answer"
    return _way("cache + fallback", answered, how)


@dataclass(frozen=True, slots=True)
class _Routing:
    """Routers that are fitted on a half of the prompts and decide the other half."""

    examples: Sequence[Example]
    models: Mapping[str, float | str]
    prices: ModelPrices
    reference: str
    min_quality: float
    catalog: PriceCatalog | None
    seed: int
    latencies: Mapping[tuple[str, str | None, str], float | None]

    def way(self, name: str, pool: Sequence[str], remedy: str) -> Way:
        if len(pool) < 2:
            return _unknown(name, "there is one model to choose from; name the cheaper ones as models=")
        prices = ModelPrices({model: self.prices.usd_per_million[model] for model in pool})
        try:
            traffic = Traffic.of([each for each in self.examples if each.model in pool], prices)
        except ConfigurationError as error:
            return _unknown(name, f"{error}; {remedy}")
        reference = traffic.models.index(self.reference)
        halves = traffic.parts(1 / _FOLDS, self.seed)
        answered: list[_Answered] = []
        elsewhere = 0
        shorten = Shorten.lossless()
        sent = spared = 0
        for learn, judge in (halves, halves[::-1]):
            router = LearnedRouter({model: self.models[model] for model in pool}, self.reference, self.min_quality, catalog=self.catalog)
            done = replay(router.fit(traffic.examples(learn, judge)), traffic, judge)
            for row, column in zip(judge, done.model, strict=True):
                model, prompt = traffic.models[column], traffic.prompts[row]
                made = shorten(prompt)
                sent, spared = sent + made.tokens_before, spared + made.saved_tokens
                share = made.saved_tokens / made.tokens_before if made.tokens_before else 0.0
                off = share * prices.usd(model, tokens_of(len(prompt)), 0.0)
                elsewhere += int(column != reference)
                latency = self.latencies.get((prompt, traffic.call_sites[row], model))
                quality = traffic.quality[row]
                answered.append(
                    _Answered(
                        float(traffic.usd[row, reference]),
                        float(quality[reference]),
                        float(traffic.usd[row, column]) - off,
                        float(quality[column]),
                        latency,
                    )
                )
        shorter = f"; {spared / sent:.1%} of the prompts' tokens spared without loss" if spared else ""
        others = ", ".join(model for model in pool if model != self.reference)
        kept = f"at {self.min_quality:g} of {self.reference}'s quality"
        how = (
            f"{elsewhere / len(answered):.1%} of {counted(len(answered), 'request')} to {others}, {kept}, by routers that have "
            "not seen them"
        )
        return _way(name, answered, how + shorter)


def _way(name: str, answered: Sequence[_Answered], how: str) -> Way:
    dollars, share, kept = RatioSums(), RatioSums(), RatioSums()
    for each in answered:
        dollars.add(1, 1_000 * each.usd)
        share.add(each.direct_usd, each.usd)
        kept.add(each.direct_quality, each.quality)
    left = ratio_interval(share, _CONFIDENCE)
    latencies = [each.latency for each in answered if each.latency is not None]
    return Way(
        name,
        len(answered),
        ratio_interval(dollars, _CONFIDENCE),
        Interval(1 - left.estimate, 1 - left.high, 1 - left.low) if share.x else None,
        statistics.fmean(each.quality for each in answered),
        ratio_interval(kept, _CONFIDENCE) if kept.x else None,
        statistics.median(latencies) if latencies else None,
        how,
    )


def _unknown(name: str, how: str) -> Way:
    return Way(name, 0, None, None, None, None, None, f"not known: {how}")


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _same_words(first: str, second: str) -> bool:
    return _plain(first) == _plain(second)


def _dollars(amount: float) -> str:
    return usd(Decimal(f"{max(amount, 0.0):.6g}"))
