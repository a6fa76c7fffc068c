"""`SemanticCache`: answers to questions that mean the same, with a bound on how many of them may be wrong.

Everything of a request but the last question must match exactly: that is its scope. Within it the question is compared by meaning. Three
things stand between a similar question and its answer: the near-miss guard, which knows when two alike questions differ in a fact; the
policy, which knows how likely the answer is wrong; and expiry.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from llmthrift_core.attribution import Attribution, current_attribution
from llmthrift_core.cache.entry import metadata_to_json, usage_to_json
from llmthrift_core.cache.guard import near_miss
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.semantic.embedder import as_embedder, embedded
from llmthrift_core.cache.semantic.entries import Known, SemanticEntries, StoredAnswer
from llmthrift_core.cache.semantic.evidence import Evidence
from llmthrift_core.cache.semantic.features import Candidate, Neighbour, candidate_of, words_of
from llmthrift_core.cache.semantic.files import IndexFiles
from llmthrift_core.cache.semantic.hit import Considered, Explanation, SemanticHit
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.cache.semantic.policy import Belief, Decision, Observation, as_policy
from llmthrift_core.cache.semantic.question import QuestionForms, hash_of_answer
from llmthrift_core.cache.semantic.removal import remove_where, totals
from llmthrift_core.cache.semantic.scope import Scope
from llmthrift_core.cache.semantic.uses import Uses
from llmthrift_core.cache.store import criteria_of
from llmthrift_core.cache.troubles import Troubles
from llmthrift_core.cache.upkeep import Upkeep
from llmthrift_core.errors import ConfigurationError, EmbeddingError, MissingExtraError, StorageError
from llmthrift_core.settings import is_observing
from llmthrift_core.storable import is_storable
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database

_LONGEST_QUESTION: Final = 2_000  # characters; beyond it only equal questions match
_MOST_SCOPES: Final = 2_000
_MOST_PENDING: Final = 10_000
_REMEMBERED_HITS: Final = 10_000
_LOOK_FOR_EVIDENCE_EVERY: Final = 50
_TRIM_EVERY: Final = 100
_GUARDED: Final = 6  # how many of the questions with the shared answer are held against the guard
_NO_USAGE: Final = Usage()


class Home(Protocol):
    """What the cache needs of a `Thrift`."""

    @property
    def database(self) -> Database: ...

    def now_us(self) -> int: ...


@dataclass(slots=True)
class _Asked:
    """A question that was not answered: what its answer will teach."""

    vector: Vector
    candidate: Candidate | None
    neighbours: Sequence[Neighbour]
    decision: Decision | None


class SemanticCache:
    """Answers by meaning. Safe to share between threads; processes share entries and what was learned.

    `lookup` and `store` never raise for trouble: it is a miss, counted and logged.

    Args:
        thrift: whose database is used.
        embedder: a function from a list of texts to an array (n, d), an embeddings object of LangChain or LlamaIndex, or None for the
            built-in model. Vectors of different embedders are never compared.
        policy: `ErrorBound`, `FixedThreshold`, a number for a fixed threshold, or None for `ErrorBound(0.01)`.
        same_answer: says whether two answers say the same; None compares them without case, white space and punctuation.
        limits: namespace, lifetime, labels and number of entries; the default keeps an entry for two hours.
        masks: regular expressions whose matches count as equal in the key and the embedding, such as customer numbers. The guard reads
            the question as it is.

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
        thrift: Home,
        embedder: Any = None,
        policy: Any = None,
        same_answer: Callable[[str, str], bool] | None = None,
        *,
        limits: CachePolicy | None = None,
        masks: Sequence[str] = (),
    ) -> None:
        self.embedder = as_embedder(embedder)
        self.policy = as_policy(policy)
        self.limits = limits or CachePolicy(ttl_seconds=7200.0, max_entries=1_000_000, max_bytes=None)
        if same_answer is not None and not callable(same_answer):
            raise ConfigurationError(f"same_answer must be a function of two answers, not {same_answer!r}")
        self._same_answer = same_answer
        self._thrift = thrift
        self._entries = SemanticEntries(thrift.database)
        self._files = IndexFiles(thrift.database.path)
        self._space = self.embedder.name
        self._forms = QuestionForms(self.limits, space=self._space, masks=masks)
        self._dimensions: int | None = None
        self._scopes: OrderedDict[bytes, Scope] = OrderedDict()
        self._pending: OrderedDict[tuple[bytes, str], _Asked] = OrderedDict()
        self._hits: OrderedDict[str, tuple[bytes, int, Candidate | None]] = OrderedDict()
        self._uses = Uses(self._entries)
        self._evidence = Evidence(self._entries, self.policy, namespace=self.limits.namespace, space=self._space)
        self._stores = 0
        self._counts = dict.fromkeys(("exact_hits", "semantic_hits", "misses", "shadow_checks", "guarded", "stores", "observed_hits"), 0)
        self._troubles = Troubles()
        self._lock = threading.Lock()
        self._upkeep = Upkeep(self._keep_up, interval_seconds=1.0)
        self._evidence.catch_up()

    # --- asking ---

    def lookup(self, question: str, scope: str | bytes = "", *, attribution: Attribution | None = None) -> SemanticHit | None:
        """The answer to this question, or to one that means the same; None on a miss, and when a shadow check is due.

        Args:
            scope: everything else that decides the answer: system prompt, history, model, tenant. Entries of another scope never answer.
            attribution: who asks; None is the surrounding `attribute(...)`.
        """
        try:
            return self._look_up(question, scope, current_attribution() if attribution is None else attribution)
        except (StorageError, EmbeddingError, MissingExtraError, ValueError) as error:
            self._troubles.note("semantic lookup", error)
            self._count("misses")
            return None

    def store(
        self,
        question: str,
        answer: str,
        scope: str | bytes = "",
        *,
        payload: bytes | None = None,
        model: str = "",
        provider: str | None = None,
        usage: Usage = _NO_USAGE,
        attribution: Attribution | None = None,
    ) -> None:
        """Keep an answer, and learn from it whether the cache's would have been right.

        Args:
            scope, attribution: as for `lookup`.
            payload: what a door serves instead of the text.
            model, provider, usage: who answered, and what it took.
        """
        try:
            who = current_attribution() if attribution is None else attribution
            self._store(question, answer, scope, who, payload=payload, model=model, provider=provider, usage=usage)
        except (StorageError, EmbeddingError, MissingExtraError, ValueError) as error:
            self._troubles.note("semantic store", error)

    def explain(self, question: str, scope: str | bytes = "") -> Explanation:
        """What is near to a question, what speaks against it, and what the policy would decide. Nothing is counted.

        Raises:
            EmbeddingError, StorageError: the embedder or the database failed.
        """
        text = self._forms.normalised(question)
        place = self._forms.scope(scope, question, current_attribution())
        live = self._live(self._entries.by_key(self._forms.key(place, text)))
        if live is not None:
            return Explanation("hit", "an equal question is cached", 0.0, (Considered(live.question, 1.0, None, True),))
        if not text or len(text) > _LONGEST_QUESTION:
            return Explanation("miss", "an empty or very long question is matched exactly only", None, ())
        vector = embedded(self.embedder, self._forms.masked(text), self._dimensions)
        known = self._scope(place, len(vector))
        neighbours = known.neighbours(vector)
        if not neighbours:
            return Explanation("miss", "nothing is cached in this scope", None, ())
        candidate = candidate_of(neighbours, words_of(text), known.weight, len(known))
        considered = tuple(
            Considered(asked, each.similarity, near_miss(question, asked), each.answer == candidate.answer)
            for each in neighbours
            if (asked := known.question(each.entry)) is not None
        )
        passing = next((each for each in considered if each.shares_answer and each.refused is None), None)
        if passing is None:
            first = next((each for each in considered if each.shares_answer), None)
            return Explanation("miss", f"another question: {first.refused if first else 'gone'}", None, considered)
        decision = self.policy.judge(candidate.features, passing.similarity)
        return Explanation(decision.verdict, decision.reason, decision.wrong, considered)

    def feedback(self, hit_id: str, correct: bool) -> bool:
        """Say whether a hit was right. A wrong one is removed, and the policy learns from both. False for an unknown hit.

        Raises:
            StorageError: the database cannot be written.
        """
        with self._lock:
            found = self._hits.pop(hit_id, None)
        if found is None:
            return False
        place, number, candidate = found
        if not correct:
            self._entries.remove(number)
            if (known := self._scopes.get(place)) is not None:
                known.forget(number)
        if candidate is not None:
            self._evidence.learn(Observation(candidate.features, correct, 1.0, was_checked=False, wrong=None), self._thrift.now_us())
        return True

    # --- removing and looking ---

    def discard(self, hit: SemanticHit) -> None:
        """Remove an answer that cannot be used."""
        with self._lock:
            place, number, _ = self._hits.pop(hit.id, (b"", -1, None))
        try:
            self._entries.remove(number)
        except StorageError as error:
            self._troubles.note("semantic discard", error)
        if (known := self._scopes.get(place)) is not None:
            known.forget(number)

    def invalidate(self, *, tag: str | None = None, source: str | None = None, scope: Mapping[str, str] | None = None) -> int:
        """Remove entries by label, or by exact values of model, provider, user, feature or prompt_version. Returns how many.

        Raises:
            ConfigurationError: no criterion, or an unknown one.
            StorageError: the database cannot be written.
        """
        criteria = criteria_of(tag=tag, source=source, scope=scope)
        if not criteria:
            raise ConfigurationError("invalidate() needs tag=, source= or scope=; to remove everything use clear()")
        return remove_where(self._thrift.database, criteria_of(tag=tag, source=source, scope=scope, namespace=self.limits.namespace))

    def clear(self) -> int:
        """Remove every entry of the namespace. What was learned stays. Returns how many there were. Raises StorageError."""
        removed = remove_where(self._thrift.database, criteria_of(namespace=self.limits.namespace))
        with self._lock:
            self._scopes.clear()
            self._pending.clear()
        return removed

    def belief(self) -> Belief:
        """What the policy believes of its hits: how many were wrong, and how sure that is."""
        return self.policy.belief()

    def stats(self) -> dict[str, Any]:
        """Counts of this process, what is stored, and what the policy believes. Raises StorageError."""
        self.flush()
        entries, size_bytes, stored_hits = totals(self._thrift.database, criteria_of(namespace=self.limits.namespace))
        lookups = self._counts["exact_hits"] + self._counts["semantic_hits"] + self._counts["misses"]
        hits = self._counts["exact_hits"] + self._counts["semantic_hits"]
        return {
            **self._counts,
            "hit_rate": hits / lookups if lookups else None,
            "entries": entries,
            "bytes": size_bytes,
            "stored_hits": stored_hits,
            "errors": self._troubles.errors,
            "last_error": self._troubles.last_error,
            "belief": self.belief().text,
        }

    def flush(self) -> bool:
        """Write the uses that were counted since the last time. False if that was not possible; they are kept."""
        try:
            self._uses.write()
        except StorageError as error:
            self._troubles.note("semantic flush", error)
            return False
        return True

    def close(self) -> None:
        """Write the counted uses, and the graphs of large scopes."""
        self._upkeep.stop()
        self._keep_up(False)

    # --- steps ---

    def _look_up(self, question: str, scope: str | bytes, who: Attribution) -> SemanticHit | None:
        text = self._forms.normalised(question)
        place = self._forms.scope(scope, question, who)
        stored = self._live(self._entries.by_key(self._forms.key(place, text))) if text else None
        if stored is not None and (not self._forms.are_masked or near_miss(question, stored.question) is None):
            return self._serve(place, stored, "exact", 1.0, None)
        if not text or len(text) > _LONGEST_QUESTION:
            self._count("misses")
            return None
        vector = embedded(self.embedder, self._forms.masked(text), self._dimensions)
        self._dimensions = len(vector)
        known = self._scope(place, len(vector))
        asked, stored, similarity = self._nearest(question, text, vector, known)
        candidate = asked.candidate
        if stored is None or candidate is None:
            self.policy.pass_over()
        else:
            asked.decision = self.policy.decide(candidate.features, similarity)
            if asked.decision.verdict == "hit":
                if not is_observing():
                    return self._serve(place, stored, "semantic", similarity, candidate)
                self._count("observed_hits")
            elif asked.decision.verdict == "shadow":
                self._count("shadow_checks")
        self._count("misses")
        with self._lock:
            self._pending[place, text] = asked
            if len(self._pending) > _MOST_PENDING:
                self._pending.popitem(last=False)
        return None

    def _nearest(self, question: str, text: str, vector: Vector, known: Scope) -> tuple[_Asked, StoredAnswer | None, float]:
        """The candidate for a question, the entry that would answer it and its similarity; no candidate where the guard lets none pass."""
        while True:
            neighbours = known.neighbours(vector)
            if not neighbours:
                return _Asked(vector, None, neighbours, None), None, 0.0
            candidate = candidate_of(neighbours, words_of(text), known.weight, len(known))
            entries = len(known)
            stored, similarity = self._passing(question, candidate, neighbours, known)
            if stored is not None or len(known) >= entries:
                break  # else entries were gone, and without them another answer may be nearest
        # Where the guard has settled it, the answer would say nothing about meaning.
        return _Asked(vector, None if stored is None else candidate, neighbours, None), stored, similarity

    def _passing(
        self, question: str, candidate: Candidate, neighbours: Sequence[Neighbour], known: Scope
    ) -> tuple[StoredAnswer | None, float]:
        """The nearest entry with the shared answer that the guard lets pass and that still answers."""
        looked = 0
        for each in neighbours:
            asked = known.question(each.entry) if each.answer == candidate.answer else None
            if asked is None:
                continue
            if looked == _GUARDED:
                break
            looked += 1
            if near_miss(question, asked) is not None:
                continue
            stored = self._entries.by_number(each.entry)
            if stored is None:
                known.forget(each.entry)
            elif self._live(stored) is not None:
                return stored, each.similarity
        if looked:
            self._count("guarded")
        return None, 0.0

    def _serve(self, place: bytes, stored: StoredAnswer, kind: Any, similarity: float, candidate: Candidate | None) -> SemanticHit:
        now_us = self._thrift.now_us()
        hit_id = f"{stored.number}-{now_us:x}-{len(self._hits):x}"
        with self._lock:
            self._counts[f"{kind}_hits"] += 1
            self._hits[hit_id] = (place, stored.number, candidate)
            if len(self._hits) > _REMEMBERED_HITS:
                self._hits.popitem(last=False)
        self._uses.add(stored.number, now_us)
        self._upkeep.wake()
        return SemanticHit(stored.answer, kind, stored.question, similarity, hit_id, stored.entry)

    def _store(
        self,
        question: str,
        answer: str,
        scope: str | bytes,
        who: Attribution,
        *,
        payload: bytes | None,
        model: str,
        provider: str | None,
        usage: Usage,
    ) -> None:
        text = self._forms.normalised(question)
        if not text or not is_storable(question) or not is_storable(answer):
            return
        place = self._forms.scope(scope, question, who)
        with self._lock:
            asked = self._pending.pop((place, text), None)
        is_long = len(text) > _LONGEST_QUESTION
        if asked is None:
            asked = self._not_looked_up(place, question, text) if not is_long else _Asked(np.zeros(0, np.float32), None, (), None)
        answer_class = self._class_of(answer, asked.neighbours, place)
        right = None if asked.candidate is None else asked.candidate.answer == answer_class
        now_us = self._thrift.now_us()
        limits = self.limits
        evidence = None
        if asked.candidate is not None and right is not None:
            checked = asked.decision is not None and asked.decision.verdict == "shadow"
            weight = 1 / asked.decision.propensity if checked and asked.decision is not None else 1.0
            wrong = asked.decision.wrong if asked.decision is not None else None
            observation = Observation(asked.candidate.features, right, weight, checked, wrong)
            evidence = self._evidence.row(observation, now_us)
        vector = asked.vector.astype("<f4").tobytes()
        metadata, usage_json = metadata_to_json(limits.metadata), usage_to_json(usage)
        values = {
            "key": self._forms.key(place, text),
            "namespace": limits.namespace,
            "space": self._space,
            "scope": place,
            "question": question,
            "answer": answer,
            "answer_class": answer_class,
            "vector": vector,
            "was_right": None if right is None else int(right),
            "payload": payload,
            "model": model,
            "provider": provider,
            "user": who.user,
            "feature": who.feature,
            "prompt_version": limits.prompt_version,
            "metadata": metadata,
            "usage": usage_json,
            "size_bytes": len(question) + len(answer) + len(vector) + len(payload or b"") + len(usage_json),
            "created_us": now_us,
            "expires_us": None if limits.ttl_seconds is None else now_us + int(limits.ttl_seconds * 1e6),
            "used_us": now_us,
        }
        labels = [("tag", tag) for tag in limits.tags] + [("source", source) for source in limits.sources]
        number = self._entries.put(values, labels, evidence)
        self._count("stores")
        if not is_long and number is not None:
            self._scope(place, len(asked.vector), catch_up=False).add(Known(number, question, answer_class, right), asked.vector)
        if evidence is not None:
            self._evidence.stored(evidence, observation)
        self._stores += 1
        if self._stores % _LOOK_FOR_EVIDENCE_EVERY == 0:
            self._evidence.catch_up()
        if limits.max_entries is not None and (self._stores % _TRIM_EVERY == 0 or limits.max_entries < _TRIM_EVERY):
            self._entries.keep_within(limits.namespace, limits.max_entries)
        self._upkeep.wake()

    def _not_looked_up(self, place: bytes, question: str, text: str) -> _Asked:
        """What a lookup would have seen of a question that is stored without one."""
        vector = embedded(self.embedder, self._forms.masked(text), self._dimensions)
        self._dimensions = len(vector)
        known = self._scope(place, len(vector))
        return self._nearest(question, text, vector, known)[0]

    def _class_of(self, answer: str, neighbours: Sequence[Neighbour], place: bytes) -> int:
        """A number that answers have in common which say the same."""
        own = hash_of_answer(answer)
        if self._same_answer is None:
            return own
        seen: set[int] = set()
        for each in neighbours:
            if each.answer in seen:
                continue
            seen.add(each.answer)
            stored = self._entries.by_number(each.entry)
            if stored is not None and (each.answer == own or self._same_answer(stored.answer, answer)):
                return each.answer
        return own

    def _scope(self, place: bytes, dimensions: int, *, catch_up: bool = True) -> Scope:
        with self._lock:
            known = self._scopes.get(place)
            if known is None:
                known = self._scopes[place] = Scope(self._entries, self._files, place, dimensions)
                catch_up = True
                if len(self._scopes) > _MOST_SCOPES:
                    self._scopes.popitem(last=False)
            else:
                self._scopes.move_to_end(place)
        if catch_up:
            known.catch_up()
        return known

    def _live(self, stored: StoredAnswer | None) -> StoredAnswer | None:
        if stored is None:
            return None
        now_us = self._thrift.now_us()
        entry = stored.entry
        return stored if entry.is_live(now_us) and entry.answers(self.limits, now_us) else None

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _keep_up(self, is_purge_due: bool) -> None:
        try:
            for known in list(self._scopes.values()):
                known.keep_up()
            if self.flush() and is_purge_due:
                self._entries.remove_expired(self._thrift.now_us())
        except StorageError as error:
            self._troubles.note("semantic purge", error)
