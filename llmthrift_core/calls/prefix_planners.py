"""`PrefixPlanners`: what is known of providers' prompt caches: a planner for each model, keys, and the prompts sent last."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.background.repeating import Repeating
from llmthrift_core.calls.explicit_caches import ExplicitCaches
from llmthrift_core.errors import ConfigurationError, UnknownModelError
from llmthrift_core.host import Host
from llmthrift_core.prompt_caching.advice import Form
from llmthrift_core.prompt_caching.cache_keys import CacheKeys
from llmthrift_core.prompt_caching.misses import SentPrompt
from llmthrift_core.prompt_caching.sent import SentPrompts
from llmthrift_core.prompt_caching.static_first import StaticFirst, Volatile
from llmthrift_core.prompt_caching.terms import CacheTerms, choices_of

if TYPE_CHECKING:
    from decimal import Decimal

    from llmthrift_core.calls.prefix_states import PrefixStates
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompt_caching.planner import PrefixPlanner

logger = logging.getLogger("llmthrift")

_MOST_MODELS: Final = 64
_MOST_TOLD: Final = 19
_SAVE_EVERY_SECONDS: Final = 30.0
_REFUSED_SECONDS: Final = 3_600.0
_Key = tuple[str, str | None, Form]


class PrefixPlanners:
    """A planner for each model whose provider keeps what is marked.

    Models without known terms, and those whose provider keeps prefixes by itself, have none. What planners learned is read from the
    database when a model is first planned for, and saved there in the background; so it outlives restarts, and processes share it.

    Args:
        host: whose database keeps what was learned; None: it is kept in memory, until a door gives its own.
        reorders: where sentences of a system prompt change from request to request and stand before what stays, send them last. Without it
            a warning says so, once for each call site.
        explicit: create Gemini's explicit caches of system prompts, renew and delete them, where that should pay for their storage. Its
            implicit cache costs nothing, and reads at the same price where it hits.
        diagnostics: ask Anthropic why its cache was missed; it keeps hashes of prompts for that. None: where its own service is called.

    Attributes:
        keys: OpenAI's `prompt_cache_key` for each request.
        sent: the prompts that were sent last.
        static_first: what changes in system prompts.
    """

    def __init__(
        self, host: PlannersHost | None = None, *, reorders: bool = False, explicit: bool = False, diagnostics: bool | None = None
    ) -> None:
        self._planners: dict[_Key, PrefixPlanner | None] = {}
        self._lock = ForkedLock()
        self.keys = CacheKeys()
        self.sent = SentPrompts()
        self.static_first = StaticFirst()
        self.reorders, self.explicit, self.diagnostics = reorders, explicit, diagnostics
        self.explicit_caches = ExplicitCaches(self._cost, self._failed)
        self._told: list[str] = []
        self._refused: dict[tuple[str, str | None], float] = {}
        self._host: PlannersHost | None = None
        self._states: PrefixStates | None = None
        self._errors = 0
        self._saving = Repeating(self._save, seconds=_SAVE_EVERY_SECONDS, name="llmthrift-prefixes")
        if host is not None:
            self.keep_in(host)

    def keep_in(self, host: PlannersHost) -> None:
        """From now on the database of a host keeps what is learned, unless one does already."""
        if self._host is None:
            from llmthrift_core.calls.prefix_states import PrefixStates

            self._host, self._states = host, PrefixStates(host)
            host.attach(self)
            _all.add(self)

    def key_of(self, model: str, prompt: SentPrompt, at: float) -> str:
        """OpenAI's `prompt_cache_key` for a prompt: by what it shares with others, tools and system prompt."""
        if self._states is not None:
            self._saving.start()
        shared = [*prompt.tools, *prompt.system] or prompt.history[:1]
        return self.keys.of(model, tuple(block for block, _ in shared), tuple(prompt.history[:1]), at=at)

    def of(self, model: str, provider: str | None, form: Form, prices: PriceCatalog) -> PrefixPlanner | None:
        """The planner of a model, whose client writes marks in a form."""
        key = model, provider, form
        if self._states is not None:
            self._saving.start()
        if key in self._planners:
            return self._planners[key]
        with self._lock:
            if key not in self._planners and len(self._planners) < _MOST_MODELS:
                planner = _planner_of(model, provider, form, prices)
                if planner is not None and self._states is not None:
                    self._try(lambda states: states.read(state_name_of(key, planner), planner))
                self._planners[key] = planner
        return self._planners.get(key)

    def refuse(self, model: str, provider: str | None, now: float) -> None:
        """What was asked of a provider's cache made it refuse a request: nothing is asked of it for an hour."""
        if len(self._refused) < _MOST_MODELS or (model, provider) in self._refused:
            self._refused[model, provider] = now

    def is_refused(self, model: str, provider: str | None, now: float) -> bool:
        """Whether nothing is asked of a provider's cache for now."""
        at = self._refused.get((model, provider))
        return at is not None and at <= now < at + _REFUSED_SECONDS

    def save(self) -> None:
        """Save what was learned since the last time. Failures are counted: the planners go on."""
        for key, planner in list(self._planners.items()):
            if planner is not None:
                self._try(partial(_saved, key, planner))
        if self.keys.is_used:
            self._try(lambda states: self.keys.share_among(states.processes()))

    def health(self) -> dict[str, Any]:
        """How many models are planned for, how many blocks are known, and what could not be read or saved."""
        planners = [planner for planner in self._planners.values() if planner is not None]
        return {"planners": len(planners), "known_blocks": sum(one.known_blocks for one in planners), "errors": self._errors}

    def tell(self, site: str | None, found: Volatile) -> None:
        """Warn that what changes in a system prompt stands before what stays."""
        said = (
            f"{site or 'a call without a call site'}: the system prompt changes from request to request at character {found.at_chars:,}, "
            f"before {found.behind_chars:,} characters that stay: no provider reads those from its cache. Put what changes behind them, or "
            "give prompt_caching=PrefixPlanners(reorders=True)"
        )
        logger.warning("%s", said)
        self._told = [*self._told[-_MOST_TOLD:], said]

    def alerts(self) -> list[str]:
        """Where a provider bills otherwise than planned, and where what changes stands before what stays."""
        return self._told + [
            f"{model}: {finding}"
            for (model, _, _), planner in list(self._planners.items())
            if planner is not None
            for finding in planner.trust.findings()
        ]

    def close(self) -> None:
        """Save, and stop to."""
        self._saving.close()
        self.save()
        if self._host is not None:
            self.explicit_caches.delete_all(self._host.now())
        self._states = None
        _all.discard(self)

    def _cost(self, kind: str, usd: Decimal) -> None:
        if self._host is not None:
            self._host.record_cost(kind, usd)

    def _failed(self, error: BaseException) -> None:
        self._errors += 1
        if self._host is not None:
            self._host.note_failure("prompt_caching", error)

    def _save(self, stopping: threading.Event) -> None:
        self.save()

    def _try(self, work: Callable[[PrefixStates], None]) -> None:
        if (states := self._states) is None:
            return
        try:
            work(states)
        except Exception as error:
            self._failed(error)


