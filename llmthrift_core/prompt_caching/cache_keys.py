"""`CacheKeys`: OpenAI's `prompt_cache_key` for each request, so that equal prefixes meet and no key gets too many requests.

OpenAI sends requests with the same beginning and key to the same machine, as long as they are under about 15 a minute; what comes above
that goes elsewhere, where nothing is kept. So a prefix has one key, and further ones when its requests become too many. A conversation
stays with its key.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from hashlib import blake2b
from typing import Final

from llmthrift_core.background.forks import ForkedLock

_MOST_PREFIXES: Final = 1_024
_MOST_CONVERSATIONS: Final = 10_000
_MINUTE_SECONDS: Final = 60.0
PER_MINUTE: Final = 14
"""Requests a minute for one key: OpenAI asks for less than about 15."""
# New conversations leave room for what those with a key say next.
_FOR_NEW: Final = 0.6


class CacheKeys:
    """Keys by prefix. Bounded: the prefixes and conversations that were not used for longest are forgotten.

    Args:
        per_minute: how many requests a minute one key gets at most.

    Attributes:
        is_used: a key was asked for.
    """

    def __init__(self, *, per_minute: int = PER_MINUTE) -> None:
        self._per_minute = per_minute
        self._sharing = 1
        self.is_used = False
        self._sent: OrderedDict[str, list[deque[float]]] = OrderedDict()
        self._conversations: OrderedDict[tuple[str, Hashable], int] = OrderedDict()
        self._lock = ForkedLock()

    def share_among(self, processes: int) -> None:
        """Other processes send with the same keys: each takes its part of the requests that a key may get."""
        self._sharing = max(1, processes)

    def of(self, model: str, prefix: Hashable, conversation: Hashable, *, at: float) -> str:
        """The key of a request: at most 64 characters, of which none is of the prompt.

        Args:
            model: its name.
            prefix: what begins alike in many conversations, such as a hash of tools and system prompt.
            conversation: what its own history begins with.
            at: seconds.
        """
        name = blake2b(repr((model, prefix)).encode(), digest_size=12).hexdigest()
        most = max(1, self._per_minute // self._sharing)
        self.is_used = True
        with self._lock:
            keys = self._sent.setdefault(name, [])
            self._sent.move_to_end(name)
            for times in keys:
                while times and not 0 <= at - times[0] < _MINUTE_SECONDS:
                    times.popleft()
            talk = name, conversation
            number = self._conversations.get(talk)
            if number is None or number >= len(keys) or len(keys[number]) >= most:
                number = _fullest(keys, most if number is not None else max(1, int(most * _FOR_NEW)))
                if number == len(keys):
                    keys.append(deque())
            keys[number].append(at)
            self._conversations[talk] = number
            self._conversations.move_to_end(talk)
            while len(self._conversations) > _MOST_CONVERSATIONS:
                self._conversations.popitem(last=False)
            while len(self._sent) > _MOST_PREFIXES:
                self._sent.popitem(last=False)
        return f"llmthrift-{name}-{number}"


def _fullest(keys: list[deque[float]], most: int) -> int:
    """The key that is used most of those with room, so that few are in use; a new one where none has room."""
    with_room = [number for number, times in enumerate(keys) if len(times) < most]
    return max(with_room, key=lambda number: (len(keys[number]), -number), default=len(keys))
