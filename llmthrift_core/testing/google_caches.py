"""Gemini's explicit caches at the loopback provider: created, renewed, read and deleted by name, each for its time to live."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llmthrift_core.prompt_caching.terms import terms_of
from llmthrift_core.testing import google_wire
from llmthrift_core.testing.answers import Answer, count_exchange


@dataclass(slots=True)
class KeptContent:
    """One cache.

    Attributes:
        body: what is kept.
        tokens: of it.
        until: when it expires, in seconds.
    """

    name: str
    body: Mapping[str, Any]
    tokens: int
    created: float
    until: float

    @property
    def token_seconds(self) -> float:
        """What its storage is billed for."""
        return self.tokens * (self.until - self.created)


class GoogleCaches:
    """The caches.

    Attributes:
        log: every one that was made, also those that are gone.
        refuse: answer every wish for a new one with an error.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, KeptContent] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.log: list[KeptContent] = []
        self.refuse = False

    def clear(self) -> None:
        """Keep nothing any more."""
        with self._lock:
            self._kept.clear()
            self.log.clear()

    def take(self, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
        """A request with what its cache holds before it, and how many tokens that is.

        Raises:
            ValueError: there is no such cache any more, or the request repeats what belongs into it.
        """
        if not (name := body.get("cachedContent")):
            return body, 0
        if any(body.get(each) for each in ("systemInstruction", "tools", "toolConfig")):
            raise ValueError("CachedContent can not be used with GenerateContent request setting system_instruction, tools or tool_config.")
        with self._lock:
            kept = self._live(name)
        contents = [*(kept.body.get("contents") or ()), *(body.get("contents") or ())]
        return {**kept.body, **body, "contents": contents}, kept.tokens

    def reply(self, method: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request about caches.

        Raises:
            ValueError: what is to be kept is too short, or there is no such cache.
        """
        with self._lock:
            if method == "POST":
                return self._told(self._create(body))
            kept = self._live(name)
            if method == "PATCH":
                kept.until = self._clock() + _seconds(body)
            elif method == "DELETE":
                kept.until = min(kept.until, self._clock())
                del self._kept[name]
                return {}
            return self._told(kept)

    def _create(self, body: Mapping[str, Any]) -> KeptContent:
        model = str(body["model"]).rpartition("/")[2]
        tokens, _ = count_exchange(google_wire.read({**body, "model": model}), Answer())
        if self.refuse:
            raise ValueError("no cache is made now")
        terms = terms_of(model, "google")
        if terms is not None and tokens < terms.min_tokens:
            raise ValueError(f"Cached content is too small. total_token_count={tokens}, min_total_token_count={terms.min_tokens}")
        now, name = self._clock(), f"cachedContents/loopback{next(self._numbers)}"
        kept = KeptContent(
            name, {key: body[key] for key in ("systemInstruction", "contents", "tools", "toolConfig") if key in body}, tokens, now, 0.0
        )
        kept.until = now + _seconds(body)
        self._kept[name] = kept
        self.log.append(kept)
        return kept

    def _live(self, name: str) -> KeptContent:
        kept = self._kept.get(name)
        if kept is None or kept.until < self._clock():
            raise ValueError(f"CachedContent not found (or permission denied): {name}")
        return kept

    def _told(self, kept: KeptContent) -> dict[str, Any]:
        return {
            "name": kept.name,
            "createTime": _moment(kept.created),
            "expireTime": _moment(kept.until),
            "usageMetadata": {"totalTokenCount": kept.tokens},
        }


def _seconds(body: Mapping[str, Any]) -> float:
    return float(str(body.get("ttl") or "3600s").removesuffix("s"))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
