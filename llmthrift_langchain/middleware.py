"""`ThriftMiddleware`: metering, cache, budgets and routing for the model calls of `create_agent`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Self

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage

from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.budgets.raising import concerns
from llmthrift_core.calls.agent_limits import AgentLimits, OnExceeded
from llmthrift_core.errors import BudgetExceededError, MissingExtraError
from llmthrift_core.texts import require_thrift
from llmthrift_langchain.agent_limits import ask_for_more, scope_here, with_line
from llmthrift_langchain.last_words import LastWords
from llmthrift_langchain.metered_request import metered_request
from llmthrift_langchain.refusals import answer_of_tool, polite_answer, refused_tool
from llmthrift_langchain.router import ChatRouter
from llmthrift_langchain.runs import follow_runs

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError:
    raise MissingExtraError("models", "langchain") from None

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ToolCallRequest

    from llmthrift_core.calls.shortening import ShorteningPolicy
    from llmthrift_core.thrift import Thrift
    from llmthrift_langchain.cache import ThriftCache

_MOST_ROUTERS = 64


class _ToolHooks(AgentMiddleware[Any, Any, Any]):
    """What a middleware does about its agent's tools."""

    _thrift: Thrift
    _goes_on: Callable[[BudgetExceededError], bool]

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Call the tool. One that a budget refuses is answered for, and the agent's next call ends it as it is told."""
        while True:
            try:
                return handler(request)
            except BudgetExceededError as refused:
                if (answer := self._answer_of_tool(request, refused)) is not None:
                    return answer

    async def awrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]) -> Any:
        """As `wrap_tool_call`."""
        while True:
            try:
                return await handler(request)
            except BudgetExceededError as refused:
                if (answer := await in_thread(partial(self._answer_of_tool, request, refused))) is not None:
                    return answer

    def _answer_of_tool(self, request: ToolCallRequest, refused: BudgetExceededError) -> ToolMessage | None:
        """What is said in place of a tool; None where it is to be called again. An agent whose own budgets have room goes on."""
        ends = concerns(self._thrift.budgets, refused, scope_here())
        if ends and self._goes_on(refused):
            return None
        return answer_of_tool(request.tool_call, refused, ends=ends)


@cache
def _with_tool_hooks(kind: type[Any]) -> type[Any]:
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return kind if issubclass(kind, _ToolHooks) else type(kind.__name__, (kind, _ToolHooks), named)


