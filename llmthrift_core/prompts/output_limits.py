"""`OutputLimits`: how long an answer may be, and what to do where one was paid and is empty."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts.messages import messages_of, question_index, text_of

if TYPE_CHECKING:
    from llmthrift_core.prompts.early_stop import EarlyStop

Effort = Literal["minimal", "low", "medium", "high"]
Shape = Literal["all_reasoning", "cut_while_thinking", "cap_ignored"]

CAPS: Final[Mapping[str, int]] = MappingProxyType(
    {"classification": 50, "extraction": 200, "summary": 300, "explanation": 500, "generation": 1_000, "unknown": 500}
)
"""Tokens of an answer by task."""
WORDS_PER_TOKEN: Final = 0.75
_EFFORTS: Final[tuple[Effort, ...]] = ("minimal", "low", "medium", "high")
_HEADROOM: Final = 4_000  # tokens of thinking that are set aside beside the answer
_RAISED: Final = 3  # times the limit, in a retry
_IGNORED: Final = 1.2  # an answer so much longer than its limit ignored it; less is rounding
# Models that think before they answer, by their names.
_REASONING: Final = re.compile(
    r"(?:^|/)(?:o\d|gpt-(?:[5-9]|\d\d)|gemini-(?:2\.5|[3-9])|claude-(?:3-7|(?:opus|sonnet|haiku)-[4-9])"
    r"|deepseek-(?:reasoner|r\d)|"
    r"grok-(?:3-mini|[4-9])"
    r"|magistral|qwq|qwen3)|reason|think",
    re.IGNORECASE,
)
# Google, "Thinking": max_output_tokens of Gemini counts thoughts and answer together and bounds the answer alone.
_UNBOUNDED_THINKING: Final = re.compile(r"gemini", re.IGNORECASE)
_TASKS: Final = (
    (
        "classification",
        r"\b(?:classif\w*|categori[sz]e|which (?:category|label)|sentiment|yes or no|true or false|klassifizier\w*|clasific\w*)\b|分类",
    ),
    (
        "extraction",
        r"\b(?:extract|pull out|find all|list (?:all|the) (?:names|dates|numbers|emails)|extrahier\w*|extrae\w*|extrais)\b|提取",
    ),
    ("summary", r"\b(?:summar\w*|tl;?dr|zusammenfass\w*|fasse|resum\w*|résum\w*)\b|总结|摘要"),
    (
        "explanation",
        r"\b(?:explain|why|how (?:does|do|is|are)|describe|compare|erklär\w*|warum|explica\w*|por qué|expliqu\w*|pourquoi)\b|解释|为什么",
    ),
    (
        "generation",
        r"\b(?:write|draft|compose|create|generate|implement|schreib\w*|verfass\w*|escrib\w*|genera|rédige\w*|écri\w*)\b|写|生成",
    ),
)
_PATTERNS: Final = tuple((task, re.compile(pattern, re.IGNORECASE)) for task, pattern in _TASKS)


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """How long an answer may be.

    Attributes:
        task: what kind of answer is asked for.
        answer_tokens: what the answer may have.
        max_tokens: to send as the limit: the answer, and for reasoning models room to think.
        instruction: the sentence that tells the model; it is the only bound where the limit does not bound thinking.
        effort: to send to a reasoning model; None: the model takes none.
        bounds_thinking: the provider counts thinking within the limit.
    """

    task: str
    answer_tokens: int
    max_tokens: int
    instruction: str
    effort: Effort | None = None
    bounds_thinking: bool = True


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back, as far as it matters here.

    Attributes:
        text: of the answer, without thinking.
        output_tokens: billed, thinking included; None: not told.
        reasoning_tokens: of them thinking.
        finish_reason: as the provider calls it.
        has_tool_calls: an answer without a text that calls tools is no empty one.
    """

    text: str
    output_tokens: int | None = None
    reasoning_tokens: int = 0
    finish_reason: str | None = None
    has_tool_calls: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """How to ask once more.

    Attributes:
        max_tokens: the limit to send.
        effort: the effort to send; None: as before.
        why: in words.
    """

    max_tokens: int
    effort: Effort | None
    why: str


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Limits for answers, by task.

    Args:
        caps: tokens by task; what is not named has its usual cap.
        instruct: the prompt says how many words are wanted.
        effort: of reasoning models; None leaves it as it is.
        headroom_tokens: room for thinking beside the answer.
        early_stop: makes what ends the stream of one answer, such as `lambda: EarlyStop(json=True)`. Doors ask for one per stream.

    Raises:
        ConfigurationError: a task that is not known, or a cap that is not positive.

    >>> plan = OutputLimits().plan("Summarize the report.", "gpt-4o")
    >>> plan.task, plan.max_tokens, plan.instruction
    ('summary', 300, 'Answer in at most 225 words.')
    """

    caps: Mapping[str, int] = field(default_factory=dict)
    instruct: bool = True
    effort: Effort | None = "low"
    headroom_tokens: int = _HEADROOM
    early_stop: Callable[[], EarlyStop] | None = None

    def __post_init__(self) -> None:
        for task, cap in self.caps.items():
            if task not in CAPS:
                raise ConfigurationError(f"caps are for {', '.join(CAPS)}, not {task!r}")
            if not isinstance(cap, int) or cap < 1:
                raise ConfigurationError(f"the cap of {task} must be a positive number of tokens, not {cap!r}")
        if self.effort is not None and self.effort not in _EFFORTS:
            raise ConfigurationError(f"effort must be one of {', '.join(_EFFORTS)}, not {self.effort!r}")
        if self.headroom_tokens < 0:
            raise ConfigurationError(f"headroom_tokens must not be negative, but is {self.headroom_tokens!r}")

    def identity(self) -> str:
        """A text that differs between two that may limit differently: a part of a cache's key, and of a ledger's row."""
        caps = ",".join(f"{task}={cap}" for task, cap in sorted({**CAPS, **self.caps}.items()))
        return f"output/1: {caps}; instruct={self.instruct}; effort={self.effort}; headroom={self.headroom_tokens}"

    def plan(self, messages: Any, model: str | None = None, *, task: str | None = None, max_tokens: int | None = None) -> OutputPlan:
        """The limits of a call.

        Args:
            messages: a text, or dicts in the shape of OpenAI's chat.
            task: a name of `CAPS`; None: judged by the last question.
            max_tokens: of the caller, which is never raised.
        """
        if task is not None and task not in CAPS:
            raise ConfigurationError(f"task must be one of {', '.join(CAPS)}, not {task!r}")
        task = task or task_of(messages)
        answer = self.caps.get(task, CAPS[task])
        thinks = is_reasoning(model)
        most = answer + (self.headroom_tokens if thinks else 0)
        if max_tokens is not None:
            answer, most = min(answer, max_tokens), min(most, max_tokens)
        return OutputPlan(
            task=task,
            answer_tokens=answer,
            max_tokens=most,
            instruction=instruction_for(answer) if self.instruct else "",
            effort=self.effort if thinks else None,
            bounds_thinking=not (thinks and _UNBOUNDED_THINKING.search(model or "")),
        )

    def retry(self, plan: OutputPlan, answered: Answered, *, attempts: int = 1, affordable_tokens: int | None = None) -> Retry | None:
        """How to ask again for an answer that was paid and is empty; None: not at all.

        Once: at the next lower effort where there is one, else with a higher limit.

        Args:
            attempts: so many were made.
            affordable_tokens: what the budget has room for; None: no budget.
        """
        shape = shape_of_empty(plan, answered)
        if shape is None or shape == "cap_ignored" or attempts > 1:
            return None  # an answer that ignored its limit is there, and asking again would cost as much
        lower = _lower(plan.effort)
        most = plan.max_tokens if lower is not None else plan.max_tokens * _RAISED
        if affordable_tokens is not None and most > affordable_tokens:
            return None
        how = f"effort {lower}" if lower is not None else counted(most, "token")
        return Retry(
            most,
            lower,
            f"{counted(answered.output_tokens or 0, 'token was', 'tokens were')} paid for no answer ({shape}): once more with {how}",
        )


def task_of(messages: Any) -> str:
    """The kind of answer that the last question asks for.

    >>> task_of("Classify this review."), task_of("Hello")
    ('classification', 'unknown')
    """
    listed = messages_of(messages)
    asked = question_index(listed)
    text = text_of(listed[asked]) if asked is not None else ""
    text = text if len(text) <= 2_000 else f"{text[:1_000]}\n{text[-1_000:]}"  # instructions stand at the ends
    found = [(match.start(), task) for task, pattern in _PATTERNS if (match := pattern.search(text)) is not None]
    return min(found)[1] if found else "unknown"


def instruction_for(tokens: int) -> str:
    """What to tell the model: three words for four tokens."""
    return f"Answer in at most {max(1, math.floor(tokens * WORDS_PER_TOKEN)):,} words."


def is_reasoning(model: str | None) -> bool:
    """Whether a model of this name thinks before it answers, and bills it.

    >>> is_reasoning("openai/o3-mini"), is_reasoning("gpt-4o"), is_reasoning("gpt-5-nano")
    (True, False, True)
    """
    return bool(model) and _REASONING.search(model or "") is not None


def shape_of_empty(plan: OutputPlan, answered: Answered) -> Shape | None:
    """Which of three ways an answer was paid for nothing; None: it was not.

    "all_reasoning": all that was billed is thinking. "cut_while_thinking": the limit was reached with nothing but thinking.
    "cap_ignored": more was billed than the limit allows.
    """
    billed = answered.output_tokens
    is_empty = not answered.text.strip() and not answered.has_tool_calls
    was_cut = str(answered.finish_reason or "").lower().rsplit(".", 1)[-1] in ("length", "max_tokens", "max_output_tokens")
    if is_empty and was_cut and (answered.reasoning_tokens > 0 or (billed or 0) > 0):
        return "cut_while_thinking"
    if is_empty and billed and answered.reasoning_tokens >= billed:
        return "all_reasoning"
    if billed is not None and billed > _IGNORED * plan.max_tokens:
        return "cap_ignored"
    return None


def _lower(effort: Effort | None) -> Effort | None:
    if effort is None or effort == _EFFORTS[0]:
        return None
    return _EFFORTS[_EFFORTS.index(effort) - 1]
