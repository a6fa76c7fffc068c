"""`Workload`: the answers to six questions, and what each lever usually saves of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, UsageError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.usage import Usage

HIT_RATES: Final[Mapping[str, tuple[Fraction, Fraction]]] = {
    "support": (Fraction(60, 100), Fraction(70, 100)),
    "analytics": (Fraction(40, 100), Fraction(50, 100)),
    "code": (Fraction(20, 100), Fraction(30, 100)),
}
"""The share of requests that exact and semantic caches answer together, as practitioners publish it by kind of workload."""
KINDS: Final = (*HIT_RATES, "other")
_SHORTEST_PREFIX: Final = 1_024  # tokens that OpenAI and Anthropic ask of a prefix, at least
_MOST_PREFIX: Final = Fraction(9, 10)  # of a prompt: the question at its end differs
_ROUTED: Final = Fraction(6, 10)  # twice the usual 30% of the cost of dear models: the end of its range
_LIMITED: Final = Fraction(2, 10)  # of the cost of output
_SHORTENED: Final = (Fraction(5, 100), Fraction(20, 100))  # of the cost of input
_LONG_PROMPT: Final = 2_000
_LONG_ANSWER: Final = 300
_BATCH_SECONDS: Final = 86_400  # within which providers promise a batch
_IMPATIENT_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Workload:
    """The answers to six questions.

    Attributes:
        kind: one of KINDS.
        requests_per_day: how many.
        repeats: the share that was asked before, 0 to 1; None: nobody knows.
        input_tokens, output_tokens: of a usual request.
        model: that answers now.
        latency_seconds: how long an answer may take; None: a few seconds.
    """

    kind: str
    requests_per_day: Fraction
    repeats: Fraction | None
    input_tokens: Fraction
    output_tokens: Fraction
    model: str
    latency_seconds: Fraction | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.repeats is not None and self.repeats > 1:
            raise ConfigurationError(f"repeats must be a share within 0..1, not {float(self.repeats):g}")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a lever saves, as a share of the cost between low and high, and why."""

    lever: str
    low: Fraction
    high: Fraction
    why: str


def expectations(workload: Workload, prices: PriceCatalog) -> tuple[Fraction, list[Expected]]:
    """What a request costs in US dollars, and the levers that are worth a thought.

    Raises:
        UnknownModelError: the model has no price.
    """
    sizes = round(workload.input_tokens), round(workload.output_tokens)
    paid_in, paid_out = (_usd(prices, workload.model, usage) for usage in (Usage(input_tokens=sizes[0]), Usage(output_tokens=sizes[1])))
    paid = paid_in + paid_out
    if not paid:
        return paid, []
    found = [*_caches(workload), *_prefix(workload, prices, sizes[0], paid_in, paid), *_others(workload, prices, paid_in / paid)]
    return paid, [each for each in found if each.high > 0]


def _usd(prices: PriceCatalog, model: str, usage: Usage) -> Fraction:
    return Fraction(prices.cost(usage, model).nano_usd, 10**9)


def _caches(workload: Workload) -> Iterator[Expected]:
    usual = HIT_RATES.get(workload.kind)
    if workload.repeats is not None:
        yield Expected(
            "exact caching",
            Fraction(0),
            workload.repeats,
            f"{float(workload.repeats):.0%} of the requests repeat; word for word is at most that",
        )
        high = workload.repeats if usual is None else max(workload.repeats, usual[1])
        yield Expected("semantic caching", min(workload.repeats, high), high, "what repeats by meaning is found too")
    elif usual is not None:
        rates = f"{float(usual[0]):.0%} to {float(usual[1]):.0%}"
        yield Expected(
            "exact caching", Fraction(0), usual[0], f"caches answer {rates} of the requests of such workloads, word for word or by meaning"
        )
        yield Expected("semantic caching", *usual, f"caches answer {rates} of the requests of such workloads")


def _prefix(workload: Workload, prices: PriceCatalog, tokens: int, paid_in: Fraction, paid: Fraction) -> Iterator[Expected]:
    if tokens < _SHORTEST_PREFIX:
        return
    longest = max(_SHORTEST_PREFIX, int(tokens * _MOST_PREFIX))
    read = [_usd_of_read(prices, workload.model, tokens, each) for each in (_SHORTEST_PREFIX, longest)]
    if read[0] is None or read[1] is None:
        return
    low, high = (max(Fraction(0), (paid_in - each) / paid) for each in (read[0], read[1]))
    why = f"{_SHORTEST_PREFIX:,} to {counted(longest, 'token')} that every prompt begins with, read from the provider's cache"
    yield Expected("prefix caching", low, high, why)


def _usd_of_read(prices: PriceCatalog, model: str, tokens: int, read: int) -> Fraction | None:
    """What a prompt costs that was read from the provider's cache in part; None where that has no price."""
    try:
        return _usd(prices, model, Usage(input_tokens=tokens, cache_read_tokens=read))
    except UsageError:
        return None


def _others(workload: Workload, prices: PriceCatalog, input_share: Fraction) -> Iterator[Expected]:
    if prices.tier(workload.model) in ("standard", "premium"):
        impatient = workload.latency_seconds is not None and workload.latency_seconds < _IMPATIENT_SECONDS
        how = "; within so few seconds route before the call, without a cascade" if impatient else ""
        yield Expected("routing", Fraction(0), _ROUTED, f"simple requests on a cheaper model usually save 30%{how}")
    if workload.output_tokens >= _LONG_ANSWER:
        yield Expected("limit output", Fraction(0), _LIMITED * (1 - input_share), "answers are long, and output costs more than input")
    if workload.input_tokens >= _LONG_PROMPT:
        yield Expected("shortening", _SHORTENED[0] * input_share, _SHORTENED[1] * input_share, "prompts are long")
    if workload.latency_seconds is not None and workload.latency_seconds >= _BATCH_SECONDS:
        yield Expected("batches", Fraction(1, 2), Fraction(1, 2), "batch APIs cost half, and answer within a day")
