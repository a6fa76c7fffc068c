"""A check whether an answer is whole and good, by how its provider says that it ended. Only such an answer is kept.

Providers name the ends of answers in many ways. An end that is not known to be a whole answer's counts as none: to ask again costs one
call, while half an answer that is kept is served to everybody who asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Any, Final

from llmthrift_core.usage.block import field_of

_NAMES: Final = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason")
_LISTS: Final = ("choices", "candidates")
_INSIDE: Final = ("response", "data", "delta", "message", "messageStop")
_DEEPEST: Final = 3
# The Responses API says how a response stands, and then why. The first pieces of its streams say that they are under way.
UNDER_WAY: Final = frozenset({"in_progress", "queued"})
_STATES: Final = frozenset({"completed", "incomplete", "failed", "cancelled"}) | UNDER_WAY
_WHOLE: Final = (
    "stop", "end_turn", "stop_sequence", "stop_sequences", "tool_calls", "tool_call", "tool_use", "function_call", "complete", "completed",
    "eos", "eos_token", "end", "finished", "finish", "done", "success", "end_of_turn",
)  # fmt: skip
# Chunks of a stream may say it several times, and LangChain joins the texts.
_IS_WHOLE: Final = re.compile(f"(?:{'|'.join(_WHOLE)})+")
_GOOGLES: Final = {0: None, 1: "stop", 2: "max_tokens", 3: "safety", 4: "recitation"}
_CUT: Final = re.compile(r"length|max|limit|exceed|truncat|incomplete|not_finished|pause|timeout")
_FILTERED: Final = re.compile(r"filter|safety|recit|block|prohibit|refus|sensitive|spii|toxic|guardrail|interven|moderat")

# Whose clients tell of every whole answer how it ended, by the names of both frameworks: without a word of it, a stream was cut.
TELL_THE_END: Final = frozenset({
    "openai", "azure", "anthropic", "google_genai", "google_vertexai", "bedrock", "bedrock_converse", "mistralai", "xai", "deepseek",
})  # fmt: skip

CUT_OFF: Final = "the answer was cut off"
FILTERED: Final = "the answer was filtered or refused"
ENDED_BADLY: Final = "the answer did not end as a whole answer does"
BROKEN_CALL: Final = "the answer calls a tool with arguments that cannot be read"
EMPTY: Final = "the answer is empty"
UNENDED: Final = "the answer's stream stopped before its provider said that it had ended"


def ends_in(body: Any) -> list[str]:
    """How an answer ended, in the words of its provider: of each choice in a response, or of what a chunk of a stream tells.

    Args:
        body: a mapping or an object, such as a provider's response or LangChain's metadata of one.

    >>> ends_in({"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]})
    ['stop', 'length']
    >>> ends_in({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}})
    ['max_output_tokens']
    """
    return list(_ends(body, _DEEPEST))


def flaw_of(ends: Iterable[str], *, says: bool, calls_are_whole: bool = True, must_end: bool = False) -> str | None:
    """Why an answer must not be kept; None if it may be.

    Args:
        ends: from `ends_in`.
        says: it has a text, a call of a tool or anything else beside reasoning.
        calls_are_whole: the arguments of every call can be read.
        must_end: no end means that there is more. Else it means nothing: many clients never tell.

    >>> flaw_of(["length"], says=True), flaw_of(["STOP"], says=True)
    ('the answer was cut off', None)
    """
    words = [word.lower() for word in ends]
    for word in words:
        if _IS_WHOLE.fullmatch(word):
            continue
        return CUT_OFF if _CUT.search(word) else FILTERED if _FILTERED.search(word) else ENDED_BADLY
    if not calls_are_whole:
        return BROKEN_CALL
    if not says:
        return EMPTY
    return UNENDED if must_end and not words else None


def are_arguments(given: Any) -> bool:
    """Whether what a tool is called with can be read: a mapping, or the JSON of one. Nothing at all is no arguments.

    >>> are_arguments('{"x": 1}'), are_arguments('{"x": 1'), are_arguments("")
    (True, False, True)
    """
    if isinstance(given, str):
        if not given.strip():
            return True
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return False
    return given is None or isinstance(given, Mapping)


def _ends(body: Any, depth: int) -> Iterator[str]:
    if body is None or isinstance(body, str | int | float):
        return
    look: Callable[[str], Any] = body.get if isinstance(body, dict) else partial(field_of, body)
    for name in _NAMES:
        if (word := _word(look(name))) is not None:
            yield word
    if isinstance(status := look("status"), str) and status in _STATES:
        yield _word(field_of(look("incomplete_details"), "reason")) or status
    if isinstance(refusal := look("refusal"), str) and refusal:
        yield "refusal"
    if not depth:
        return
    for name in _LISTS:
        if isinstance(parts := look(name), list | tuple):
            for part in parts:
                yield from _ends(part, depth - 1)
    for name in _INSIDE:
        yield from _ends(look(name), depth - 1)


def _word(value: Any) -> str | None:
    if isinstance(value, Enum):
        value = value.name
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    if isinstance(value, int):
        return _GOOGLES.get(value, str(value))
    word = re.sub(r"[^a-z0-9]+", "_", value.rpartition(".")[2].strip().lower()).strip("_")
    return None if word in ("", "null", "none") or word.endswith("unspecified") else word
