"""`Shorten`: steps that make messages shorter, one after the other, with what each spared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmthrift_core.display import Printed, html_table, percent, plain_table
from llmthrift_core.errors import ConfigurationError, LLMThriftError, PromptTooLongError, place_of
from llmthrift_core.prompts.counting import tokens_of_message, tokens_of_messages, tokens_of_reply, tokens_of_text
from llmthrift_core.prompts.messages import Messages, messages_of, texts_of
from llmthrift_core.prompts.parts import read_messages
from llmthrift_core.prompts.step import Run, Step
from llmthrift_core.prompts.steps.compact import Compact
from llmthrift_core.prompts.steps.duplicates import Duplicates
from llmthrift_core.prompts.steps.history import History
from llmthrift_core.prompts.steps.truncate import Truncate
from llmthrift_core.prompts.steps.whitespace import Whitespace

logger = logging.getLogger("llmthrift")

_VERSION: Final = "shorten/3"  # raised when a step gives other texts than before
_ROUNDS: Final = 4  # until the steps find nothing more: then a result gives itself
_CUTS: Final = 8  # each cuts what is too much, counted before the steps
_NAMES: Final = {"system": "system prompt", "question": "last question", "tool_results": "tool results"}


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did.

    Attributes:
        name: of the step.
        before, after: tokens of all messages.
    """

    name: str
    before: int
    after: int

    @property
    def saved(self) -> int:
        """Tokens that the step spared; negative where it added some."""
        return self.before - self.after


