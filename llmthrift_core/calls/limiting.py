"""The limit of one answer's length, and the retry of an answer that was paid and is empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.settings import is_observing

if TYPE_CHECKING:
    from llmthrift_core.prompts.early_stop import EarlyStop
    from llmthrift_core.prompts.output_limits import Effort, OutputLimits, OutputPlan, Retry
    from llmthrift_core.usage import Usage

# Models for which providers document a parameter `reasoning_effort` of chat completions (OpenAI "Reasoning models", xAI "Reasoning",
# Google "OpenAI compatibility"). The first o1 models, chat snapshots and "pro" models take none, or one value alone.
_TAKES_EFFORT: Final = re.compile(
    r"(?:^|/)(?!o1-(?:mini|preview)|\S*-(?:chat|pro)(?:-|$))(?:o\d|gpt-(?:[5-9]|\d\d)|gpt-oss|grok-3-mini|gemini-(?:2\.5|[3-9]))",
    re.IGNORECASE,
)
# "minimal" came with gpt-5 and went with gpt-5.1.
_TAKES_MINIMAL: Final = re.compile(r"(?:^|/)(?:gpt-5(?![.\d])|gemini-)", re.IGNORECASE)
_OPEN_END: Final = 1 << 40  # tokens: no cap of ours


@dataclass(frozen=True, slots=True)
class Came:
    """What came back, as a door reads it.

    Attributes:
        text: without thinking.
        says: there is anything beside thinking: a text, a tool call, a refusal, a picture.
        ends: how it ended, in the provider's words.
    """

    text: str
    says: bool
    ends: Sequence[str] = ()


class Limiting:
    """The limits of one request's answer.

    Args:
        limits: what is wanted.
        prompt: the messages in OpenAI's shape; called when they are needed.
        model_of: the name of a tier's model; None is the only model.
        own_limit: the longest answer that the application itself allows with a tier's model, or None. It is sent as it is.
        may_cap: whether a tier's model can be told a limit.
        may_weigh: whether the client of a tier's model takes an effort, and the application says none.
        is_shaped: tools or a schema decide what an answer is: it gets neither a cap nor an instruction.
        note: takes the failures of the limits. The request is then sent as it is.
    """

    __slots__ = ("_is_shaped", "_limits", "_may_cap", "_may_weigh", "_model_of", "_note", "_own_limit", "_plans", "_prompt", "_retries")

    def __init__(
        self,
        limits: OutputLimits,
        *,
        prompt: Callable[[], Any],
        model_of: Callable[[str | None], str],
        own_limit: Callable[[str | None], int | None],
        may_cap: Callable[[str | None], bool],
        may_weigh: Callable[[str | None], bool],
        is_shaped: Callable[[str | None], bool],
        note: Callable[[str, BaseException], None],
    ) -> None:
        self._limits, self._prompt, self._model_of, self._own_limit = limits, prompt, model_of, own_limit
        self._may_cap, self._may_weigh, self._is_shaped, self._note = may_cap, may_weigh, is_shaped, note
        self._plans: dict[str, OutputPlan | None] = {}
        self._retries: dict[str, Retry | None] = {}  # by model; None: it must not be asked again

    # --- what is sent ---

    def max_tokens(self, tier: str | None) -> int | None:
        """The limit to send to a tier's model; None: what the application says, be it nothing."""
        plan = self._plan(tier)
        if plan is None or not self._is_capped(tier):
            return None
        retry = self._retries.get(self._model_of(tier))
        return plan.max_tokens if retry is None else retry.max_tokens

    def reserved_tokens(self, tier: str | None) -> int | None:
        """The longest answer that is to be paid for; None: the limit does not say it."""
        plan = self._plan(tier)
        return None if plan is None or not plan.bounds_thinking else self.max_tokens(tier)

    def instruction(self, tier: str | None) -> str:
        """The sentence that tells a tier's model how long its answer may be; empty: there is none."""
        plan = self._plan(tier)
        return "" if plan is None else plan.instruction

    def effort(self, tier: str | None) -> Effort | None:
        """The effort to send to a tier's model; None: what the application says, be it nothing."""
        if (plan := self._plan(tier)) is None:
            return None
        retry = self._retries.get(self._model_of(tier))
        return plan.effort if retry is None or retry.effort is None else retry.effort

    # --- what came ---

    def is_paid_for_nothing(self, tier: str | None, came: Came, usage: Usage | None) -> bool:
        """Whether an answer was paid, is empty, and may be asked for again."""
        return self._retry(tier, came, usage) is not None

    def ask_again(self, tier: str | None, came: Came, usage: Usage | None) -> bool:
        """Prepare the limits of a second attempt. False: there is to be none."""
        if (retry := self._retry(tier, came, usage)) is None:
            return False
        self._retries[self._model_of(tier)] = retry
        return True

    def give_up(self, tier: str | None) -> None:
        """There is no second attempt after all."""
        self._retries[self._model_of(tier)] = None

    def early_stop(self) -> EarlyStop | None:
        """What ends the stream of one answer; None: nothing does."""
        if self._limits.early_stop is None or is_observing():
            return None
        try:
            return self._limits.early_stop()
        except Exception as error:  # a function of the application's
            self._note("output", error)
            return None

    def has_enough(self, stop: EarlyStop, text: str) -> bool:
        """Whether a stream may end, a piece of whose text has come."""
        try:
            return stop.add(text)
        except Exception as error:  # a predicate of the application's
            self._note("output", error)
            return False

    def _retry(self, tier: str | None, came: Came, usage: Usage | None) -> Retry | None:
        from llmthrift_core.prompts.output_limits import Answered

        model = self._model_of(tier)
        plan = self._plan(tier)
        if plan is None or usage is None or model in self._retries:
            return None
        answered = Answered(came.text, usage.output_tokens, usage.reasoning_tokens, came.ends[-1] if came.ends else None, came.says)
        retry = self._limits.retry(plan, answered)
        if retry is not None and retry.effort == "minimal" and not _TAKES_MINIMAL.search(model):
            retry = self._limits.retry(replace(plan, effort=None), answered)
        if retry is not None and retry.effort is None and not self._is_capped(tier):
            return None  # a higher limit would be the application's own
        return retry

    def _is_capped(self, tier: str | None) -> bool:
        return self._may_cap(tier) and not self._is_shaped(tier) and self._own_limit(tier) is None

    def _plan(self, tier: str | None) -> OutputPlan | None:
        if is_observing():
            return None
        model = self._model_of(tier)
        if model not in self._plans:
            self._plans[model] = None
            try:
                self._plans[model] = self._made(tier, model)
            except Exception as error:  # a longer answer is no reason to break a call
                self._note("output", error)
        return self._plans[model]

    def _made(self, tier: str | None, model: str) -> OutputPlan:
        own = self._own_limit(tier)
        plan = self._limits.plan(self._prompt(), model, max_tokens=own)
        if not (_TAKES_EFFORT.search(model) and self._may_weigh(tier)):
            plan = replace(plan, effort=None)
        if self._is_shaped(tier):
            plan = replace(plan, instruction="", max_tokens=own or _OPEN_END)
        return plan


def limits_of(asked: Any, own: OutputLimits | None) -> OutputLimits | None:
    """The limits of one call.

    Args:
        asked: of the call: "off", other limits, or None for those of its door.
        own: of the door.

    Raises:
        ConfigurationError: something else.
    """
    if asked is None:
        return own
    if asked == "off":
        return None
    return checked(asked)


def checked(limits: Any) -> OutputLimits | None:
    """Limits that a door is given, or None.

    Raises:
        ConfigurationError: something else.
    """
    if limits is None:
        return None
    from llmthrift_core.prompts.output_limits import OutputLimits

    if not isinstance(limits, OutputLimits):
        raise ConfigurationError(f'output must be an OutputLimits, such as output=OutputLimits(), or per call "off"; not {limits!r}')
    return limits
