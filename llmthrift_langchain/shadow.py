"""`ShadowHandler`: shows the live calls of a LangChain application to a shadow evaluation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, get_buffer_string
from langchain_core.outputs import ChatGeneration, LLMResult

from llmthrift_core.background.forks import ForkedLock
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.usage import served_by_generations

if TYPE_CHECKING:
    from llmthrift_core.quality import ShadowEvaluation

_MOST_OPEN: Final = 10_000


class ShadowHandler(BaseCallbackHandler):
    """Offers every answered chat call of the runs that it is attached to. It waits for nothing, and never raises into a run.

    Calls with tools or a schema are left out: a configuration would get the messages without them.

    >>> from langchain_core.language_models.fake_chat_models import FakeListChatModel
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.quality import Preference, ShadowEvaluation
    >>> from llmthrift_langchain import ShadowHandler, thrifty
    >>> thrift = Thrift(":memory:")
    >>> smaller = thrifty(FakeListChatModel(responses=["Hi."]), thrift)
    >>> shadow = ShadowEvaluation(thrift, {"smaller": smaller}, lambda *texts: Preference(0.0, True, "", "nobody"), sample=1)
    >>> FakeListChatModel(responses=["Hello."]).invoke("Hi", {"callbacks": [ShadowHandler(shadow)]}).content
    'Hello.'
    >>> shadow.report().skipped  # a fake model has no price
    {'their cost is not known': 1}
    """

    def __init__(self, shadow: ShadowEvaluation) -> None:
        self.shadow = shadow
        self._open: OrderedDict[UUID, Sequence[BaseMessage]] = OrderedDict()
        self._lock = ForkedLock()

    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any) -> None:
        """A chat model run begins."""
        parameters = kwargs.get("invocation_params") or {}
        if any(parameters.get(name) for name in ("tools", "functions", "response_format")):
            self.shadow.skip("they have tools or a schema")
            return
        with self._lock:
            self._open[run_id] = list(messages[0])
            while len(self._open) > _MOST_OPEN:  # streams that nobody reads never end
                self._open.popitem(last=False)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A run ended with an answer."""
        with self._lock:
            messages = self._open.pop(run_id, None)
        generations = response.generations[0] if response.generations else []
        if messages is None or not generations or not isinstance(first := generations[0], ChatGeneration):
            return
        message = first.message
        if not isinstance(message, AIMessage) or message.tool_calls or not (answer := text_of(message.content)).strip():
            return
        served = served_by_generations(generations, response.llm_output)
        usd = self.shadow.price(served.usage, served.model, served.provider)
        self.shadow.offer(get_buffer_string(messages), answer, messages=messages, usd=usd)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A run failed: there is nothing to compare."""
        with self._lock:
            self._open.pop(run_id, None)