@dataclass(frozen=True, slots=True, repr=False)
class Shortened(Printed):
    """Shorter messages.

    Attributes:
        messages: in the form in which they were given: a text, or a list of dicts.
        tokens_before, tokens_after: of all messages, with what frames them; of a text alone, its own.
        steps: what each step did, in order.
        identity: of the `Shorten` that made them.
        failures: how often something was passed over, by its name: "embedder", "summary", a step.
    """

    messages: Any
    tokens_before: int
    tokens_after: int
    steps: tuple[StepReport, ...]
    identity: str = ""
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def saved_tokens(self) -> int:
        """Tokens that were spared."""
        return self.tokens_before - self.tokens_after

    @property
    def compression_ratio(self) -> float:
        """What is left, as a share of what there was."""
        return self.tokens_after / self.tokens_before if self.tokens_before else 1.0

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row for each step: step, before, after, saved."""
        return [{"step": each.name, "before": each.before, "after": each.after, "saved": each.saved} for each in self.steps]

    def to_text(self) -> str:
        """A table of the steps."""
        return plain_table(["step", "before", "after", "saved"], self._rows(), total=self._total())

    def _repr_html_(self) -> str:
        """For notebooks."""
        return html_table(["step", "before", "after", "saved"], self._rows(), total=self._total())

    def _rows(self) -> list[list[Any]]:
        return [[each.name, each.before, each.after, percent(each.saved / each.before if each.before else 0.0)] for each in self.steps]

    def _total(self) -> list[Any]:
        return ["all", self.tokens_before, self.tokens_after, percent(1 - self.compression_ratio)]


class Shorten:
    """Makes messages shorter, step by step. A pure function of messages and model; safe to share between threads.

    What was asked and instructed stays; the same messages give the same result in every process, and a result gives itself. A step that
    fails, or makes the prompt longer, is passed over.

    Args:
        steps: in the order in which they run; `History` runs before the others.
        max_input_tokens: of all messages. Where the steps leave more, the oldest turns go, then documents and results are cut.

    Raises:
        ConfigurationError: something that is no step, or a limit that is not positive.

    >>> shorten = Shorten.lossless()
    >>> shorten("Two   spaces,   please.").messages
    'Two spaces, please.'
    """

    def __init__(self, steps: Iterable[Step], *, max_input_tokens: int | None = None) -> None:
        given = (steps,) if isinstance(steps, Step) else tuple(steps)
        for step in given:
            if not isinstance(step, Step):
                raise ConfigurationError(f"steps must be steps, such as steps.Whitespace(), not {step!r}")
        # Whole turns go first, so that no "[as above]" refers to what is not there.
        self.steps = tuple(sorted(given, key=lambda step: not isinstance(step, History)))
        if max_input_tokens is not None and max_input_tokens < 1:
            raise ConfigurationError(f"max_input_tokens must be positive, not {max_input_tokens!r}")
        self.max_input_tokens = max_input_tokens
        self._identity = f"{_VERSION}: {' + '.join(step.identity() for step in self.steps)}; max_input_tokens={max_input_tokens}"

    @classmethod
    def lossless(cls, *, max_input_tokens: int | None = None) -> Shorten:
        """The steps that lose nothing: white space outside code, JSON in compact form, each document once."""
        return cls([Whitespace(), Compact(max_tokens=None, columns=False), Duplicates()], max_input_tokens=max_input_tokens)

    def identity(self) -> str:
        """A text that differs between two that may give different prompts: a part of a cache's key, and of a ledger's row."""
        return self._identity

    def __repr__(self) -> str:
        return f"Shorten([{', '.join(step.identity() for step in self.steps)}], max_input_tokens={self.max_input_tokens})"

    def __call__(self, messages: str | Iterable[Any], model: str | None = None) -> Shortened:
        """Shorten.

        Args:
            messages: a text, or dicts in the shape of OpenAI's chat.
            model: whose tokens count.

        Raises:
            PromptTooLongError: what must not be cut is longer than max_input_tokens.
        """
        is_text = isinstance(messages, str)
        given = messages_of(messages)
        run = Run(model=model, alone=is_text)
        size = _size_of_text if is_text else _Sizes().of
        before = size(given, model)
        current, tokens, reports = self._stepped(given, before, run, size)
        if self.max_input_tokens is not None and tokens > self.max_input_tokens:
            current = self._fitted(given, current, run)
            after = size(current, model)
            reports.append(StepReport("max_input_tokens", tokens, after))
            tokens = after
            if tokens > self.max_input_tokens:
                raise self._too_long(current, tokens, model)
        if is_text:
            result: Any = current[0]["content"]
        else:
            result = list(current)
        return Shortened(result, before, tokens, tuple(reports), self._identity, dict(run.failures))

    def _stepped(
        self, messages: Messages, tokens: int, run: Run, size: Callable[[Sequence[Any], str | None], int]
    ) -> tuple[Messages, int, list[StepReport]]:
        """The messages after all steps, their tokens, and what each step did."""
        reports: list[StepReport] = []
        current = messages
        failed: set[int] = set()
        for number in range(_ROUNDS):
            start = current
            for place, step in enumerate(self.steps):
                if place in failed:  # a model or an embedder that failed is not asked again for the same call
                    continue
                failures = run.failures.total()
                found = self._tried(step, current, run)
                if run.failures.total() > failures:
                    failed.add(place)
                after = tokens if found is current else size(found, run.model)
                if after > tokens and not step.lengthens and _chars(found) >= _chars(current):
                    found, after = current, tokens
                if number == 0:
                    reports.append(StepReport(step.name, tokens, after))
                elif after != tokens:  # what an earlier step finds in the results of a later one
                    reports[place:] = [_after_more(each, tokens - after, own=at == 0) for at, each in enumerate(reports[place:])]
                current, tokens = found, after
            if current is start or current == start:
                break
        return current, tokens, reports

    @staticmethod
    def _tried(step: Step, messages: Messages, run: Run) -> Messages:
        try:
            return step.apply(messages, run)
        except LLMThriftError:
            raise
        except Exception as error:  # nothing of ours may break a call that would have worked
            logger.warning("the step %s was passed over: %s", step.name, place_of(error))
            run.failures[step.name] += 1
            return messages

    def _fitted(self, given: Messages, messages: Messages, run: Run) -> Messages:
        """Without the oldest turns, then with documents and results cut, until it fits or nothing is left to cut."""
        most = self.max_input_tokens or 0
        size = _size_of_text if run.alone else tokens_of_messages
        for _ in range(_CUTS):  # of the messages as they were given, so that no "[as above]" refers to what is not there
            over = size(messages, run.model) - most
            kept = [message for message in read_messages(given, run.model) if message.role not in ("system", "developer")]
            allowed = sum(message.tokens for message in kept) - over
            if over <= 0 or (shorter := self._tried(History(max_tokens=max(1, allowed)), given, run)) is given:
                break
            given = shorter
            messages, _, _ = self._stepped(given, size(given, run.model), run, size)
        for _ in range(12):
            over = size(messages, run.model) - most
            if over <= 0:
                break
            longest = max((message.tokens for message in read_messages(messages, run.model) if _may_be_cut(message.by_part)), default=0)
            shorter = self._tried(Truncate(max(1, longest - max(over, 1))), messages, run)
            if shorter is messages:
                break
            messages = shorter
        return messages

    def _too_long(self, messages: Messages, tokens: int, model: str | None) -> PromptTooLongError:
        parts: dict[str, int] = {}
        for message in read_messages(messages, model):
            for part, size in message.by_part.items():
                name = _NAMES.get(part, part)
                parts[name] = parts.get(name, 0) + size
        return PromptTooLongError(self.max_input_tokens or 0, tokens, dict(sorted(parts.items(), key=lambda each: -each[1])))


def _after_more(report: StepReport, saved: int, *, own: bool) -> StepReport:
    return StepReport(report.name, report.before if own else report.before - saved, report.after - saved)


def _chars(messages: Sequence[Any]) -> int:
    return sum(len(text) for message in messages for text in texts_of(message))


def _may_be_cut(parts: Mapping[str, int]) -> bool:
    return any(part in parts for part in ("documents", "tool_results", "history", "question"))


class _Sizes:
    """Tokens of messages, most of which a step leaves as they are: each is counted once."""

    def __init__(self) -> None:
        self._counted: dict[int, tuple[Any, int]] = {}  # with the message, so that no other takes its place in memory

    def of(self, messages: Sequence[Any], model: str | None) -> int:
        """All tokens of the messages."""
        total = tokens_of_reply(model)
        for message in messages:
            known = self._counted.get(id(message))
            if known is None:
                known = self._counted[id(message)] = (message, tokens_of_message(message, model))
            total += known[1]
        return total


def _size_of_text(messages: Sequence[Any], model: str | None) -> int:
    content = messages[0]["content"] if messages else ""
    return tokens_of_text(content, model) if isinstance(content, str) else 0
