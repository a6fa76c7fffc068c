"""`SemanticCache`: answers to questions that mean the same, with a bound on how many of them may be wrong.

Everything of a request but the last question must match exactly: that is its scope. Within it the question is compared by meaning. Three
things stand between a similar question and its answer: the near-miss guard, which knows when two alike questions differ in a fact; the
policy, which knows how likely the answer is wrong; and expiry.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from llmthrift_core.attribution import Attribution, current_attribution
from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.background.upkeep import Upkeep
from llmthrift_core.background.work_queue import Background
from llmthrift_core.cache.counters import Troubles
from llmthrift_core.cache.eviction import Evictor, purge
from llmthrift_core.cache.opening import open_answers
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.rules import ruled
from llmthrift_core.cache.semantic import health
from llmthrift_core.cache.semantic.answer import Made
from llmthrift_core.cache.semantic.bound import as_policy
from llmthrift_core.cache.semantic.checks import Checks
from llmthrift_core.cache.semantic.counts import CacheCounts
from llmthrift_core.cache.semantic.evidence import Evidence
from llmthrift_core.cache.semantic.explaining import MOST_SCOPES, explained, explained_in
from llmthrift_core.cache.semantic.histories import Histories, Latest, TrustedWriters, Writers
from llmthrift_core.cache.semantic.hit import Explanation, SemanticHit, Served, hit_id_of, parts_of
from llmthrift_core.cache.semantic.judges import AnswerClasses
from llmthrift_core.cache.semantic.keeping import Keeper
from llmthrift_core.cache.semantic.policy import Belief, Observation
from llmthrift_core.cache.semantic.question import QuestionForms, Turn
from llmthrift_core.cache.semantic.search import Asked, Match, Search
from llmthrift_core.cache.semantic.store import AnswerStore, GivenStore, RecentScope, StoredAnswer
from llmthrift_core.cache.semantic.verifying import Verifying
from llmthrift_core.cache.store import Criteria, OutdatedError, criteria_of
from llmthrift_core.cache.uses import Uses
from llmthrift_core.embedding import as_embedder
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.host import Host
from llmthrift_core.settings import is_observing
from llmthrift_core.texts import as_texts, is_storable, require_thrift
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.cache.entry import EntryView

_MOST_PENDING: Final = 10_000
_REMEMBERED_HITS: Final = 10_000
_NO_USAGE: Final = Usage()


class SemanticCache:
    """Answers by meaning. Safe to share between threads, and after fork; processes share entries and what was learned.

    `lookup` and `store` never raise for trouble: it is a miss, counted and logged.

    Args:
        thrift: whose database is used.
        embedder: a function from a list of texts to an array (n, d), an embeddings object of LangChain or LlamaIndex, or None for the
            built-in model. Vectors of different embedders are never compared.
        policy: `ErrorBound`, `FixedThreshold`, a number for a fixed threshold, or None for `ErrorBound(0.01)`.
        same_answer: says whether two answers say the same: `SimilarAnswers()`, `ModelJudge(model)`, or a function; None compares them
            without case, white space and punctuation. With the first two, answers are stored a moment after `store` returns.
        limits: namespace, lifetime, labels, number and size of entries; the default keeps an entry for two hours.
        masks: regular expressions whose matches count as equal in the key and the embedding, such as customer numbers. The guard reads
            the question as it is; but by name, such as `{"[TODAY]": r"\\d{4}-\\d\\d-\\d\\d"}`, what they match does not matter to it
            either. An answer that contains what a named mask covers in its question is given to the same question alone.
        max_shadow_usd_per_day: what shadow checks may cost in a UTC day, in all processes. Beyond it hits are given unchecked, and the
            estimate of errors rests on misses and earlier checks; None is no limit but the policy's share of hits.
        trusted_writers: names of users, or a function of an `Attribution`: whose answers others are served. Those of everybody else answer
            their own questions only, and are no evidence for the policy; without a user they are not kept. None trusts everybody.
        store: where entries are kept instead of the database or the Valkey server, such as a `GPTCacheStore`. It brings an embedder;
            another one that is given must make the same vectors. What was learned is in the database.
        verifier: a function of two questions that says whether one answer does for both: True, False, or how likely; a coroutine
            function, too. Then nothing is served by meaning unless it says so, and what it says so of is served though the policy alone
            would not. A pair is asked for once. `llmthrift_core.quality.QuestionVerifier` asks a model, within a daily amount.
        verify_from: the least cosine of two embeddings for which the verifier is asked.
        verify_in_background: no caller waits for the verifier; the first question of a pair is a miss.

    Raises:
        ConfigurationError: an argument that cannot be used.
        MissingExtraError: the extra `semantic` is not installed.

    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.cache import FixedThreshold, SemanticCache
    >>> cache = SemanticCache(Thrift(":memory:"), policy=FixedThreshold(0.8))
    >>> cache.store("How do I reset my password?", "Click on 'Forgot password'.")
    >>> hit = cache.lookup("how can I reset my password")
    >>> hit.kind, hit.answer, hit.matched
    ('semantic', "Click on 'Forgot password'.", 'How do I reset my password?')
    >>> print(cache.lookup("When do you open?"))
    None
    """

    def __init__(
        self,
        thrift: Host,
        embedder: Any = None,
        policy: Any = None,
        same_answer: Callable[[str, str], bool] | None = None,
        *,
        limits: CachePolicy | None = None,
        masks: str | Sequence[str] | Mapping[str, str] = (),
        max_shadow_usd_per_day: float | None = None,
        trusted_writers: TrustedWriters | None = None,
        history: Literal["exact", "meaning"] = "exact",
        store: GivenStore | None = None,
        verifier: Callable[[str, str], Any] | None = None,
        verify_from: float = 0.3,
        verify_in_background: bool = False,
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        self.embedder = as_embedder(embedder) if embedder is not None or store is None else store.embedder
        self.policy = as_policy(policy)
        self.limits = limits or CachePolicy(ttl_seconds=7200.0, max_entries=1_000_000, max_bytes=None)
        self._writers = Writers(trusted_writers)
        self._thrift = thrift
        database, space, namespace = thrift.database, self.embedder.name, self.limits.namespace
        self._store: AnswerStore = open_answers(database, thrift.valkey) if store is None else store
        self._is_given = store is not None
        self._forms = QuestionForms(self.limits, space=space, masks=masks)
        if store is not None:
            store.adopt(namespace, self._forms.scope_of_all)
        self._search = Search(self._store, self.embedder, self._forms, self.limits, thrift.now_us)
        self._counts = CacheCounts(database, self.policy, namespace=namespace, space=space)
        self._evidence = Evidence(database, self.policy, namespace=namespace, space=space)
        self._checks = Checks(thrift, self._counts, self._evidence, max_shadow_usd_per_day)
        self._uses: Uses[int] = Uses()
        self._evictor = Evictor(self._store, self._counts, flush=self._write_uses, forget=lambda keys, epoch: None)
        self._keeper = Keeper(
            AnswerClasses(same_answer), self._store, self._search, self._checks, self._counts, self._evictor, self._uses, self.limits, space
        )
        self._histories = Histories(self._search, self._writers, self._keeper.keep_turn, history)
        self.compares_histories = self._histories.by_meaning
        self._pending = Latest[tuple[bytes, str], Asked](_MOST_PENDING)
        self._hits = Latest[str, Served](_REMEMBERED_HITS)
        self._numbers = itertools.count(time.time_ns())
        self._background = Background()
        self._troubles = Troubles()
        work = self._background if verify_in_background else None
        self._verifying = None if verifier is None else Verifying(verifier, at_least=verify_from, later=work, troubles=self._troubles)
        self._upkeep = Upkeep(self._keep_up, interval_seconds=1.0)
        self._evidence.catch_up()
        self._counts.read()
        thrift.attach(self)
        renew_after_fork(self)

    # --- asking ---

    def lookup(
        self, question: str, scope: str | bytes = "", *, history: Sequence[Turn] = (), attribution: Attribution | None = None
    ) -> SemanticHit | None:
        """The answer to this question, or to one that means the same; None on a miss, when a shadow check is due, and in observe mode.

        Args:
            scope: everything else that decides the answer: system prompt, model, tenant. Entries of another scope never answer.
            history: what was said before, as pairs of a role and a text.
            attribution: who asks; None is the surrounding `attribute(...)`.
        """
        hit = self.find(question, scope, history=history, attribution=attribution)
        return None if is_observing() else hit

    async def alookup(
        self, question: str, scope: str | bytes = "", *, history: Sequence[Turn] = (), attribution: Attribution | None = None
    ) -> SemanticHit | None:
        """As `lookup`, off the event loop."""
        return await asyncio.to_thread(self.lookup, question, scope, history=history, attribution=attribution)

    def find(
        self,
        question: str,
        scope: str | bytes = "",
        *,
        history: Sequence[Turn] = (),
        attribution: Attribution | None = None,
        limits: CachePolicy | None = None,
    ) -> SemanticHit | None:
        """As `lookup`, but in observe mode too: the hit that would have been given, for whoever estimates what it would have saved.

        Args:
            limits: which answers are good enough for this call; None: those that the cache's own limits allow.
        """
        try:
            who = current_attribution() if attribution is None else attribution
            if limits is None:
                scope, limits = ruled(scope, self.limits)
            place = self._histories.scope(scope, history, who, may_keep=False)
            if place is None:  # nobody has said that before
                self.policy.pass_over()
                self._counts.add(misses=1)
                return None
            own = None if self._writers.trusts(who) else self._search.read(question, place, who, limits, is_own=True)
            return self._find(self._search.read(question, place, who, limits), own)
        except Exception as error:  # an embedder, a policy or an index of others may raise anything
            self._troubles.note("semantic lookup", error, (question, *(text for _, text in history)))
            self._counts.add(misses=1)
            return None

    def store(
        self,
        question: str,
        answer: str,
        scope: str | bytes = "",
        *,
        history: Sequence[Turn] = (),
        payload: bytes | None = None,
        model: str = "",
        provider: str | None = None,
        usage: Usage = _NO_USAGE,
        attribution: Attribution | None = None,
        limits: CachePolicy | None = None,
        tags: str | Sequence[str] = (),
        sources: str | Sequence[str] = (),
    ) -> None:
        """Keep an answer, and learn from it whether the cache's would have been right.

        Args:
            scope, history, attribution: as for `lookup`.
            payload: what a door serves instead of the text.
            model, provider, usage: who answered, and what it took.
            limits: how long this answer is kept, with which metadata and labels; None: as the cache's own limits say.
            tags, sources: labels of this answer, beside those.

        Raises:
            ConfigurationError: a label that is no text.
        """
        who = current_attribution() if attribution is None else attribution
        if limits is None:
            scope, limits = ruled(scope, self.limits)
        if tags or sources:
            kept = limits or self.limits
            added_tags, added_sources = as_texts("tags", tags), as_texts("sources", sources)
            limits = replace(kept, tags=(*kept.tags, *added_tags), sources=(*kept.sources, *added_sources))
        store = partial(self._try_to_store, question, answer, scope, tuple(history), who, Made(payload, model, provider, usage), limits)
        if not self._keeper.is_slow:
            store()
        elif not self._background.submit(store):
            self._troubles.note("semantic store", TimeoutError("the judge of answers does not keep up"))

    def explain(self, question: str, scope: str | bytes | None = None) -> Explanation:
        """What is near to a question, what speaks against it, and what the policy would decide. Nothing is counted.

        Args:
            scope: None: the newest ones are searched, those of chat models too, and `Explanation.scope` says which it is; where answers are
                shared by user and one is named by `attribute(...)`, theirs.

        Raises:
            EmbeddingError, StorageError: the embedder or the database failed. UncacheableError: no user is known with whom it is shared.
        """
        who = current_attribution()
        if scope is not None:
            return explained(self._search, self.policy, self._search.read(question, scope, who))
        scopes = self._store.newest_scopes(self.limits.namespace, self.embedder.name, MOST_SCOPES)
        if self.limits.share == "user":
            scopes = [each for each in scopes if who.user in (None, each.user)]
        if self._is_given:  # what was there before has no scope of ours
            scopes.append(RecentScope(self._forms.scope_of_all(""), "", "", None))
        return explained_in(self._search, self.policy, question, scopes)

    def feedback(self, hit_id: str, correct: bool) -> bool:
        """Say whether a hit was right. A wrong one is removed, and the policy learns from both. False for an unknown hit.

        Any process may be told of a wrong answer; only the one that gave it, and remembers it, also learns from it.

        Raises:
            StorageError: the database cannot be written.
        """
        served = self._hits.pop(hit_id)
        if served is not None and served.candidate is not None:
            self._evidence.learn(Observation(served.candidate.features, correct, 1.0, was_checked=False), self._thrift.now_us())
        if correct:
            return served is not None
        number, key = (served.number, None) if served is not None else parts_of(hit_id)
        if key is not None:
            stored = self._store.by_number(number)
            if stored is None or not stored.entry.key.hex().startswith(key):
                return False
        self._remove(served.place if served is not None else b"", number)
        return True

    # --- removing and looking ---

    def discard(self, hit: SemanticHit) -> None:
        """Remove an answer that cannot be used."""
        served = self._hits.pop(hit.id)
        try:
            if served is not None:
                self._remove(served.place, served.number)
        except StorageError as error:
            self._troubles.note("semantic discard", error)

    def invalidate(
        self,
        *,
        tag: str | None = None,
        source: str | None = None,
        scope: Mapping[str, str] | None = None,
        where: Callable[[EntryView], bool] | None = None,
    ) -> int:
        """Remove entries of the namespace. Returns how many.

        Args:
            tag, source: labels that the entries were stored with.
            scope: exact values of model, provider, user, feature or prompt_version.
            where: a predicate on the `EntryView` of each entry that fits the rest.

        Raises:
            ConfigurationError: no criterion, or an unknown one.
            StorageError: the database cannot be written.
        """
        if not criteria_of(tag=tag, source=source, scope=scope) and where is None:
            raise ConfigurationError("invalidate() needs tag=, source=, scope= or where=; to remove everything use clear()")
        self.flush()
        return self._store.remove_where(criteria_of(tag=tag, source=source, scope=scope, namespace=self.limits.namespace), where)

    def remove_elsewhere(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int:
        """Remove entries that a given store keeps, for `Thrift.invalidate`, which removes the others. Raises StorageError."""
        return self._store.remove_where(criteria, where) if self._is_given else 0

    def clear(self) -> int:
        """Remove every entry of the namespace. What was learned stays. Returns how many there were. Raises StorageError."""
        self.flush()
        removed = self._store.remove_where(criteria_of(namespace=self.limits.namespace))
        self._search.clear()
        self._pending.clear()
        return removed

    def belief(self) -> Belief:
        """What the policy believes of its hits: how many were wrong, and how sure that is."""
        belief = self.policy.belief()
        observed = int(self._counts.all()["observed_hits"])
        return replace(belief, would_have_served=belief.would_have_served + observed) if observed else belief

    def stats(self) -> dict[str, Any]:
        """What was done in this process and in all, what is stored, and what the policy believes. Raises StorageError.

        `hit_rate` is that of this process. `all` holds the counts of all processes and runs, with the share of lookups that were hits
        (`exact_hit_rate`, `semantic_hit_rate`) and what shadow checks cost in US dollars.
        """
        self.flush()
        own, everywhere, now_us = self._counts.own(), self._counts.all(), self._thrift.now_us()
        stored = self._store.totals(criteria_of(namespace=self.limits.namespace), now_us)
        return health.stats_of(own, everywhere, stored, self.limits, self.belief(), self._troubles, now_us)

    def alerts(self) -> list[str]:
        """What is wrong with the cache, one line for each. Raises StorageError."""
        stored = self._store.totals(criteria_of(namespace=self.limits.namespace), self._thrift.now_us())
        return health.alerts(self._counts.all(), stored, self.limits)

    def health(self) -> dict[str, Any]:
        """Counts for `Thrift.health`, without reading the store."""
        return {
            "namespace": self.limits.namespace,
            **self._counts.own(),
            "errors": self._troubles.errors,
            "last_error": self._troubles.last_error,
            "uncacheable": dict(self._troubles.uncacheable),
            "belief": self.belief().text,
            **({} if self._verifying is None else {"verifier": self._verifying.counts()}),
        }

    def flush(self) -> bool:
        """Write what was counted since the last time, after what waits for a slow judge. False if that was not possible."""
        self._background.wait()
        return self._write()

    def close(self) -> None:
        """Write the counts, and the graphs of large scopes. Closing twice does nothing."""
        self._upkeep.stop()
        self._background.close()
        if self._verifying is not None:
            self._verifying.close()
        self._keep_up(False, is_last=True)

    def after_fork(self) -> None:
        """In a forked child: what the parent has counted, the parent writes."""
        self._pending.after_fork()
        self._hits.after_fork()
        self._background.after_fork()
        if self._verifying is not None:
            self._verifying.after_fork()
        self.policy.after_fork()
        self._counts.after_fork()
        self._uses.after_fork()
        self._search.after_fork()
        self._histories.after_fork()
        self._troubles.after_fork()
        self._upkeep.after_fork()

    # --- steps ---

    def _find(self, asked: Asked, own: Asked | None) -> SemanticHit | None:
        for each in (asked,) if own is None else (asked, own):
            stored = self._search.equal(each)
            if stored is not None:
                self.policy.pass_over()
                return self._serve(each, stored, "exact", 1.0)
        match = None
        if not asked.is_exact_only:
            asked, match = self._match(asked, own)
            if match is not None and not is_observing():
                return self._serve(asked, match.stored, "semantic", match.similarity)
            kept = asked if own is None else own
            kept.since = self._store.epoch()
            if (earlier := self._pending.get((kept.place, kept.text))) is not None:
                kept.since = earlier.since  # whichever of the two is answered first
            self._pending.put((kept.place, kept.text), kept)
        if match is not None:
            return self._serve(asked, match.stored, "semantic", match.similarity)
        self._counts.add(misses=1)
        self._upkeep.wake()
        return None

    def _match(self, asked: Asked, own: Asked | None) -> tuple[Asked, Match | None]:
        """What the policy lets answer by meaning, and as what it was found: the user's own answers where there is none for all."""
        match = self._search.look(asked)
        if match is None and own is not None:
            asked, match = own, self._search.look(own)
        if match is None:
            self.policy.pass_over()
            self._counts.add(guarded=1 if asked.neighbours else 0)
            return asked, None
        # What is not evidence cannot check anything.
        may_check = own is None and self._checks.are_affordable()
        asked.decision = self.policy.decide(match.candidate.features, match.similarity, may_check=may_check)
        self._counts.add(shadow_checks=asked.decision.verdict == "shadow")
        if self._verifying is not None and asked.decision.verdict != "shadow" and not is_observing():
            return asked, match if self._verifying.says_same(asked.question, match.stored.question, match.cosine) else None
        return asked, match if asked.decision.verdict == "hit" else None

    def _serve(self, asked: Asked, stored: StoredAnswer, kind: Literal["exact", "semantic"], similarity: float) -> SemanticHit:
        hit_id = hit_id_of(stored.number, stored.entry.key, next(self._numbers))
        if is_observing():
            self._counts.add(observed_hits=1, misses=1)
        else:
            self._counts.add(exact_hits=kind == "exact", semantic_hits=kind == "semantic")
            self._uses.add(stored.number, self._thrift.now_us())
            self._hits.put(hit_id, Served(asked.place, stored.number, None if asked.is_own else asked.candidate))
        self._upkeep.wake()
        return SemanticHit(stored.answer, kind, stored.question, similarity, hit_id, stored.entry)

    def _try_to_store(
        self,
        question: str,
        answer: str,
        scope: str | bytes,
        history: Sequence[Turn],
        who: Attribution,
        made: Made,
        limits: CachePolicy | None,
    ) -> None:
        try:
            if is_storable(question) and is_storable(answer):
                is_own = not self._writers.trusts(who)
                place = self._histories.scope(scope, history, who, may_keep=True)
                asked = self._search.read(question, place or "", who, limits, is_own=is_own)
                if asked.text and (who.user is not None or not is_own):
                    self._keeper.keep(self._pending.pop((asked.place, asked.text)) or asked, answer, who, made)
                    self._upkeep.wake()
        except OutdatedError:
            self._troubles.note_not_kept(str(OutdatedError.__doc__))
        except Exception as error:
            self._troubles.note("semantic store", error, (question, answer, *(text for _, text in history)))

    def _remove(self, place: bytes, number: int) -> None:
        self._store.remove(number)
        self._search.forget(place, number)

    def _write_uses(self) -> None:
        self._uses.write(self._store)

    def _write(self) -> bool:
        try:
            if not self._store.read_only:
                self._write_uses()
                self._counts.write(self._thrift.now_us())
        except StorageError as error:
            self._troubles.note("semantic flush", error)
            return False
        return True

    def _keep_up(self, is_purge_due: bool, *, is_last: bool = False) -> None:
        try:
            (self._search.close if is_last else self._search.keep_up)()
            if self._write() and is_purge_due and not self._store.read_only:
                purge(self._store, self._counts, self._thrift.now_us())
                self._evidence.forget_old()
        except Exception as error:  # this thread must go on
            self._troubles.note("semantic upkeep", error)
