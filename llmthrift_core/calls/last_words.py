"""The last call of an agent whose budget is used up: the room that is kept for it, and the notes that it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.calls.refusals import mark_of_refusal
from llmthrift_core.outgoing import Outgoing

if TYPE_CHECKING:
    from llmthrift_core.budgets import Budgets
    from llmthrift_core.budgets.hold import Hold
    from llmthrift_core.budgets.scopes import Scope
    from llmthrift_core.errors import BudgetExceededError

ASKED: Final = (
    "The budget of this task is used up, and no further tool can be called. From these notes of it, say in a few sentences what "
    "was asked, what was done and found, and what is open."
)
_BYTES_PER_TOKEN: Final = 2  # cautious: English has about four bytes in a token
_FRAME_TOKENS: Final = 100  # the instruction above, and what frames two messages
_SHORTEST_TOKENS: Final = 32  # of a summary that says anything
_LEAST_SHARE: Final = 8  # of the notes, that a message may have


def hold_room(budgets: Budgets, scope: Scope, provider: str | None, *, tokens: int) -> Hold:
    """Set aside what a summary of so many tokens may take, while a model works. Release it when that has ended, however it ended.

    Args:
        scope: with the name of the model that will sum up.

    Raises:
        BudgetExceededError: there is no more room than for the summary, or not that.
    """
    sent = Outgoing(tokens + _FRAME_TOKENS)
    return budgets.hold(scope, provider=provider, outgoing=lambda: sent, max_output_tokens=tokens, waits="no")


@asynccontextmanager
async def held_off_loop(hold: Callable[[], Hold]) -> AsyncIterator[None]:
    """What is set aside while the block runs, made and released off the event loop.

    Args:
        hold: as `hold_room`. What it made when its task was cancelled meanwhile is released too.
    """
    made: list[Hold] = []
    may_wait = True
    try:
        await in_thread(lambda: made.append(hold()))
        yield
    except BaseException as error:
        may_wait = isinstance(error, Exception | asyncio.CancelledError)  # a coroutine that is thrown away must not wait any more
        raise
    finally:
        for each in made:
            if may_wait:
                await in_thread(each.release)
            else:
                each.release()


def lengths_of(tokens: int) -> Iterator[int]:
    """How long a summary is tried to be: as long as it may be, and half of that while there is no room, since tools took a part of it.

    >>> list(lengths_of(200)), list(lengths_of(10))
    ([200, 100, 50], [10])
    """
    yield tokens
    while (tokens := tokens // 2) >= _SHORTEST_TOKENS:
        yield tokens


def notes_of(messages: Sequence[tuple[str, str]], *, tokens: int) -> str:
    """A conversation of roles and texts in about so many tokens: the first question, then the latest messages, each cut.

    >>> notes_of([("human", "Find tea."), ("ai", "Searching."), ("ai", "Found.")], tokens=17)
    'human: Find tea.\\nai: Found.'
    """
    most_bytes = tokens * _BYTES_PER_TOKEN
    each = max(most_bytes // _LEAST_SHARE, 24)
    lines = [_cut(f"{role}: {text}", each) for role, text in messages if role != "system"]
    if not lines:
        return ""
    kept, left = list[str](), most_bytes - len(lines[0].encode())
    for line in reversed(lines[1:]):
        left -= len(line.encode()) + 1
        if left < 0:
            break
        kept.append(line)
    return _cut("\n".join([lines[0], *reversed(kept)]), most_bytes)


def mark_of_summary(mark: Mapping[str, Any], refused: BudgetExceededError) -> dict[str, Any]:
    """The mark of a summary: its own call's, with the budget that stopped the agent."""
    return {**mark, "stopped_by": refused.budget, "stop": mark_of_refusal(refused)["reason"]}


def _cut(text: str, most_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:most_bytes].decode("utf-8", "ignore")
