"""`Batcher`: requests of one user and scope that come close together are asked in one prompt."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llmthrift_core.attribution import Attribution, current_attribution
from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.batching.framing import INSTRUCTIONS
from llmthrift_core.batching.joint_calls import ARM, Asked, JointAnswer, JointCalls, ModelAnswer
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.ids import new_request_id
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.money import to_usd
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.texts import require_thrift
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost

ModelCall = Callable[[str], ModelAnswer | str | Awaitable[ModelAnswer | str]]
_Group = tuple[str | None, str | None, str]


class Batcher:
    """Several requests in one prompt: what all of them share is sent once.

    Answers get worse the more requests share a prompt, and most where they are hard: measure it before it answers users, with an experiment
    whose arms are alone and together. A context manager: at its end, as at that of its Thrift, what waits is asked. Safe to share between
    threads.

    Args:
        model_call: asks the model with a prompt; gives a text, or a `ModelAnswer` with the usage that the provider reported. May be async.
        thrift: prices, cache, budgets and ledger; None: only requests are grouped.
        model, provider: who is asked, for prices and rows.
        max_size: requests in one prompt.
        flush_seconds: how long the first request waits for others.
        cache: answers are kept, and asked for, each under a key of its own; False: they are not.
        on_result: called with each answer, its tokens and its cost, in the thread that asked the model.
        instructions: stand before the requests, and say how to answer.
        parameters: of the model's calls, such as {"max_tokens": 300}: part of keys, and of what budgets reserve.
        workers: groups that are asked at once.

    >>> def model(prompt):
    ...     import json
    ...     asked = json.loads(prompt.partition("\\n\\n")[2])
    ...     return json.dumps([{"id": each["id"], "answer": each["request"].upper()} for each in asked])
    >>> with Batcher(model, max_size=2) as batcher:
    ...     futures = [batcher.submit(text) for text in ("one", "two")]
    ...     [future.result().text for future in futures]
    ['ONE', 'TWO']
    """

    def __init__(
        self,
        model_call: ModelCall,
        *,
        thrift: AccountHost | None = None,
        model: str = "",
        provider: str | None = None,
        max_size: int = 20,
        flush_seconds: float = 2.0,
        cache: bool | CachePolicy = True,
        on_result: Callable[[JointAnswer], object] | None = None,
        instructions: str = INSTRUCTIONS,
        parameters: Mapping[str, Any] | None = None,
        workers: int = 4,
    ) -> None:
        if thrift is not None:
            require_thrift(thrift, type(self).__name__)
        if max_size < 1:
            raise ConfigurationError(f"max_size must be at least 1, not {max_size!r}")
        if not flush_seconds >= 0:
            raise ConfigurationError(f"flush_seconds must be at least 0, not {flush_seconds!r}")
        if not callable(model_call):
            raise ConfigurationError(f"model_call must be a function from a prompt to an answer, not {model_call!r}")
        self._thrift = thrift
        self._model, self._provider = model, provider
        self._max_size, self._flush_seconds = max_size, flush_seconds
        self._policy = cache if isinstance(cache, CachePolicy) else CachePolicy() if cache else None
        self._on_result = on_result
        self._identity = canonical_json([model, provider, dict(parameters or {})])
        self._workers = workers
        self._calls = JointCalls(
            partial(self._call, model_call),
            thrift=thrift,
            model=model,
            provider=provider,
            policy=self._policy,
            instructions=instructions,
            parameters=parameters,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.after_fork()
        renew_after_fork(self)
        if thrift is not None:
            thrift.attach(self)

    def after_fork(self) -> None:
        """The parent asks what waits there; the child begins with nothing."""
        self._changed = threading.Condition()
        self._waiting: dict[_Group, tuple[float, list[Asked]]] = {}
        self._running: set[Future[None]] = set()
        self._timer: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None

    # --- asking ---

    def submit(
        self,
        request: str,
        *,
        scope: str = "",
        alone: bool = False,
        attribution: Attribution | None = None,
        cache_key: bytes | None = None,
        encode: Callable[[JointAnswer], bytes | None] | None = None,
        decode: Callable[[bytes], Any] | None = None,
        look_up: bool = True,
        single: Callable[[], JointAnswer] | None = None,
        on_result: Callable[[JointAnswer], object] | None = None,
        model_call: ModelCall | None = None,
    ) -> Future[JointAnswer]:
        """Ask together with others that come soon. The future has the answer, or what kept it from coming.

        Args:
            request: a text that stands for itself.
            scope: only requests of the same scope, user and feature share a prompt.
            alone: make a call for this request alone: the other arm of an experiment.
            attribution: whom it is for; None is the surrounding `attribute(...)`.
            cache_key: of the exact cache, where a framework has one; None: one is made. encode: what is kept under it. decode: the
                framework's answer of what is kept. look_up: False only keeps the answer.
            single: the framework's single call, where no answer can be matched.
            on_result: as that of the Batcher, for this request. model_call: likewise; the same for all of a scope.

        Raises:
            ConfigurationError: the Batcher is closed, or the request is no text.
        """
        if not isinstance(request, str) or not request.strip():
            raise ConfigurationError(f"a request must be a text that is not empty, not {request!r:.200}")
        who = current_attribution() if attribution is None else attribution
        asked = Asked(request, Future(), who, cache_key, encode, decode, single, on_result or self._on_result)
        asked.call = None if model_call is None else partial(self._call, model_call)
        if cache_key is None and encode is None:
            asked.cache_key = self._key(request, scope, who)
        if look_up and (hit := self._hit(asked)) is not None:
            self._calls.hand_over(asked, hit)
            return asked.future
        with self._changed:
            if self._closed:
                raise ConfigurationError("the Batcher is closed: make a new one")
            if alone or self._max_size == 1:
                self._start([asked])
                return asked.future
            group = (who.user, who.feature, scope)
            due, members = self._waiting.setdefault(group, (time.monotonic() + self._flush_seconds, []))
            members.append(asked)
            if len(members) >= self._max_size or due <= time.monotonic():
                self._start(self._waiting.pop(group)[1])
            else:
                self._watch()
        return asked.future

    def run_alone(self, call: Callable[[], Any]) -> Future[Any]:
        """Make a call of a framework's own in one of the threads here, beside the groups. Its future has what it gives.

        Raises:
            ConfigurationError: the Batcher is closed.
        """
        with self._changed:
            if self._closed:
                raise ConfigurationError("the Batcher is closed: make a new one")
            return self._threads().submit(call)

    def ask(self, request: str, **options: Any) -> JointAnswer:
        """As `submit`, and wait for the answer."""
        return self.submit(request, **options).result()

    async def aask(self, request: str, **options: Any) -> JointAnswer:
        """As `ask`, on an event loop. An async `model_call` runs on the loop that asked first."""
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.get_running_loop()
        future = await asyncio.to_thread(self.submit, request, **options)
        return await asyncio.wrap_future(future)

    def flush(self, *, wait: bool = True) -> None:
        """Ask what waits now, and wait until all that is under way is answered.

        Args:
            wait: False returns at once.
        """
        with self._changed:
            for _, members in self._waiting.values():
                self._start(members)
            self._waiting.clear()
            running = list(self._running)
        for each in running if wait else ():
            each.exception()

    def close(self) -> None:
        """Ask what waits, and take nothing more. Closing twice does nothing."""
        with self._changed:
            self._closed = True
        self.flush()
        with self._changed:
            pool, self._pool = self._pool, None
            self._changed.notify_all()
        if pool is not None:
            pool.shutdown(wait=True)

    async def aclose(self) -> None:
        """As `close`, off the event loop."""
        await asyncio.to_thread(self.close)

    def health(self) -> dict[str, Any]:
        """For `Thrift.health`: how many requests wait for others."""
        return {"errors": 0, "waiting": sum(len(members) for _, members in list(self._waiting.values()))}

    def alerts(self) -> list[str]:
        """For `Thrift.health`: none."""
        return []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- groups ---

    def _start(self, group: list[Asked]) -> None:
        """Ask a group, in a thread. The lock is held."""
        running = self._threads().submit(copy_context().run, self._calls.answer, group)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="llmthrift-batcher")
        return self._pool

    def _watch(self) -> None:
        """Let a thread start what is due. The lock is held."""
        if self._timer is None or not self._timer.is_alive():
            self._timer = threading.Thread(target=self._keep_time, name="llmthrift-batcher-timer", daemon=True)
            self._timer.start()
        self._changed.notify_all()

    def _keep_time(self) -> None:
        with self._changed:
            while self._waiting:
                now = time.monotonic()
                for group, (due, members) in list(self._waiting.items()):
                    if due <= now:
                        del self._waiting[group]
                        self._start(members)
                if self._waiting:
                    self._changed.wait(max(min(due for due, _ in self._waiting.values()) - now, 0.0))
            self._timer = None

    def _call(self, model_call: ModelCall, prompt: str) -> ModelAnswer:
        given: Any = model_call(prompt)
        if inspect.isawaitable(given):
            loop = self._loop
            if loop is not None and loop.is_running():
                given = asyncio.run_coroutine_threadsafe(_awaited(given), loop).result()
            else:
                given = asyncio.run(_awaited(given))
        answer = given if isinstance(given, ModelAnswer) else ModelAnswer(given)
        text: Any = answer.text
        if isinstance(text, str):
            return answer
        return replace(answer, text="" if text is None else str(text))  # it was called, and is billed whatever it gave

    # --- the cache ---

    def _key(self, request: str, scope: str, who: Attribution) -> bytes | None:
        if self._thrift is None or self._policy is None or is_disabled():
            return None
        try:
            parts = digest("joint-request", self._identity, canonical_json([scope, request]))
            return self._policy.key(parts, attribution=who, asked=lambda: [request])
        except UncacheableError as error:
            self._thrift.cache.note_uncacheable(str(error))
            return None

    def _hit(self, asked: Asked) -> JointAnswer | None:
        """The answer of the exact cache, with its row; None: there is none."""
        thrift, policy, key = self._thrift, self._policy, asked.cache_key
        if thrift is None or policy is None or key is None or is_observing() or is_disabled():
            return None
        entry = thrift.cache.lookup(key, policy)
        if entry is None:
            return None
        try:
            native = None if asked.decode is None else asked.decode(entry.payload)
            text = entry.payload.decode("utf-8", "surrogatepass") if asked.decode is None else ""
        except ValueError:  # a hostile, truncated or foreign row
            thrift.cache.discard(key)
            return None
        identity, usage, now_us = new_request_id(), entry.usage, thrift.now_us()
        record = CallRecord(
            request_id=identity, call_id=identity, at_us=now_us, model=entry.model, provider=entry.provider, attribution=asked.attribution
        )
        record.cache, record.saved_input_tokens, record.saved_output_tokens = "exact", usage.input_tokens, usage.output_tokens
        record.cost_nano_usd = record.input_cost_nano_usd = record.output_cost_nano_usd = 0
        if (priced := thrift.prices.price(usage, entry.model, entry.provider, now_us)) is not None:
            record.cache_saved_nano_usd, record.price_version = priced.nano_usd, priced.price_version
        thrift.ledger.append(record)
        return JointAnswer(text, Usage(), to_usd(0), 1, identity, is_cached=True, native=native)


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given


__all__ = ["ARM", "Batcher", "JointAnswer", "ModelAnswer"]
