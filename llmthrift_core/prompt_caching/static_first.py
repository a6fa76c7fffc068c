"""`StaticFirst`: which sentences of a system prompt change from request to request, and stand before what stays.

A provider reads a prompt from its cache up to the first difference. A date at the beginning of a system prompt costs all that follows.
What changes is found by comparing prompts of one call site, sentence by sentence; no list of words says what a date is.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from hashlib import blake2b
from typing import Final, NamedTuple

from llmthrift_core.background.forks import ForkedLock

_SENTENCE: Final = re.compile(r".+?(?:\n+|(?<=[.!?])[ \t]+|\Z)", re.DOTALL)
_MOST_SITES: Final = 1_000
_MOST_SENTENCES: Final = 2_000
# A prompt of which more than so much is new is another prompt, and says nothing about the one before.
_SAME: Final = 0.5
# So much that stays must follow for a change to be worth a word: about the shortest prefix that providers keep.
_WORTH_CHARS: Final = 4_000
_TOLD_AFTER: Final = 2


class Volatile(NamedTuple):
    """A system prompt whose changing part stands before what stays.

    Attributes:
        at_chars: where the first change stands.
        behind_chars: how much that stays follows it.
        stays, changes: the same sentences, apart.
        is_told: it has happened often enough to tell the user, for the first time.
    """

    at_chars: int
    behind_chars: int
    stays: str
    changes: str
    is_told: bool


class StaticFirst:
    """What was seen of the system prompts of each call site, as hashes of sentences. Bounded."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str | None, set[bytes]] = OrderedDict()
        self._changes: dict[str | None, int] = {}
        self._lock = ForkedLock()

    def look(self, site: str | None, text: str, *, learn: bool = True) -> Volatile | None:
        """Compare a system prompt with the last one of its call site; None where nothing changes before what stays.

        Args:
            site: the call site.
            text: the system prompt.
            learn: remember it for the next one.
        """
        sentences = _SENTENCE.findall(text)
        if not sentences or len(sentences) > _MOST_SENTENCES:
            return None
        names = [blake2b(sentence.strip().encode("utf-8", "surrogatepass"), digest_size=8).digest() for sentence in sentences]
        with self._lock:
            seen = self._seen.get(site)
            if learn:
                self._seen[site] = set(names)
                self._seen.move_to_end(site)
                if len(self._seen) > _MOST_SITES:
                    self._changes.pop(self._seen.popitem(last=False)[0], None)
            if seen is None:
                return None
            changes = [name not in seen for name in names]
            stays = sum(len(sentence) for sentence, is_new in zip(sentences, changes, strict=True) if not is_new)
            if not any(changes) or stays < _SAME * len(text):
                return None
            first = changes.index(True)
            at = sum(map(len, sentences[:first]))
            behind = stays - at
            if behind < _WORTH_CHARS:
                return None
            if learn:
                self._changes[site] = self._changes.get(site, 0) + 1
            is_told = learn and self._changes[site] == _TOLD_AFTER
        kept, moved = (
            "".join(sentence for sentence, is_new in zip(sentences, changes, strict=True) if is_new is wanted) for wanted in (False, True)
        )
        return Volatile(at, behind, kept.strip(), moved.strip(), is_told)
