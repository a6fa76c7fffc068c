"""`ThriftCache`: LangChain's global LLM cache, with keys that survive what LangChain does to them."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import orjson
from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.runnables.config import var_child_runnable_config

from llmthrift_core.attribution import Attribution, current_attribution
from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.policy import CachePolicy, Eviction, Share
from llmthrift_core.cache.rules import CacheRules, rules_in_force
from llmthrift_core.cache.semantic.question import QuestionExtractor
from llmthrift_core.cache.single_flight import whoami
from llmthrift_core.calls.call import Call
from llmthrift_core.calls.marks import mark_of_call
from llmthrift_core.calls.request import CacheUse, Request, SemanticUse
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import as_pairs, as_texts, require_thrift
from llmthrift_langchain import open_runs
from llmthrift_langchain.callers import Inside
from llmthrift_langchain.codec import decode_chat, decode_text, mark
from llmthrift_langchain.llm_string import Identity, identity_behind
from llmthrift_langchain.messages import UnknownMessageError, canonical_messages, fields_of_serialized
from llmthrift_langchain.response import response_of_generations
from llmthrift_langchain.run_metadata import attribution_of_metadata, cache_rules_of_metadata
from llmthrift_langchain.semantic import asked_texts, semantic_use
from llmthrift_langchain.sending import Sending, UnreadableCallError, sending, time_limit_in

if TYPE_CHECKING:
    from langchain_core.outputs import Generation

    from llmthrift_core.cache.semantic.cache import SemanticCache
    from llmthrift_core.thrift import Thrift
    from llmthrift_langchain.open_runs import OpenRun

_MOST_PENDING = 10_000


@dataclass(slots=True)
class _Question:
    """One lookup or update: the parsed prompt, its key, and the handler's run if there is one. `token` ties an update to its lookup."""

    token: int
    key: bytes | None
    fields: Sequence[Mapping[str, Any]] | str
    model: str | None
    run: OpenRun | None
    rules: CacheRules
    attribution: Attribution
    semantic: SemanticUse | None
    wait_seconds: float | None
    run_id: str | None


