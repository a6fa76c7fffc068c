"""`SentPrompts`: the prompts that were sent last, so that a miss of the provider's cache can be explained."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.prompt_caching.misses import Miss, SentPrompt, explain_miss
from llmthrift_core.prompt_caching.terms import CacheTerms
from llmthrift_core.usage.usage import Usage

_MOST_PROMPTS: Final = 1_024


class SentPrompts:
    """The newest prompt of each conversation, and of each call site and model. Bounded: the oldest are forgotten.

    A conversation is known by what its history begins with. A new one is compared with the newest of its call site, as far as they share
    tools and system prompt.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[SentPrompt, CacheTerms]] = OrderedDict()
        self._answers: OrderedDict[Hashable, str] = OrderedDict()
        self._lock = ForkedLock()

    def __len__(self) -> int:
        return len(self._kept)

    def answered(self, prompt: SentPrompt, response_id: str) -> None:
        """Keep the provider's name of the answer to a prompt."""
        with self._lock:
            self._answers[_talk_of(prompt)] = response_id
            self._answers.move_to_end(_talk_of(prompt))
            while len(self._answers) > _MOST_PROMPTS:
                self._answers.popitem(last=False)

    def last_answer(self, prompt: SentPrompt) -> str | None:
        """The provider's name of the newest answer in a prompt's conversation."""
        return self._answers.get(_talk_of(prompt))

    def kept_tokens(self, prompt: SentPrompt, *, call_site: str | None) -> int:
        """How much of a prompt the provider should have, where it keeps by itself what was sent: what the last one like it begins with."""
        with self._lock:
            found = self._kept.get(_talk_of(prompt)) or self._kept.get(("site", call_site, prompt.model))
        if found is None:
            return 0
        before, terms = found
        if before.model != prompt.model or _pause(before, prompt) > terms.ttl_seconds:
            return 0
        kept = 0
        for mine, theirs in zip(prompt.blocks, before.blocks, strict=False):
            if mine != theirs:
                break
            kept += mine[1]
        return kept if kept >= terms.min_tokens else 0

    def explain(
        self, prompt: SentPrompt, usage: Usage, *, terms: CacheTerms, call_site: str | None, input_usd_per_million: Decimal | None
    ) -> Miss | None:
        """Find why a prompt was not read from the cache, and keep it for the next one; None where it was.

        Args:
            prompt: as it was sent.
            usage: what the provider billed for it. Tokens of the prompt are ours, so they are scaled to the provider's.
            terms: on which it is kept.
            call_site: where it comes from.
            input_usd_per_million: the price of input.
        """
        if not prompt.tokens or not usage.input_tokens:
            return None
        # A call site that is read off the system prompt changes with it, so it is no part of the conversation.
        talk = _talk_of(prompt)
        site = ("site", call_site, prompt.model)
        with self._lock:
            before = self._kept.get(talk)
            if before is None and (other := self._kept.get(site)) is not None:
                before = replace(other[0], history=()), other[1]
            for key in (talk, site):
                self._kept[key] = replace(prompt, rules=None), terms
                self._kept.move_to_end(key)
            while len(self._kept) > _MOST_PROMPTS:
                self._kept.popitem(last=False)
        scale = prompt.tokens / usage.input_tokens
        read = round(usage.cache_read_tokens * scale)
        written = min(int(usage.cache_write_tokens * scale), prompt.tokens - read)
        ours = Usage(prompt.tokens, usage.output_tokens, cache_read_tokens=read, cache_write_tokens=written)
        previous, kept_on = (None, terms) if before is None else before
        price = None if input_usd_per_million is None else input_usd_per_million / Decimal(str(scale))
        return explain_miss(previous, prompt, ours, terms=kept_on, input_usd_per_million=price)


def _talk_of(prompt: SentPrompt) -> Hashable:
    return "talk", prompt.history[0][0] if prompt.history else None


def _pause(before: SentPrompt, prompt: SentPrompt) -> float:
    if before.at_seconds is None or prompt.at_seconds is None:
        return 0.0
    return prompt.at_seconds - before.at_seconds
