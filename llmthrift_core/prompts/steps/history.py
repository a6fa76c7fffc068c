"""A history that is kept by recency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.model_calls.circuit_breaker import LimitedAsking
from llmthrift_core.prompts.counting import tokens_of_message
from llmthrift_core.prompts.messages import ASSISTANT, SYSTEM, USER, Messages, holds_result, question_index, role_of, text_of, tool_calls_of
from llmthrift_core.prompts.parts import example_messages
from llmthrift_core.prompts.step import Remembered, Run, Step
from llmthrift_core.prompts.steps.summarize import asked_in_time, summarizing


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


SUMMARY: Final = "[Summary of earlier messages] "
_ASK: Final = (
    "Summarize this conversation in at most {words} words, for the assistant who continues it. Keep names, numbers, dates, decisions "
    "and what is still open.\n\n{text}"
)
_WORDS: Final = 150


def _never(message: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class History(Step):
    """Keeps the last turns. Lossy.

    A turn begins with what a person asks and is cut as a whole. Only if the last turn alone is too long for `max_tokens` do its earlier
    tool calls go too, each with its results. System messages, examples, pinned messages, the last question and the agent's last step stay.

    Args:
        max_turns: so many turns, the last one among them.
        max_tokens: of all messages but the system's.
        pinned: says of a message that it stays, with the results of its tool calls, or the call that it is a result of.
        summarize: a model, or a function from a prompt to a text: what was cut is summed up in one message. Wrap the model with `thrifty`,
            and it is metered as a call of its own. One that fails or hangs is counted, and the call goes on without a summary.
        timeout_seconds: how long the call waits for the summary.

    Raises:
        ConfigurationError: neither limit, or one that is not positive.
    """

    max_turns: int | None = None
    max_tokens: int | None = None
    pinned: Callable[[Any], bool] = _never
    summarize: Any = None
    timeout_seconds: float = field(default=30.0, compare=False)
    _asking: LimitedAsking = field(init=False, compare=False, repr=False)
    _summaries: Remembered = field(default_factory=Remembered, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_turns is None and self.max_tokens is None:
            raise ConfigurationError("History needs max_turns or max_tokens")
        for name, value in (("max_turns", self.max_turns), ("max_tokens", self.max_tokens)):
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be positive, not {value!r}")
        object.__setattr__(self, "_asking", summarizing(self.timeout_seconds))

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages without old turns."""
        pinned = {place for place, message in enumerate(messages) if _is_summary(message) or self.pinned(message)}
        if pinned:  # a call and its results stay together: providers refuse either alone
            groups = [group for turn in turns_of(messages) for group in turn.groups]
            pinned.update(place for group in groups if pinned.intersection(group) for place in group)
        turns = turns_of(messages, example_messages(messages, question_index(messages)) | pinned)
        cut = set(self._places_to_cut(messages, turns, run))
        if not cut:
            return messages
        kept = [message for place, message in enumerate(messages) if place not in cut]
        if self.summarize is not None and (summary := self._summary([messages[place] for place in sorted(cut)], run)):
            first = next((place for place, message in enumerate(kept) if role_of(message) not in ("system", "developer")), len(kept))
            kept.insert(first, {"role": "user", "content": SUMMARY + summary})
        return kept

    def _places_to_cut(self, messages: Messages, turns: list[Turn], run: Run) -> list[int]:
        border = max(0, len(turns) - self.max_turns) if self.max_turns is not None else 0
        cut = [place for turn in turns[:border] for place in turn.places]
        if self.max_tokens is None or not turns:
            return cut
        sizes = {place: tokens_of_message(messages[place], run.model) for turn in turns[border:] for place in turn.places}
        left = sum(sizes.values())
        groups = [tuple(turn.places) for turn in turns[border:-1]]
        last = turns[-1].groups
        groups += [group for group in last[:-1] if not self._is_question(messages, group)]
        for group in groups:
            if left <= self.max_tokens:
                break
            cut += group
            left -= sum(sizes[place] for place in group)
        return cut

    @staticmethod
    def _is_question(messages: Messages, group: tuple[int, ...]) -> bool:
        return any(role_of(messages[place]) in USER and not holds_result(messages[place]) for place in group)

    def _summary(self, cut: Messages, run: Run) -> str:
        text = "\n".join(f"{role_of(message) or 'message'}: {text_of(message)}" for message in cut if text_of(message).strip())

        def ask() -> str | None:
            return asked_in_time(self._asking, self.summarize, _ASK.format(words=_WORDS, text=text)) or None

        found = self._summaries.get((text,), ask) if text else None
        if found is None and text:
            run.failures["summary"] += 1
        return found or ""


def _is_summary(message: Any) -> bool:
    return text_of(message).startswith(SUMMARY)