class ThriftMiddleware(AgentMiddleware[Any, Any, Any]):
    """Every model call of an agent goes through a router: metered, within its budgets, cached and routed as told.

    Budgets are reserved before each call of the tool loop, and of agents inside of it, which share a budget `per="run"`.

    Args:
        thrift: prices, cache, budgets and ledger.
        models: tiers for a `ChatRouter`, cheapest first; None keeps the agent's own model.
        cache: as for `ChatRouter`.
        on_exceeded: what a refusal by a budget does. "raise" lets BudgetExceededError end the agent; "stop" ends it with a last message
            that says which budget refused and why; "end" with a polite one, whose mark has the `source` "budget_limit"; "summarize" with
            what a last call without tools sums up, by the cheapest tier. Room for it is kept from the first call on: each call has to
            leave it. Where tools and agents in them took a part of it, the summary is shorter; where nothing is left, or the time is up,
            it ends politely. "ask" interrupts the graph (LangGraph's `interrupt`, which needs a checkpointer): resumed with a mapping of
            higher limits, such as {"limit_usd": 0.1}, the budget is kept anew with them, for all of its spenders, and the agent goes on;
            resumed with False, it ends politely. What a tool costs (`thrift.costs`), or an agent inside of it, is refused alike: the
            tool is not called or does not end, and the agent ends in place of its next call; with "ask" the tool is called once more.
        soft: share of a budget's limit from which on the agent is to spare; None: it is never told.
        tells_model: past `soft`, each prompt ends with a line that says what is left. It is part of the prompt, and billed so.
        soft_tier: past `soft`, no tier of the router above this one; None leaves the routing as it is.
        soft_shorten: past `soft`, what makes prompts shorter, such as `Shorten([steps.History(max_tokens=2_000)])`.
        summary_tokens: how long the summary may be, and about how much of the conversation it is made of.
        options: as for `ChatRouter`.

    >>> from langchain.agents import create_agent
    >>> from langchain_core.language_models.fake_chat_models import FakeListChatModel
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_langchain import ThriftMiddleware
    >>> thrift = Thrift(":memory:")
    >>> agent = create_agent(FakeListChatModel(responses=["Done."]), middleware=[ThriftMiddleware(thrift)])
    >>> agent.invoke({"messages": [("user", "Go")]})["messages"][-1].content
    'Done.'
    >>> thrift.report().total["requests"]
    1
    """

    def __new__(cls, *given: Any, on_exceeded: OnExceeded = "raise", **options: Any) -> Self:
        """A middleware with hooks for tools, where there is more to do than to raise.

        LangChain looks for such hooks at the class. Where it finds one, it makes a node of tools for agents without any, and leaves unknown
        tools of a model call unchecked.
        """
        kind: Any = cls
        made: Self = super().__new__(kind if on_exceeded == "raise" else _with_tool_hooks(kind))
        return made

    def __init__(
        self,
        thrift: Thrift,
        *,
        models: Mapping[str, Any] | None = None,
        cache: ThriftCache | bool | None = None,
        on_exceeded: OnExceeded = "raise",
        soft: float | None = None,
        tells_model: bool = True,
        soft_tier: str | None = None,
        soft_shorten: ShorteningPolicy | None = None,
        summary_tokens: int = 500,
        **options: Any,
    ) -> None:
        super().__init__()
        require_thrift(thrift, type(self).__name__)
        follow_runs()  # before the agent's run begins, while the router of its model is made inside of it
        self._limits = AgentLimits(
            on_exceeded=on_exceeded,
            soft=soft,
            tells_model=tells_model,
            soft_tier=soft_tier,
            soft_shorten=soft_shorten,
            summary_tokens=summary_tokens,
        )
        self._thrift = thrift
        self._summaries = LastWords(thrift, tokens=summary_tokens) if on_exceeded == "summarize" else None
        self._options = {"cache": cache, **options}
        self._router = None if models is None else ChatRouter(thrift, models=models, **self._options)
        if self._router is not None and soft_tier is not None:
            self._router.tier_names.at_most(soft_tier)
        self._routers: dict[int, tuple[BaseChatModel, ChatRouter]] = {}

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]) -> ModelResponse | AIMessage:
        """Call the model through the router."""
        if (ended := self._ended_by_tool(request)) is not None:
            if self._summaries is None:
                return self._last_message(ended)
            return self._summaries.say(self._routed(request.model), request.messages, ended)
        while True:
            router = self._routed(request.model)
            try:
                with self._room_for_summary(router):
                    return handler(self._prepared(request, router))
            except BudgetExceededError as refused:
                if self._summaries is not None:
                    return self._summaries.say(router, request.messages, refused)
                if not self._goes_on(refused):
                    return self._last_message(refused)

    async def awrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
    ) -> ModelResponse | AIMessage:
        """As `wrap_model_call`; the database is used off the event loop."""
        if (ended := self._ended_by_tool(request)) is not None:
            if self._summaries is None:
                return self._last_message(ended)
            return await self._summaries.asay(self._routed(request.model), request.messages, ended)
        while True:
            router = self._routed(request.model)
            try:
                async with nullcontext() if self._summaries is None else self._summaries.aroom(router):
                    if self._limits.soft is None:
                        return await handler(metered_request(request, router, self._metered))
                    return await handler(await in_thread(partial(self._prepared, request, router)))
            except BudgetExceededError as refused:
                if self._summaries is not None:
                    return await self._summaries.asay(router, request.messages, refused)
                if not await in_thread(partial(self._goes_on, refused)):
                    return self._last_message(refused)

    def _ended_by_tool(self, request: ModelRequest) -> BudgetExceededError | None:
        return None if self._limits.on_exceeded == "raise" else refused_tool(request.messages)

    def _prepared(self, request: ModelRequest, router: ChatRouter) -> ModelRequest:
        """The request as it is sent: past the soft limit with a line that says what is left, and within the soft tier."""
        limits = self._limits
        rows = limits.past_soft(self._thrift.budgets, scope_here()) if limits.soft is not None else []
        if not rows:
            return metered_request(request, router, self._metered)
        update: dict[str, Any] = {}
        if limits.soft_tier is not None and len(router.tiers) > 1:
            update["max_tier"] = limits.soft_tier
        if limits.soft_shorten is not None:
            update["shorten"] = limits.soft_shorten
        line = limits.line_of(rows)
        messages = request.messages if line is None else with_line(request.messages, line)
        spared = router.model_copy(update=update) if update else router
        return metered_request(request, spared, self._metered, messages=messages)

    def _room_for_summary(self, router: ChatRouter) -> AbstractContextManager[Any]:
        return nullcontext() if self._summaries is None else self._summaries.room(router)

    def _goes_on(self, refused: BudgetExceededError) -> bool:
        """Ask whether to go on: True where the limit was raised."""
        return self._limits.on_exceeded == "ask" and ask_for_more(self._thrift, refused)

    def _routed(self, model: BaseChatModel) -> ChatRouter:
        if self._router is not None:
            return self._router
        return self._metered(model)

    def _metered(self, model: BaseChatModel) -> ChatRouter:
        """A router of one model, which may be a fallback's or another middleware's own."""
        if isinstance(model, ChatRouter):
            return model
        known = self._routers.get(id(model))
        if known is None or known[0] is not model:  # the model is kept with its router, so that its id is not another's
            if len(self._routers) >= _MOST_ROUTERS:
                self._routers.clear()
            self._routers[id(model)] = known = (model, ChatRouter(self._thrift, models={"model": model}, **self._options))
        return known[1]

    def _last_message(self, refused: BudgetExceededError) -> AIMessage:
        if self._limits.on_exceeded == "raise":
            raise refused
        if self._limits.on_exceeded != "stop":
            return polite_answer(refused)
        return AIMessage(f"Stopped: {refused}", response_metadata={"llmthrift": {"stopped_by": refused.budget}})