class ThriftCache(BaseCache):
    """An LLM cache for `set_llm_cache` or a model's `cache=`: exact, and by meaning where `semantic` says so.

    The key is made of the role, content, tool names and arguments of every message, the model and every parameter that may change the
    answer, the namespace and the prompt version. Hits are fresh copies with a new message id and no billed usage; chat hits carry
    `generation_info["llmthrift"]`. Hits and, where no handler records the run, misses go to the ledger of `thrift`.
    The cache never raises: trouble is a miss, logged and counted in `thrift.health()`.

    LangChain consults a cache for `invoke`, `batch` and `generate` only; wrap a model with `thrifty` to cache its streams.

    Args:
        thrift: the database and ledger.
        namespace: entries of one namespace are never seen by another. Use one per tenant.
        ttl_seconds: how long an entry answers; None is for ever.
        max_age_seconds: entries older than this do not answer here, whatever their own lifetime; None is no limit.
        max_entries, max_bytes: limits of the namespace; None is no limit.
        eviction: "lru" or "lfu".
        share: who may share an entry: "namespace", "feature" or "user". With the first two, a question in the first person, or in a
            language that the guard does not read, stays with its user where the user is known; "global" is the way to share these too.
        prompt_version: entries of another version never answer.
        tags, sources: labels for `thrift.invalidate(tag=..., source=...)`.
        metadata: stored with each entry.
        require: metadata that an entry must carry to answer.
        semantic: True, an embeddings object, or a `SemanticCache`: after the exact cache has missed, a question is answered that means
            the same as an earlier one, with everything else of the request equal. Wrong answers are bounded to 1% of the requests.
            A `SemanticCache` has limits of its own, whose namespace, share, labels and so on must be these.
        semantic_ttl_seconds: how long an entry answers by meaning.
        extract_question: splits the last message into (context, question), for prompts that carry retrieved documents; the context must
            be equal. Without it such a prompt is matched exactly only.

    Raises:
        ConfigurationError: options that cannot be used, or that a given `SemanticCache` does not share.

    >>> from langchain_core.language_models.fake_chat_models import FakeListChatModel
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_langchain import ThriftCache
    >>> thrift = Thrift(":memory:")
    >>> model = FakeListChatModel(responses=["one", "two"], cache=ThriftCache(thrift))
    >>> model.invoke("Which?").content, model.invoke("Which?").content
    ('one', 'one')
    """

    def __init__(
        self,
        thrift: Thrift,
        *,
        namespace: str = "default",
        ttl_seconds: float | None = 3600.0,
        max_age_seconds: float | None = None,
        max_entries: int | None = 100_000,
        max_bytes: int | None = 256 * 1024 * 1024,
        eviction: Eviction = "lru",
        share: Share = "namespace",
        prompt_version: str | None = None,
        tags: str | Sequence[str] = (),
        sources: str | Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        require: Mapping[str, str] | None = None,
        semantic: Any = False,
        semantic_ttl_seconds: float | None = 7200.0,
        extract_question: QuestionExtractor | None = None,
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        self.thrift = thrift
        self.extract_question = extract_question
        self.policy = CachePolicy(
            namespace=namespace,
            ttl_seconds=ttl_seconds,
            max_age_seconds=max_age_seconds,
            max_entries=max_entries,
            max_bytes=max_bytes,
            eviction=eviction,
            share=share,
            prompt_version=prompt_version,
            tags=as_texts("tags", tags),
            sources=as_texts("sources", sources),
            metadata=as_pairs("metadata", metadata),
            require=as_pairs("require", require),
        )
        self.semantic = _semantic_cache(thrift, semantic, replace(self.policy, ttl_seconds=semantic_ttl_seconds, max_bytes=None))
        self._pending: OrderedDict[int, list[Call]] = OrderedDict()
        self._lock = ForkedLock()

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Fresh copies of the stored generations, or None.

        Raises:
            BudgetExceededError: there are none, a `ThriftCallbackHandler(thrift, enforce=True)` observes the call, and a budget refuses it.
        """
        if is_disabled():
            return None
        try:
            question = self._question(prompt, llm_string)
            found = None if question is None else self._look_up(question, sys._getframe(1))
        except Exception as error:
            self.thrift.note_failure("cache", error, (prompt,))
            question = found = None
        if found is None and (run := self._unreserved(question)) is not None:
            run.reserve()
        return found

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """As `lookup`; the database is read off the event loop."""
        if is_disabled():
            return None
        try:
            found = None
            question = self._question(prompt, llm_string)
            if question is not None:
                found = await self._alook_up(question, sys._getframe(1))
        except Exception as error:
            self.thrift.note_failure("cache", error, (prompt,))
            question = found = None
        if found is None and (run := self._unreserved(question)) is not None:
            await run.areserve()
        return found

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer. It is visible to other processes when this returns."""
        if is_disabled():
            return
        try:
            question = self._question(prompt, llm_string, updating=True)
            if question is not None:
                self._update(question, return_val)
        except Exception as error:
            self.thrift.note_failure("cache", error, (prompt,))

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """As `update`; the database is written off the event loop."""
        if is_disabled():
            return
        try:
            question = self._question(prompt, llm_string, updating=True)
            if question is not None:
                await in_thread(partial(self._update, question, return_val))
        except Exception as error:
            self.thrift.note_failure("cache", error, (prompt,))

    def clear(self, **kwargs: Any) -> None:
        """Remove every entry of this cache's namespace."""
        try:
            self.thrift.cache.clear(self.policy.namespace)
            if self.semantic is not None:
                self.semantic.clear()
        except Exception as error:
            self.thrift.note_failure("cache", error)

    async def aclear(self, **kwargs: Any) -> None:
        """As `clear`, off the event loop."""
        await asyncio.to_thread(self.clear)

    # --- steps ---

    def _question(self, prompt: str, llm_string: str, *, updating: bool = False) -> _Question | None:
        fields: Sequence[Mapping[str, Any]] | str
        canonical: list[Any] = []
        run: OpenRun | None = None
        serialized = _messages_in(prompt)
        if serialized is None:
            fields, conversation = prompt, digest("text", prompt.encode("utf-8", "surrogatepass"))
        else:
            try:
                fields = fields_of_serialized(serialized)
            except UnknownMessageError as error:
                self.thrift.cache.note_uncacheable(str(error))
                return None
            run = (open_runs.current if updating else open_runs.take)(self.thrift, fields)
            try:
                canonical = canonical_messages(fields)
                conversation = canonical_json(canonical)
            except UncacheableError as error:
                self.thrift.cache.note_uncacheable(str(error))
                return None
        sent: Sending | None = None
        try:
            sent = sending()
            identity = identity_behind(sent, llm_string)
        except UnreadableCallError as error:
            identity = Identity(None, problem=str(error))
        if run is not None:
            attribution, own = run.call.request.attribution, run.rules
        else:
            config = var_child_runnable_config.get()
            metadata = {**((config.get("metadata") if config else None) or {}), **({} if sent is None else sent.metadata)}
            attribution, own = attribution_of_metadata(metadata).over(current_attribution()), cache_rules_of_metadata(metadata)
        rules = rules_in_force(own)
        key, semantic = None, None
        if identity.digest is None:
            self.thrift.cache.note_uncacheable(identity.problem or "unidentified parameters")
        else:
            try:
                asked = partial(asked_texts, fields, self.extract_question)
                key = self.policy.key(identity.digest, rules.conversation(conversation), attribution=attribution, asked=asked)
                semantic = semantic_use(
                    self.semantic,
                    fields,
                    canonical,
                    identity.digest,
                    owner=None if self.semantic is None else self.policy.owner(asked, attribution),
                    temperature=identity.temperature,
                    extract_question=self.extract_question,
                )
            except UncacheableError as error:
                self.thrift.cache.note_uncacheable(str(error))
        token, wait_seconds = hash((prompt, llm_string, None if sent is None else sent.call)), time_limit_in(llm_string)
        run_id = None if sent is None else sent.run_id
        return _Question(token, key, fields, identity.model, run, rules, attribution, semantic, wait_seconds, run_id)

    def _unreserved(self, question: _Question | None) -> OpenRun | None:
        """After a miss: the run whose enforcing handler waited for that. What its reservation raises is the only exception that leaves a
        lookup, and stops LangChain's call."""
        run = open_runs.next_unreserved(self.thrift) if question is None or question.run is None else question.run
        return None if run is None or run.bounds is None else run

    def _look_up(self, question: _Question, frame: FrameType) -> list[Generation] | None:
        call, use = self._asking(question, frame)
        if use is not None:
            while call.ask_cache(use) is None and (waiting := call.waiting) is not None:
                waiting.wait()
        return self._looked_up(question, call)

    async def _alook_up(self, question: _Question, frame: FrameType) -> list[Generation] | None:
        call, use = self._asking(question, frame)
        while use is not None:
            if self.thrift.cache.answers_at_once(use.key, use.policy):
                call.ask_cache(use)
            else:
                await in_thread(partial(call.ask_cache, use))
            if call.hit is not None or (waiting := call.waiting) is None:
                break
            await waiting.wait_async()
        if question.run is None and call.hit is not None:
            return await in_thread(partial(self._looked_up, question, call))
        return self._looked_up(question, call)

    def _asking(self, question: _Question, frame: FrameType) -> tuple[Call, CacheUse | None]:
        """The call that is looked up, and how it uses the cache."""
        use = self._use(question)
        if use is not None:
            use.caller, use.is_under_way = whoami(), Inside(frame)
        if question.run is not None:
            question.run.cache = use
            return question.run.call, use if use is not None and use.mode == "on" else None
        call = self.thrift.begin(Request(model=question.model or "unknown", attribution=question.attribution, run_id=question.run_id))
        call.request.cache = use
        return call, use

    def _looked_up(self, question: _Question, call: Call) -> list[Generation] | None:
        if call.hit is not None:
            if question.run is None:
                call.finish_hit()
            return marked_answer(call)
        if question.run is None:
            with self._lock:
                self._pending.setdefault(question.token, []).append(call)
                if len(self._pending) > _MOST_PENDING:  # calls that failed, of which a cache hears nothing
                    self._pending.popitem(last=False)
        return None

    def _update(self, question: _Question, generations: Sequence[Generation]) -> None:
        use = self._use(question)
        chunks = None if question.run is None else question.run.chunks
        response = response_of_generations(generations, question.fields, question.model or "unknown", chunks)
        call: Call | None = None
        if question.run is not None:
            call, use = question.run.call, question.run.cache or use
        else:
            with self._lock:
                waiting = self._pending.get(question.token)
                if waiting:
                    call = waiting.pop()
                    if not waiting:
                        del self._pending[question.token]
            use = use if call is None else call.request.cache  # the key of what was sent, whatever has become of the model since
        if use is not None and generations and getattr(getattr(generations[0], "message", None), "tool_calls", None):
            use.semantic = None  # what a tool is asked for depends on more than the meaning of the question
        if question.run is None and call is not None and not (generations and self.thrift.shared.recorded.take(generations[0])):
            call.finish(response)
            if generations:
                self.thrift.shared.recorded.add(generations[0])
            return
        if use is None or use.mode == "off":
            return
        if call is None:  # an update without a lookup: stored, and not a call that anybody made
            call = Call(self.thrift, Request(model=question.model or "unknown", attribution=question.attribution))
        call.store(use, response, response.taken())

    def _use(self, question: _Question) -> CacheUse | None:
        if question.key is None:
            return None
        decode = decode_text if isinstance(question.fields, str) else decode_chat
        mode, rules = question.rules.mode or "on", question.rules
        return rules.ruled(
            CacheUse(question.key, self.policy, decode, mode, semantic=question.semantic, wait_seconds=lambda: question.wait_seconds)
        )


def marked_answer(call: Call, tier: str | None = None) -> list[Generation]:
    """The generations of a hit, which say the kind of hit, the model that had answered, and how many seconds ago."""
    generations: list[Generation] = call.answer
    mark(generations, {**mark_of_call(call), "tier": tier})
    return generations


def _semantic_cache(thrift: Thrift, given: Any, limits: CachePolicy) -> SemanticCache | None:
    if given is False or given is None or is_disabled():
        return None
    from langchain_core.embeddings import Embeddings

    from llmthrift_core.cache import SemanticCache
    from llmthrift_langchain.embeddings import ThriftEmbeddings

    if isinstance(given, SemanticCache):
        limits.check_agrees(given.limits)
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        return SemanticCache(thrift, policy=given, limits=limits)  # a threshold
    if isinstance(given, Embeddings) and not isinstance(given, ThriftEmbeddings):
        given = ThriftEmbeddings(thrift, given, cache=False)  # embeddings from an API cost money too
    return SemanticCache(thrift, None if given is True else given, limits=limits)


def _messages_in(prompt: str) -> list[Any] | None:
    """The serialized messages in a chat model's prompt; None for a completion model's text."""
    if not prompt.startswith('[{"lc"') and prompt != "[]":
        return None
    try:
        parsed = orjson.loads(prompt)
    except orjson.JSONDecodeError:
        import json

        try:
            parsed = json.loads(prompt)  # lone surrogates
        except ValueError:
            return None
    return parsed if isinstance(parsed, list) else None
