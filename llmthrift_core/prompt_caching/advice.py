"""`Advice`: what one request asks of the provider's prompt cache, and the form in which its client takes that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from llmthrift_core.prompt_caching.plan import Plan
    from llmthrift_core.prompt_caching.terms import CacheTerms

A_DAY: Final = 86_400.0
_NESTED: Final = ("model_kwargs", "additional_kwargs", "extra_body")


@dataclass(frozen=True, slots=True)
class Form:
    """How a client writes marks.

    Attributes:
        name: `cache_control` (Anthropic), `cache_point` (Bedrock), `breakpoint` (OpenAI's explicit mode), `switch` (that mode where
            single blocks cannot be marked: all or nothing), or `cached_content` (Gemini's explicit caches).
        longest_seconds: the longest life that can be asked for.
    """

    name: Literal["cache_control", "cache_point", "breakpoint", "switch", "cached_content"]
    longest_seconds: float = inf


CACHE_CONTROL: Final = Form("cache_control")
CACHE_POINT: Final = Form("cache_point")
BREAKPOINT: Final = Form("breakpoint")
SWITCH: Final = Form("switch")
CACHED_CONTENT: Final = Form("cached_content")
_FORMS: Final[Mapping[str | None, Form]] = {
    "anthropic": CACHE_CONTROL,
    "aws": CACHE_POINT,
    "openai": BREAKPOINT,
    "google": CACHED_CONTENT,
}


def form_of(terms: CacheTerms) -> Form | None:
    """The form in which a provider takes marks; None where it caches by itself alone."""
    if not terms.max_marks:
        return None
    if terms.provider == "google" and (terms.model or "").startswith("claude"):
        return CACHE_CONTROL
    return _FORMS.get(terms.provider)


@dataclass(frozen=True, slots=True)
class Advice:
    """What one request asks for.

    Attributes:
        plan: which prefix to keep; None where nothing can be marked, or is marked by the application.
        form: in which marks are written; None without a plan.
        cache_key: OpenAI's `prompt_cache_key`; None elsewhere.
        keeps_a_day: ask for OpenAI's retention of 24 hours.
        cached_content: the name of Gemini's cache that holds the system prompt; None: it is sent.
        compares: Anthropic is asked why its cache was missed.
        previous_id: the answer before this one, with whose prompt it compares; None: there was none.
        rules: the system prompt as two messages, what stays before what changes; None: as it is.
    """

    plan: Plan | None = None
    form: Form | None = None
    cache_key: str | None = None
    keeps_a_day: bool = False
    rules: tuple[str, str] | None = None
    cached_content: str | None = None
    compares: bool = False
    previous_id: str | None = None

    def anthropic_body(self) -> dict[str, Any]:
        """What is sent to Anthropic beside the client's own arguments."""
        return {"diagnostics": {"previous_message_id": self.previous_id}} if self.compares else {}

    def openai_arguments(self, said: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """What is sent to OpenAI beside the messages. What the application says itself stands.

        Args:
            said: the parameters of the call, by precedence.
        """
        given = list(said)
        wanted: dict[str, Any] = {}
        if self.cache_key is not None:
            wanted["prompt_cache_key"] = self.cache_key
        if self.keeps_a_day:
            wanted["prompt_cache_retention"] = "24h"
        if self.plan is not None and self.form is not None and not self._leaves_all_to_the_provider():
            wanted["prompt_cache_options"] = {"mode": "explicit"}
        return {name: value for name, value in wanted.items() if not asks_for(given, name)}

    def _leaves_all_to_the_provider(self) -> bool:
        """Whether the provider may keep all of it, where single blocks cannot be marked and that pays."""
        plan, form = self.plan, self.form
        if plan is None or form is None or form.name != "switch" or plan.terms is None:
            return False
        beside = plan.total_tokens - plan.read_tokens - plan.written_tokens
        return plan.expected_saving >= plan.terms.premium * beside


def asks_for(parameters: Iterable[Mapping[str, Any]], name: str) -> bool:
    """Whether the application says something under a name, in its own parameters or in those that are passed on.

    >>> asks_for([{"model_kwargs": {"prompt_cache_key": "ours"}}], "prompt_cache_key"), asks_for([{"stop": None}], "stop")
    (True, False)
    """
    for each in parameters:
        if each.get(name) is not None:
            return True
        for place in _NESTED:
            if isinstance(nested := each.get(place), Mapping) and asks_for([nested], name):
                return True
    return False
