"""`PrefixPlanners`: what is known of providers' prompt caches: a planner for each model, keys, and the prompts sent last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.errors import ConfigurationError, UnknownModelError
from llmthrift_core.prompt_caching.advice import Form
from llmthrift_core.prompt_caching.cache_keys import CacheKeys
from llmthrift_core.prompt_caching.sent import SentPrompts
from llmthrift_core.prompt_caching.terms import CacheTerms, choices_of

if TYPE_CHECKING:
    from decimal import Decimal

    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompt_caching.planner import PrefixPlanner

_MOST_MODELS: Final = 64
_Key = tuple[str, str | None, Form]


class PrefixPlanners:
    """A planner for each model whose provider keeps what is marked. Shared by the calls of one door.

    Models without known terms, and those whose provider keeps prefixes by itself, have none.

    Attributes:
        keys: OpenAI's `prompt_cache_key` for each request.
        sent: the prompts that were sent last.
    """

    def __init__(self) -> None:
        self._planners: dict[_Key, PrefixPlanner | None] = {}
        self._lock = ForkedLock()
        self.keys = CacheKeys()
        self.sent = SentPrompts()

    def of(self, model: str, provider: str | None, form: Form, prices: PriceCatalog) -> PrefixPlanner | None:
        """The planner of a model, whose client writes marks in a form."""
        key = model, provider, form
        if key in self._planners:
            return self._planners[key]
        with self._lock:
            if key not in self._planners and len(self._planners) < _MOST_MODELS:
                self._planners[key] = _planner_of(model, provider, form, prices)
        return self._planners.get(key)


def planners_of(given: bool | PrefixPlanners | None) -> PrefixPlanners | None:
    """The planners of a door's option `prompt_caching`.

    Raises:
        ConfigurationError: neither True, False nor planners.
    """
    if given is None or isinstance(given, bool):
        return PrefixPlanners() if given else None
    if not isinstance(given, PrefixPlanners):
        raise ConfigurationError(f"prompt_caching must be True, False or a PrefixPlanners, not {type(given).__name__}")
    return given


def input_rate(model: str, provider: str | None, prices: PriceCatalog) -> Decimal | None:
    """US dollars for a million tokens of input; None where that is not known."""
    try:
        return prices.find(model, provider=provider).input_usd_per_million
    except UnknownModelError:
        return None


def markable(model: str, provider: str | None) -> list[CacheTerms]:
    """The terms of a model under which something can be marked."""
    return [terms for terms in choices_of(model, provider) if terms.max_marks]


def _planner_of(model: str, provider: str | None, form: Form, prices: PriceCatalog) -> PrefixPlanner | None:
    terms = [each for each in markable(model, provider) if each.ttl_seconds <= form.longest_seconds]
    if not terms:
        return None
    from llmthrift_core.prompt_caching.planner import PrefixPlanner

    return PrefixPlanner(terms, input_usd_per_million=input_rate(model, provider, prices))
