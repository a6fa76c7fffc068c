"""The last call of an agent whose budget is used up: it sums up what was done and what is open, in room that was kept for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from llmthrift_core.calls.refusals import mark_of_refusal
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.outgoing import Outgoing
from llmthrift_langchain.agent_limits import scope_here
from llmthrift_langchain.codec import mark_message
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.refusals import polite_answer
from llmthrift_langchain.router import ChatRouter

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_ASKED: Final = (
    "The budget of this task is used up, and no further tool can be called. From these notes of it, say in a few sentences what "
    "was asked, what was done and found, and what is open."
)
_BYTES_PER_TOKEN: Final = 2  # cautious: English has about four bytes in a token
_FRAME_TOKENS: Final = 100  # the instruction above, and what frames two messages
_LEAST_SHARE: Final = 8  # of the notes, that a message may have


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
        tier = router.tiers[router.tier_names.names[0]]
        scope, sent = scope_here(), Outgoing(self._tokens + _FRAME_TOKENS)
        who = type(scope)(scope.attribution, tier.name, scope.run)
        hold = self._thrift.budgets.hold(who, provider=tier.provider, outgoing=lambda: sent, max_output_tokens=self._tokens, waits="no")
        try:
            yield
        finally:
            hold.release()

    def say(self, router: ChatRouter, messages: Sequence[AnyMessage], refused: BudgetExceededError) -> AIMessage:
        """The summary; a polite answer where that is refused too."""
        try:
            answer = self._brief(router).invoke(self._prompt(messages), max_tokens=self._tokens)
        except BudgetExceededError:
            return polite_answer(refused)
        return _marked(answer, refused)

    async def asay(self, router: ChatRouter, messages: Sequence[AnyMessage], refused: BudgetExceededError) -> AIMessage:
        """As `say`."""
        try:
            answer = await self._brief(router).ainvoke(self._prompt(messages), max_tokens=self._tokens)
        except BudgetExceededError:
            return polite_answer(refused)
        return _marked(answer, refused)

    def _brief(self, router: ChatRouter) -> ChatRouter:
        return router.model_copy(update={"max_tier": router.tier_names.names[0], "cache": False, "on_budget": "raise"})

    def _prompt(self, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
        return [SystemMessage(_ASKED), HumanMessage(notes_of(messages, most_bytes=self._tokens * _BYTES_PER_TOKEN))]


def notes_of(messages: Sequence[AnyMessage], *, most_bytes: int) -> str:
    """A conversation in so many bytes: the first question, then the latest messages, each cut.

    >>> notes_of([HumanMessage("Find tea."), AIMessage("Searching."), AIMessage("Found.")], most_bytes=34)
    'human: Find tea.\\nai: Found.'
    """
    each = max(most_bytes // _LEAST_SHARE, 24)
    lines = [_cut(f"{message.type}: {_said(message)}", each) for message in messages if message.type != "system"]
    if not lines:
        return ""
    kept, left = list[str](), most_bytes - len(lines[0].encode())
    for line in reversed(lines[1:]):
        left -= len(line.encode()) + 1
        if left < 0:
            break
        kept.append(line)
    return _cut("\n".join([lines[0], *reversed(kept)]), most_bytes)


def _said(message: Any) -> str:
    calls = ", ".join(f"{call['name']}({call['args']})" for call in getattr(message, "tool_calls", ()) or ())
    return " ".join(part for part in (text_of(message.content), calls and f"calls {calls}") if part)


def _cut(text: str, most_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:most_bytes].decode("utf-8", "ignore")


def _marked(answer: AIMessage, refused: BudgetExceededError) -> AIMessage:
    was = answer.response_metadata.get("llmthrift") or {}
    mark_message(answer, {**was, "stopped_by": refused.budget, "stop": mark_of_refusal(refused)["reason"]})
    return answer