_all: weakref.WeakSet[PrefixPlanners] = weakref.WeakSet()


@atexit.register
def _save_all() -> None:
    for planners in list(_all):
        planners.save()


class PlannersHost(Host, Protocol):
    """A `Host` with planners, which its doors share."""

    @property
    def prefix_planners(self) -> PrefixPlanners: ...

    def record_cost(self, kind: str, usd: Decimal) -> str:
        """Record a cost that is not a model call."""
        ...


def planners_of(given: bool | PrefixPlanners | None, host: PlannersHost) -> PrefixPlanners | None:
    """The planners of a door's option `prompt_caching`: those of its host, or others.

    Raises:
        ConfigurationError: neither True, False nor planners.
    """
    if given is None or isinstance(given, bool):
        return host.prefix_planners if given else None
    if not isinstance(given, PrefixPlanners):
        raise ConfigurationError(f"prompt_caching must be True, False or a PrefixPlanners, not {type(given).__name__}")
    given.keep_in(host)
    return given


def _saved(key: _Key, planner: PrefixPlanner, states: PrefixStates) -> None:
    states.save(state_name_of(key, planner), planner)


def state_name_of(key: _Key, planner: PrefixPlanner) -> str:
    """Under which name the state of a planner is kept."""
    from llmthrift_core.calls.prefix_states import state_name

    model, provider, form = key
    return state_name(model, provider, form.name, planner)


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
