"""The dealings of one call with the cache: the lookup, the wait for whoever makes the same call, the answer that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.cache.leases import Elsewhere, Lent
from llmthrift_core.cache.single_flight import Flight, Waiting
from llmthrift_core.settings import is_observing

if TYPE_CHECKING:
    from llmthrift_core.attribution import Attribution
    from llmthrift_core.cache.entry import Entry
    from llmthrift_core.cache.exact import ExactCache
    from llmthrift_core.cache.semantic.hit import SemanticHit
    from llmthrift_core.calls.request import CacheUse, Response
    from llmthrift_core.usage import Usage

BY_ANOTHER: Final = "another model answered than the one that was chosen"
CLAMPED: Final = "the answer was to be shorter than was asked for, since a budget had no room for more"


class Inquiry:
    """One call and the cache.

    Attributes:
        hit: the entry that answers, or None.
        answer: what the adapter decoded of it.
        semantic_hit: how it was found by meaning; None for an exact one.
        was_observed: there is a hit that observe mode does not serve.
        waiting: somebody makes the same call; wait for its end, then `ask` again.
    """

    __slots__ = (
        "_cache", "_flight", "_has_asked", "_has_kept", "_lease", "_since", "_went_elsewhere",
        "answer", "hit", "semantic_hit", "waiting", "was_observed",
    )  # fmt: skip

    def __init__(self, cache: ExactCache) -> None:
        self._cache = cache
        self._flight: Flight | None = None
        self._lease: Lent | None = None
        self._has_asked = self._has_kept = False
        self._since: int | None = None
        self._went_elsewhere: Elsewhere | None = None
        self.hit: Entry | None = None
        self.answer: Any = None
        self.semantic_hit: SemanticHit | None = None
        self.was_observed = False
        self.waiting: Waiting | Elsewhere | None = None

    # --- before the model ---

    def ask(self, use: CacheUse, attribution: Attribution) -> Entry | None:
        """The entry that answers. None: a model is to be called, unless `waiting` says that somebody does so already."""
        self.waiting = None
        if use.mode != "on":
            return None
        if self.look_up(use, attribution) is not None:
            self.leave()
            return self.hit
        if use.caller is None or is_observing():
            return None
        if self._flight is None:
            key = use.policy.variant(use.key)
            joined = self._cache.flights.join(key, use.caller, timeout_seconds=use.limit_seconds, is_under_way=use.is_under_way)
            if isinstance(joined, Waiting):
                self.waiting = joined
                return None
            self._flight = joined
            # The leader before us may have stored its answer since we looked.
            if self._cache.holds(use.key) and self.look_up(use, attribution) is not None:
                self.leave()
                return self.hit
        return None if self._flight is None else self._ask_elsewhere(use, attribution)

    def _ask_elsewhere(self, use: CacheUse, attribution: Attribution) -> Entry | None:
        """Of several processes, one calls the model."""
        if self._lease is not None:
            return None
        earlier = self._went_elsewhere
        if earlier is not None and earlier.is_over:
            return None
        taken = self._cache.leases.take(use.policy.variant(use.key), use.is_under_way)
        if taken is None:
            return None
        if isinstance(taken, Lent):
            self._lease = taken
            # Whoever had it before may have stored its answer since we looked.
            if self.look_up(use, attribution) is not None:
                self.leave()
            return self.hit
        if earlier is None:
            taken.begin(use.limit_seconds)
            self._went_elsewhere = earlier = taken
        self.waiting = earlier
        return None

    def look_up(self, use: CacheUse, attribution: Attribution) -> Entry | None:
        """The live entry for this request, or None. In observe mode a hit is noted for the ledger and not served."""
        cache, again = self._cache, self._has_asked
        self._has_asked = True
        entry = cache.lookup(use.key, use.policy, again=again)
        self.semantic_hit = None
        semantic = None if again else use.semantic
        if entry is not None and semantic is not None:
            semantic.cache.policy.pass_over()  # its bound is a share of all requests
        elif semantic is not None:
            self.semantic_hit = semantic.cache.find(
                semantic.question, semantic.scope, history=semantic.history, attribution=attribution, limits=semantic.limits
            )
            entry = None if self.semantic_hit is None else self.semantic_hit.entry
        if entry is None:
            self._since = cache.epoch()
            return None
        try:
            self.answer = use.decode(entry.payload)
        except ValueError:  # a hostile, truncated or foreign row
            if self.semantic_hit is None or use.semantic is None:
                cache.discard(use.key)
                cache.retract_hit(use.policy.namespace)
            else:
                use.semantic.cache.discard(self.semantic_hit)
                self.semantic_hit = None
            return None
        if is_observing():
            self.was_observed = True
            return None
        self.hit = entry
        return entry

    # --- after the model ---

    def keep(self, use: CacheUse, response: Response, usage: Usage, served: tuple[str, str | None], attribution: Attribution) -> bool:
        """Store an answer if it is whole and good. False if it is not stored, which is counted with its reason.

        Args:
            served: the model that answered, and its provider.
        """
        cache = self._cache
        if response.payload is None:
            return False
        if response.flaw is not None and (flaw := response.flaw()) is not None:
            cache.note_not_kept(flaw)
            return False
        try:
            payload = response.payload()
        except ValueError as error:  # it cannot be encoded
            cache.note_uncacheable(str(error))
            return False
        model, provider = served
        self._has_kept = cache.store(
            use.key,
            use.policy,
            payload,
            model=model,
            provider=provider,
            usage=usage,
            user=attribution.user,
            feature=attribution.feature,
            since=self._since,
        )
        semantic = use.semantic
        if semantic is not None and response.text is not None and (text := response.text()):
            semantic.cache.store(
                semantic.question,
                text,
                semantic.scope,
                history=semantic.history,
                payload=payload,
                model=model,
                provider=provider,
                usage=usage,
                attribution=attribution,
                limits=semantic.limits,
            )
        self.leave(is_answered=True)
        return self._has_kept

    def leave(self, *, is_answered: bool = False) -> None:
        """Let those go on who wait for this call: they find its answer, or one of them calls the model next.

        Args:
            is_answered: the model has answered. If that was not kept, there is nothing to share, and each of them calls the model.
        """
        if self._lease is not None:
            self._lease.end(passes_on=self.hit is None and not is_answered)
            self._lease = None
        if self._flight is not None:
            self._flight.done(shared=self._has_kept or not is_answered)
            self._flight = None
