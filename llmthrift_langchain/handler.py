"""`ThriftCallbackHandler`: meters every model call of a chain or an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakKeyDictionary

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk, LLMResult

from llmthrift_core.attribution import attribution_of, call_site_of_prompt, current_attribution, with_call_site
from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.budgets.sizes import max_output_tokens
from llmthrift_core.calls.request import Request
from llmthrift_core.errors import BudgetError, StorageError
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.texts import require_thrift
from llmthrift_langchain import runs as lineage
from llmthrift_langchain.callers import calling_frame, streams, waits_in_thread
from llmthrift_langchain.codec import mark_of
from llmthrift_langchain.either_way import Steps, either_way, take
from llmthrift_langchain.endings import Loss, Watch
from llmthrift_langchain.enforcement import count_tool_calls, text_of_blocks, text_of_event, warn_of_unserved_stream, will_ask_cache
from llmthrift_langchain.messages import features_of_messages, features_of_text, fields_of, text_of
from llmthrift_langchain.open_runs import OpenRun, RunsOfRequest, announce, forget, read_later, response_of_result, withdraw
from llmthrift_langchain.outgoing import count_outgoing
from llmthrift_langchain.run_metadata import attribution_of_metadata, cache_rules_of_metadata
from llmthrift_langchain.runs import RunFollower, follow_runs

if TYPE_CHECKING:
    from types import FrameType

    from langchain_core.messages import BaseMessage

    from llmthrift_core.outgoing import Outgoing
    from llmthrift_core.thrift import Thrift

_MOST_OPEN_RUNS = 50_000
_MOST_OPEN_REQUESTS = 1_000


class ThriftCallbackHandler(RunFollower):
    """Record every chat and completion model call of the runs that it is attached to.

    One call is one row, in every combination of handler, cache and router. Works with invoke, batch, streams and their async forms.
    It never raises into a run: what goes wrong is logged and counted in `thrift.health()`. Only with `enforce` it raises
    BudgetExceededError, and StorageError where budgets cannot be reached: before the model is called, and in a stream that outgrows
    its budget. Under a ThriftCache of the same database a cached answer is still served; a stream asks no cache, so it is refused.

    Args:
        thrift: where to record.
        user, feature, session, request_type, prompt_version, config_version, call_site, tags: attribution for calls whose run
            metadata and surrounding `attribute(...)` do not give it.
        enforce: reserve what a call may take in the budgets of `thrift`, and refuse the call where there is no room. Asynchronous calls
            wait for that while the event loop goes on.

    >>> from llmthrift_core import Thrift
    >>> from langchain_core.language_models.fake_chat_models import FakeListChatModel
    >>> from llmthrift_langchain import ThriftCallbackHandler
    >>> thrift = Thrift(":memory:")
    >>> model = FakeListChatModel(responses=["Hello."])
    >>> config = {"callbacks": [ThriftCallbackHandler(thrift)], "metadata": {"user": "ada", "feature": "chat"}}
    >>> model.invoke("Hi", config=config).content
    'Hello.'
    >>> thrift.report(by="user").to_dicts()[0]["requests"]
    1
    """

    raise_error = False

    def __init__(
        self,
        thrift: Thrift,
        *,
        user: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        request_type: str | None = None,
        prompt_version: str | None = None,
        config_version: str | None = None,
        call_site: str | None = None,
        tags: Mapping[str, str] | None = None,
        enforce: bool = False,
    ) -> None:
        super().__init__()
        require_thrift(thrift, type(self).__name__)
        self.thrift = thrift
        self._enforce = enforce
        self.raise_error = enforce
        self._defaults = attribution_of(
            tags,
            user=user,
            feature=feature,
            session=session,
            request_type=request_type,
            prompt_version=prompt_version,
            config_version=config_version,
            call_site=call_site,
        )
        self._runs: dict[int, OpenRun] = {}  # by the number of the run's id, which itself must not be kept: see `endings`
        self._awaited: WeakKeyDictionary[asyncio.Task[Any], list[Watch]] = WeakKeyDictionary()
        self._requests: dict[int, RunsOfRequest] = {}
        self._lock = ForkedLock()
        follow_runs()  # given to a model alone, this handler hears of no run around it

    @property
    def works_off_loop(self) -> bool:
        """Whether its methods wait for the database, so that asynchronous calls await them."""
        return self._enforce or self.thrift.durability == "sync"

    # --- model runs ---

    @either_way
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Steps:
        """A chat model run begins.

        Raises:
            BudgetExceededError: with `enforce`, a budget refuses it.
        """
        return self._try_to_start(run_id, parent_run_id, metadata, kwargs, messages=messages[0])

    @either_way
    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Steps:
        """A completion model run begins.

        Raises:
            BudgetExceededError: with `enforce`, a budget refuses it.
        """
        return self._try_to_start(run_id, parent_run_id, metadata, kwargs, prompt=prompts[0])

    @either_way
    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **kwargs: Any,
    ) -> Steps:
        """A piece of a stream arrived: the first one is timed, what it reports is kept, and what is set aside grows with the answer.

        Raises:
            BudgetExceededError: with `enforce`, the budget ends here.
        """
        run = self._runs.get(run_id.int)
        if run is None:
            return
        if run.call.first_token is None:
            run.call.mark_first_token()
            warn_of_unserved_stream(run)
        run.came(chunk)
        if run.call.holds_money:
            run.streamed.add(token if isinstance(token, str) else text_of_blocks(token))
            if run.call.may_outgrow(run.streamed):
                yield partial(run.call.grew, run.streamed)

    @either_way
    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> Steps:
        """As `on_llm_new_token`, for streams of version "v3".

        Raises:
            BudgetExceededError: with `enforce`, the budget ends here.
        """
        run = self._runs.get(run_id.int)
        if run is None or not (text := text_of_event(event)):
            return
        run.call.mark_first_token()
        run.pieces.append(text)  # if the stream breaks off, nobody else tells what had come
        if run.call.holds_money:
            run.events.add(text)  # many models report the same piece as a token too
            if run.call.may_outgrow(run.events):
                yield partial(run.call.grew, run.events)

    @either_way
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> Steps:
        """A model run ended with an answer, from the model or from a cache.

        Raises:
            BudgetExceededError: with `enforce`, where it asks for more tool calls than a budget has left.
        """
        run = self._runs.pop(run_id.int, None)
        if run is None:
            return
        try:
            run.unwatch()
            forget(run)
            yield partial(self._end, run, response)
        except Exception as error:
            self.thrift.note_failure("handler", error)
        if self._enforce and not is_observing() and self.thrift.budgets.limit_tool_calls:
            answer = response.generations[0][0] if response.generations and response.generations[0] else None
            count = count_tool_calls(getattr(answer, "message", None))
            yield partial(self.thrift.budgets.take_tool_calls, run.call.scope, count)

    @either_way
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Steps:
        """A model run failed, or its stream was abandoned."""
        run = self._runs.get(run_id.int)
        if run is None:
            return
        come: LLMResult | None = kwargs.get("response")
        is_in_order = run.is_chat and not isinstance(run.watch, Watch)
        yield from self._failing(run, error, come.generations[0] if come is not None and come.generations else [])
        # Of a completion model, and of an asynchronous call, LangChain ends each prompt; of a synchronous call to a chat model neither
        # the earlier ones, which have been answered, nor the later ones, which were not sent.
        for sibling, was_before in run.siblings() if is_in_order else ():
            yield from self._failing(sibling, error, [], was_sent=was_before)

    # --- steps ---

    def _try_to_start(
        self, run_id: UUID, parent_run_id: UUID | None, metadata: Mapping[str, Any] | None, options: Mapping[str, Any], **asked: Any
    ) -> Steps:
        if is_disabled():
            return
        try:
            run = self._open(run_id, parent_run_id, metadata, options, **asked)
            if run is None:
                return
            try:
                yield from run.reserving()
            except BaseException:
                yield partial(self._drop, [run])
                raise
            announce(run, options.get("batch_size") or 1)
        except (BudgetError, StorageError) as error:
            if not self._enforce:
                self.thrift.note_failure("handler", error)
                return
            # LangChain starts every prompt of a `generate` call before the first is answered, and ends none when one is refused.
            yield partial(self._drop, withdraw(self.thrift))
            raise
        except Exception as error:
            self.thrift.note_failure("handler", error)

    def _drop(self, runs: Sequence[OpenRun]) -> None:
        """End runs whose models are not called."""
        for run in runs:
            if self._runs.pop(run.run_id, None) is not None:
                run.unwatch()
                run.call.abandon()
                self._leave_request(run)

    def _open(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        *,
        messages: list[BaseMessage] | None = None,
        prompt: str | None = None,
    ) -> OpenRun | None:
        """A run that is watched, and for which nothing is set aside yet. None where an outer call knows of it."""
        thrift = self.thrift
        metadata = metadata or {}
        if parent_run_id is None:
            parent_run_id = lineage.surrounding()
        trace_id = lineage.root_of(parent_run_id)
        owner = metadata.get("llmthrift_call")
        if owner is not None and (outer := thrift.open_call(owner)) is not None:
            outer.contribute(self._defaults, trace_id=None if trace_id is None else str(trace_id), path=lineage.path_to(parent_run_id))
            return None
        model = metadata.get("ls_model_name")
        if model is None:
            parameters = options.get("invocation_params") or {}
            model = parameters.get("model") or parameters.get("model_name") or "unknown"
        attribution = attribution_of_metadata(metadata).over(current_attribution()).over(self._defaults)
        features = None
        if thrift.capture != "off":
            tools = (options.get("invocation_params") or {}).get("tools")
            features = (
                features_of_text(prompt or "", thrift.capture)
                if messages is None
                else features_of_messages(messages, thrift.capture, tools)
            )
        if attribution.call_site is None and (site := options.get("name") or _site_of(messages)):
            attribution = with_call_site(attribution, site)
        identity = str(run_id)
        parent = str(parent_run_id) if parent_run_id is not None else None
        request = Request(
            model=str(model),
            provider=metadata.get("ls_provider"),
            attribution=attribution,
            request_id=identity,
            run_id=identity,
            trace_id=str(trace_id) if trace_id is not None else parent or identity,
            parent_id=parent,
            path=lineage.path_to(parent_run_id),
            prompt=features,
        )
        task = asyncio.current_task() if asyncio._get_running_loop() is not None else None
        caller = calling_frame() if task is not None or self._enforce else None
        request.stream = streams(caller)
        asks_cache = self._enforce and messages is not None and will_ask_cache(caller, thrift)
        limits = options.get("invocation_params") or {}
        counted: Callable[[str | None], Outgoing] = partial(_counted, messages, prompt, request.model, limits)
        request.metered = counted
        request.max_output_tokens = lambda tier: max_output_tokens(limits)
        if (earlier := lineage.continues(thrift.shared, run_id.int, parent_run_id)) is not None:
            request.call_id, request.attempt = earlier.call_id, earlier.attempt + 1
            request.attempt_reason = earlier.followed_by(request.model)
        run = OpenRun(
            thrift=thrift,
            run_id=run_id.int,
            parent_id=parent_run_id,
            call=thrift.begin(request),
            messages=messages,
            prompt=prompt,
            rules=cache_rules_of_metadata(metadata),
            bounds=counted if self._enforce else None,
            asks_cache=asks_cache,
            parameters=limits,
        )
        if len(self._runs) >= _MOST_OPEN_RUNS:  # the oldest, whose end LangChain never reported
            with suppress(StopIteration, KeyError, RuntimeError):
                take(self._failing(self._runs[next(iter(self._runs))], GeneratorExit(), []))
        self._runs[run.run_id] = run
        if task is None:
            run.watch = Loss(run_id, partial(self._end_unreported, run))
        elif not waits_in_thread(caller):
            self._watch(run, task, run_id, caller)
        batch_size = options.get("batch_size") or 1
        if messages is None and batch_size > 1:
            self._join_request(run, options.get("invocation_params"))
        return run

    def _watch(self, run: OpenRun, task: asyncio.Task[Any], run_id: UUID, caller: FrameType | None) -> None:
        earlier = self._awaited.get(task, ())
        for watch in earlier:  # a task that calls a model waits for no other: what it still seems to wait for was given up
            watch.end_if_over()
        run.watch = watch = Watch(task, run_id, caller, partial(self._end_unreported, run))
        if watch.is_awaited:
            self._awaited[task] = [*(each for each in earlier if each.is_awaited), watch]

    def _end_unreported(self, run: OpenRun, error: BaseException) -> None:
        # A stream whose reader was cancelled is closed next, and LangChain tells then what had come.
        is_read = run.call.request.stream and run.call.first_token is not None
        if not (is_read and isinstance(error, asyncio.CancelledError)):
            if isinstance(run.watch, Watch):
                run.call.settle_later()
            take(self._failing(run, error, ()))

    def _failing(self, run: OpenRun, error: BaseException, generations: Sequence[Generation], *, was_sent: bool | None = None) -> Steps:
        """End a run without a whole answer. Does nothing where it has ended."""
        if self._runs.pop(run.run_id, None) is None:
            return
        try:
            run.unwatch()
            forget(run)
            attempt = lineage.Attempt(run.run_id, run.call.call_id, run.call.attempts, run.call.model)
            lineage.failed(self.thrift.shared, attempt, run.parent_id)
            if not generations and run.pieces:
                generations = [ChatGeneration(message=AIMessage("".join(run.pieces)))]
            answered = generations and (run.call.first_token is not None or generations[0].text)
            response = response_of_result(run, generations, None, is_broken=True) if answered else None
            yield partial(run.call.fail, error, response, was_sent=was_sent)
            self._leave_request(run)
        except Exception as failure:
            self.thrift.note_failure("handler", failure)

    def _join_request(self, run: OpenRun, parameters: Any) -> None:
        with self._lock:
            if len(self._requests) >= _MOST_OPEN_REQUESTS:  # requests whose end LangChain never reported
                self._requests.pop(next(iter(self._requests)))
            run.together = self._requests.setdefault(id(parameters), RunsOfRequest(parameters))
            run.together.add(run)

    def _leave_request(self, run: OpenRun) -> None:
        if run.together is not None:
            with self._lock:
                self._requests.pop(id(run.together.parameters), None)
                finished = run.together.leave(run)
            for other, response in finished:
                other.call.finish(response)

    def _end(self, run: OpenRun, response: LLMResult) -> None:
        generations = response.generations[0] if response.generations else []
        call = run.call
        lineage.answered(self.thrift.shared, run.parent_id)
        if call.hit is not None:
            call.finish_hit()
        elif generations and (mark_of(generations[0]) is not None or self.thrift.shared.recorded.take(generations[0])):
            call.abandon()  # a cache that could not see this run has recorded the call
            self._leave_request(run)
        else:
            if not run.is_chat and generations:
                self.thrift.shared.recorded.add(generations[0])  # a completion model's `update` follows and must not record again
            if run.together is None:
                if call.is_told_later and (read := read_later(run, generations, response.llm_output)) is not None:
                    call.finish_later(read)
                else:
                    call.finish(response_of_result(run, generations, response.llm_output))
                return
            with self._lock:
                self._requests.pop(id(run.together.parameters), None)
                finished = run.together.end(run, generations, response.llm_output)
            for other, share in finished:
                other.call.finish(share)


def _counted(
    messages: Sequence[BaseMessage] | None, prompt: str | None, model: str, limits: Mapping[str, Any], tier: str | None
) -> Outgoing:
    asked = (prompt or "") if messages is None else [fields_of(message) for message in messages]
    return count_outgoing(asked, model, limits)


def _site_of(messages: Sequence[BaseMessage] | None) -> str | None:
    if messages and messages[0].type == "system":
        content = messages[0].content
        return call_site_of_prompt(content if isinstance(content, str) else text_of(content))
    return None
