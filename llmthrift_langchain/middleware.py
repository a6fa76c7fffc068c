"""`ThriftMiddleware`: metering, cache, budgets and routing for the model calls of `create_agent`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage

from llmthrift_core.errors import BudgetExceededError, ConfigurationError, MissingExtraError
from llmthrift_core.texts import require_thrift
from llmthrift_langchain.router import ChatRouter
from llmthrift_langchain.runs import follow_runs

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError:
    raise MissingExtraError("models", "langchain") from None

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift
    from llmthrift_langchain.cache import ThriftCache

_MOST_ROUTERS = 64


class ThriftMiddleware(AgentMiddleware[Any, Any, Any]):
    """Every model call of an agent goes through a router: metered, within its budgets, cached and routed as told.

    Budgets are reserved before each call of the tool loop, and of agents inside of it, which share a budget `per="run"`.

    Args:
        thrift: prices, cache, budgets and ledger.
        models: tiers for a `ChatRouter`, cheapest first; None keeps the agent's own model.
        cache: as for `ChatRouter`.
        on_exceeded: "raise" lets BudgetExceededError end the agent; "stop" ends it with a last message that says so.
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

    def __init__(
        self,
        thrift: Thrift,
        *,
        models: Mapping[str, Any] | None = None,
        cache: ThriftCache | bool | None = None,
        on_exceeded: Literal["raise", "stop"] = "raise",
        **options: Any,
    ) -> None:
        super().__init__()
        require_thrift(thrift, type(self).__name__)
        follow_runs()  # before the agent's run begins, while the router of its model is made inside of it
        if on_exceeded not in ("raise", "stop"):
            raise ConfigurationError(f'on_exceeded must be "raise" or "stop", not {on_exceeded!r}')
        self._thrift = thrift
        self._stops = on_exceeded == "stop"
        self._options = {"cache": cache, **options}
        self._router = None if models is None else ChatRouter(thrift, models=models, **self._options)
        self._routers: dict[int, tuple[BaseChatModel, ChatRouter]] = {}

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]) -> ModelResponse | AIMessage:
        """Call the model through the router."""
        try:
            return handler(request.override(model=self._routed(request.model)))
        except BudgetExceededError as refused:
            return self._last_message(refused)

    async def awrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
    ) -> ModelResponse | AIMessage:
        """As `wrap_model_call`."""
        try:
            return await handler(request.override(model=self._routed(request.model)))
        except BudgetExceededError as refused:
            return self._last_message(refused)

    def _routed(self, model: BaseChatModel) -> ChatRouter:
        if self._router is not None:
            return self._router
        if isinstance(model, ChatRouter):
            return model
        known = self._routers.get(id(model))
        if known is None or known[0] is not model:  # the model is kept with its router, so that its id is not another's
            if len(self._routers) >= _MOST_ROUTERS:
                self._routers.clear()
            self._routers[id(model)] = known = (model, ChatRouter(self._thrift, models={"model": model}, **self._options))
        return known[1]

    def _last_message(self, refused: BudgetExceededError) -> AIMessage:
        if not self._stops:
            raise refused
        return AIMessage(f"Stopped: {refused}", response_metadata={"llmthrift": {"stopped_by": refused.budget}})
