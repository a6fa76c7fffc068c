"""Findings about what is sent and what comes back: system prompts, tool schemas, answers without a limit, reasoning without an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import correlation, linear_regression, median
from typing import Final

from llmthrift_core.display import counted, percent
from llmthrift_core.reports.optimizations import lines
from llmthrift_core.reports.optimizations.figures import Figures, Row
from llmthrift_core.reports.optimizations.opportunity import Estimate, Opportunity, opportunity, sum_of_sample
from llmthrift_core.usage import Usage

_SYSTEM_SHARE: Final = 0.4  # of the characters of a prompt, as the prompt analyser has it
_SHORTENED: Final = 0.3  # rule of thumb: what shortening takes off a system prompt
_CACHEABLE: Final = 1_024  # tokens from which most providers keep a prefix
_ENOUGH: Final = 30  # calls of a site
_FIXED_TOKENS: Final = 200  # beside the prompt's text, from which on they are tools rather than the format of messages
_FIXED_SHARE: Final = 0.2
_TRUSTED: Final = 0.7  # correlation of characters and tokens
_LONG_ANSWER: Final = 4  # times the median of the site
_LONG_SHARE: Final = 0.05  # of the cost of output
_EMPTY: Final = 2  # visible tokens at most
_LEAST_REASONING: Final = 20


def system_prompts(figures: Figures) -> Iterator[Opportunity]:
    """System prompts that are most of what is sent."""
    for site, rows in figures.sites.items():
        known = [row for row in rows if row.system_chars and row.prompt_chars]
        if len(known) < _ENOUGH:
            continue
        share = sum(row.system_chars or 0 for row in known) / sum(row.prompt_chars or 0 for row in known)
        if share < _SYSTEM_SHARE:
            continue
        tokens = [round(row.input_tokens * (row.system_chars or 0) / (row.prompt_chars or 1)) for row in known]
        cached = [_saved_by_reading(figures, row, size) for row, size in zip(known, tokens, strict=True)]
        text = f"The system prompt is {percent(share)} of what {site} sends, about {counted(round(median(tokens)), 'token')} a call."
        evidence = [row.request_id for row in sorted(known, key=lambda row: -(row.system_chars or 0))]
        if any(cached):
            yield opportunity(
                "system_prompt",
                text,
                sum_of_sample(cached, sampled=len(figures.newest), of=figures.attempts),
                evidence=evidence,
                how=lines.PREFIXES,
                basis="ledger",
                assumed="every call but the first reads it from the provider's cache, at its price of today",
            )
            continue
        costs = [(row.input_cost_nano_usd or 0) * (row.system_chars or 0) / (row.prompt_chars or 1) for row in known]
        whole = sum_of_sample(costs, sampled=len(figures.newest), of=figures.attempts).nano_usd
        yield opportunity(
            "system_prompt",
            text,
            Estimate(_SHORTENED * whole, 0.0, 2 * _SHORTENED * whole),
            evidence=evidence,
            how=lines.SHORTER,
            basis="rule of thumb",
            assumed="30% of the system prompt can be spared",
        )


def tool_schemas(figures: Figures) -> Iterator[Opportunity]:
    """Input that is billed beside the text of the prompts, the same in each call: tool schemas and the like.

    The ledger knows the characters of a prompt and the tokens that were billed. Over the calls of one place the first explain the second,
    whatever the language; what is left where the line meets zero characters is sent with each call.
    """
    for site, rows in figures.sites.items():
        known = [row for row in rows if row.prompt_chars and row.input_tokens]
        chars, tokens = [float(row.prompt_chars or 0) for row in known], [float(row.input_tokens) for row in known]
        if len(known) < _ENOUGH or len(set(chars)) < 3 or len(set(tokens)) < 3 or correlation(chars, tokens) < _TRUSTED:
            continue
        fixed = linear_regression(chars, tokens).intercept
        if fixed < _FIXED_TOKENS or fixed < _FIXED_SHARE * sum(tokens) / len(tokens):
            continue
        costs = [(row.input_cost_nano_usd or 0) * min(1.0, fixed / row.input_tokens) for row in known]
        whole = sum_of_sample(costs, sampled=len(figures.newest), of=figures.attempts)
        yield opportunity(
            "tool_schemas",
            f"About {counted(round(fixed), 'token')} of each call of {site} are not its prompt's text, but tool schemas or a format "
            "sent along: "
            f"{percent(fixed * len(tokens) / sum(tokens))} of its input.",
            Estimate(whole.nano_usd / 2, 0.0, whole.nano_usd),
            evidence=[row.request_id for row in sorted(known, key=lambda row: -row.input_tokens)],
            how=lines.TOOLS,
            basis="ledger",
            assumed="half of it can be spared; how much it is was found from the characters and tokens of the calls",
        )


def unbounded_output(figures: Figures) -> Iterator[Opportunity]:
    """A few answers that are many times as long as the others of their place."""
    output = sum(row.output_cost_nano_usd or 0 for row in figures.paid)
    for site, rows in figures.sites.items():
        answers = [row for row in rows if row.output_tokens > row.reasoning_tokens]
        if len(answers) < _ENOUGH:
            continue
        cap = max(50, _LONG_ANSWER * round(median(row.output_tokens for row in answers)))
        long = [row for row in answers if row.output_tokens > cap]
        spared = [(row.output_cost_nano_usd or 0) * (1 - cap / row.output_tokens) for row in long]
        if not output or sum(spared) < _LONG_SHARE * output:
            continue
        yield opportunity(
            "unbounded_output",
            f"{len(long):,} of {counted(len(answers), 'answer')} of {site} are longer than {counted(cap, 'token')}, {_LONG_ANSWER} "
            "times its median.",
            sum_of_sample(spared, sampled=len(figures.newest), of=figures.attempts),
            evidence=[row.request_id for row in sorted(long, key=lambda row: -row.output_tokens)],
            how=lines.capped(cap),
            basis="ledger",
            assumed=f"what comes after {counted(cap, 'token')} is not needed; look at the calls first",
        )


def reasoning_without_answers(figures: Figures) -> Iterator[Opportunity]:
    """Calls that were billed for reasoning and answered nothing: the limit of their output was too small."""
    empty = [
        row
        for row in figures.paid
        if row.reasoning_tokens >= _LEAST_REASONING and row.output_tokens - row.reasoning_tokens <= _EMPTY and row.cost_nano_usd
    ]
    if not empty:
        return
    models = ", ".join(sorted({row.model for row in empty})[:3])
    yield opportunity(
        "reasoning_without_answers",
        f"{len(empty):,} of the newest {counted(len(figures.newest), 'call')} reasoned and gave no visible answer: {models}.",
        sum_of_sample([float(row.cost_nano_usd or 0) for row in empty], sampled=len(figures.newest), of=figures.attempts),
        evidence=[row.request_id for row in sorted(empty, key=lambda row: -(row.cost_nano_usd or 0))],
        how=lines.REASONING,
        basis="ledger",
        assumed="an answer that is empty is worth nothing",
    )


def _saved_by_reading(figures: Figures, row: Row, tokens: int) -> float:
    """What a call had cost less with its system prompt read from the provider's cache; 0 where that is not possible."""
    unread = min(tokens, row.input_tokens) - row.cache_read_tokens
    if tokens < _CACHEABLE or unread <= 0:
        return 0.0
    prices = []
    for read in (row.cache_read_tokens, row.cache_read_tokens + unread):
        usage = Usage(input_tokens=row.input_tokens, output_tokens=row.output_tokens, cache_read_tokens=read)
        prices.append(figures.prices.price(usage, row.model, row.provider, row.at_us))
    return float(max(0, _difference([None if price is None else price.nano_usd for price in prices])))


def _difference(amounts: Sequence[int | None]) -> int:
    first, second = amounts
    return 0 if first is None or second is None else first - second
