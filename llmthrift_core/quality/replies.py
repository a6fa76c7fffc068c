"""What a judge is shown, and how its reply is read.

An answer under judgement is data, and may be hostile: it may order a score, imitate the prompt's structure, or hold a ready-made verdict
that the judge repeats. Two things stand against that. Every text stands between delimiters that carry a code; and a reply counts only if
the whole of it is one verdict that repeats the code. The code is a hash of the texts, so that no text can hold its own. This stops echoes
and dictated replies. It does not stop a text that persuades the judge: for that, take a stronger judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final

from llmthrift_core.errors import JudgeError

_CODE_BYTES: Final = 6
_MOST_REASON: Final = 500
_MOST_REPLY: Final = 20_000
_THOUGHTS: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)  # some servers send a reasoning model's thoughts along
_FENCE: Final = re.compile(r"\A```(?:json)?\s*\n(.*)\n\s*```\Z", re.DOTALL)


def code_of(texts: Iterable[str]) -> str:
    """Twelve hexadecimal digits that the texts cannot know."""
    digest = blake2b(digest_size=_CODE_BYTES)
    for text in texts:
        part = text.encode("utf-8", "surrogatepass")
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def shown(texts: Mapping[str, str], code: str, most_chars: int) -> str:
    """The texts by name, between delimiters. Of a longer one its two ends are shown.

    >>> print(shown({"answer": "It is 42."}, "c0de", 100))
    <answer c0de>
    It is 42.
    </answer c0de>
    """
    return "\n\n".join(f"<{name} {code}>\n{_ends(text, most_chars)}\n</{name} {code}>" for name, text in texts.items())


def read_reply(reply: str, *, code: str, field: str) -> tuple[Any, str]:
    """The verdict and its reason, from `{"code": ..., field: ..., "reason": ...}` or `CODE VERDICT`.

    >>> read_reply('{"code": "c0de", "reason": "clear", "score": 9}', code="c0de", field="score")
    (9, 'clear')
    >>> read_reply("c0de 9", code="c0de", field="score")
    ('9', '')

    Raises:
        JudgeError: anything else.
    """
    if len(reply) > _MOST_REPLY:
        raise _unreadable(f"it has {len(reply):,} characters")
    text = _THOUGHTS.sub("", reply, count=1).strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    if not text.startswith("{"):
        words = text.split()
        if len(words) != 2 or words[0] != code:
            raise _unreadable("it is neither a JSON object nor the code and a verdict")
        return words[1], ""
    try:
        verdict = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _unreadable("it is not one JSON object") from None
    if verdict.get("code") != code:
        raise _unreadable("it does not repeat the code: it may have been dictated by a text under judgement")
    if field not in verdict:
        raise _unreadable(f"it has no {field!r}")
    reason = verdict.get("reason")
    return verdict[field], reason[:_MOST_REASON] if isinstance(reason, str) else ""


def unreadable_verdict(verdict: Any, expected: str) -> JudgeError:
    """The error for a verdict that is none."""
    return _unreadable(f"its verdict is {str(verdict)[:40]!r}, not {expected}")


def _unreadable(why: str) -> JudgeError:
    return JudgeError(f"the judge's reply cannot be read: {why}", kind="unreadable")


def _ends(text: str, most_chars: int) -> str:
    if len(text) <= most_chars:
        return text
    half = most_chars // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters are left out here]\n{text[-half:]}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(constant)
