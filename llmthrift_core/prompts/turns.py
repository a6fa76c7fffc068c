"""Turns of a conversation, and within a turn the groups that belong together: a tool call with its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llmthrift_core.prompts.messages import ASSISTANT, SYSTEM, USER, holds_result, role_of, tool_calls_of


class Turn(NamedTuple):
    """A question and all that followed it.

    Attributes:
        groups: places of messages that are kept or cut together, in order.
    """

    groups: tuple[tuple[int, ...], ...]

    @property
    def places(self) -> list[int]:
        """The places of all its messages."""
        return [place for group in self.groups for place in group]


def turns_of(messages: Sequence[Any], fixed: frozenset[int] = frozenset()) -> list[Turn]:
    """The turns, without system messages and those at the places `fixed`. What comes before the first question is a turn of its own.

    >>> turns_of([{"role": "system"}, {"role": "user"}, {"role": "assistant"}, {"role": "user"}])
    [Turn(groups=((1,), (2,))), Turn(groups=((3,),))]
    """
    turns: list[list[list[int]]] = []
    open_calls = 0
    for place, message in enumerate(messages):
        role = role_of(message)
        if role in SYSTEM or place in fixed:
            continue
        is_result = holds_result(message)
        if role in USER and not is_result:
            turns.append([[place]])
            open_calls = 0
            continue
        if not turns:
            turns.append([])
        groups = turns[-1]
        if is_result and open_calls and groups:
            groups[-1].append(place)
        else:
            groups.append([place])
            open_calls = 0
        if role in ASSISTANT:
            open_calls = len(tool_calls_of(message))
    return [Turn(tuple(tuple(group) for group in groups)) for groups in turns]
