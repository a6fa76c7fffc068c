"""The last call of an agent whose budget is used up: it sums up what was done and what is open, in room that was kept for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from llmthrift_core.calls.last_words import ASKED, held_off_loop, hold_room, lengths_of, mark_of_summary, notes_of
from llmthrift_core.errors import BudgetExceededError
from llmthrift_langchain.agent_limits import scope_here
from llmthrift_langchain.codec import mark_message
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.refusals import polite_answer
from llmthrift_langchain.router import ChatRouter

if TYPE_CHECKING:
    from llmthrift_core.budgets.hold import Hold
    from llmthrift_core.thrift import Thrift


class LastWords:
    """Keeps room for a summary, and asks for it.

    Args:
        thrift: the budgets.
        tokens: the longest summary, and the most that is read for it.
    """

    def __init__(self, thrift: Thrift, *, tokens: int) -> None:
        self._thrift = thrift
        self._tokens = tokens

    @contextmanager
    def room(self, router: ChatRouter) -> Iterator[None]:
        """While a model works, what the summary may take is held beside it, and given back when it has ended, however it ended.

        Raises:
            BudgetExceededError: there is no more room than for the summary, or not that.
        """
        hold = self._hold(router)
        try:
            yield
        finally:
            hold.release()

    def aroom(self, router: ChatRouter) -> AbstractAsyncContextManager[None]:
        """As `room`, off the event loop."""
        return held_off_loop(partial(self._hold, router))

    def _hold(self, router: ChatRouter) -> Hold:
        tier = router.tiers[router.tier_names.names[0]]
        return hold_room(self._thrift.budgets, scope_here(tier.name), tier.provider, tokens=self._tokens)

    def say(self, router: ChatRouter, messages: Sequence[AnyMessage], refused: BudgetExceededError) -> AIMessage:
        """The summary, a shorter one where there is no room for it, and a polite answer where that is refused too."""
        for tokens in lengths_of(self._tokens):
            try:
                answer = self._brief(router).invoke(self._prompt(messages, tokens), max_tokens=tokens)
            except BudgetExceededError:
                continue
            return _marked(answer, refused)
        return polite_answer(refused)

    async def asay(self, router: ChatRouter, messages: Sequence[AnyMessage], refused: BudgetExceededError) -> AIMessage:
        """As `say`."""
        for tokens in lengths_of(self._tokens):
            try:
                answer = await self._brief(router).ainvoke(self._prompt(messages, tokens), max_tokens=tokens)
            except BudgetExceededError:
                continue
            return _marked(answer, refused)
        return polite_answer(refused)

    def _brief(self, router: ChatRouter) -> ChatRouter:
        return router.model_copy(update={"max_tier": router.tier_names.names[0], "cache": False, "on_budget": "raise"})

    def _prompt(self, messages: Sequence[AnyMessage], tokens: int) -> list[AnyMessage]:
        notes = notes_of([(message.type, _said(message)) for message in messages], tokens=tokens)
        return [SystemMessage(ASKED), HumanMessage(notes)]


def _said(message: Any) -> str:
    calls = ", ".join(f"{call['name']}({call['args']})" for call in getattr(message, "tool_calls", ()) or ())
    return " ".join(part for part in (text_of(message.content), calls and f"calls {calls}") if part)


def _marked(answer: AIMessage, refused: BudgetExceededError) -> AIMessage:
    mark_message(answer, mark_of_summary(answer.response_metadata.get("llmthrift") or {}, refused))
    return answer
