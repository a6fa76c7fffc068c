"""The prompt caches of the loopback provider: what a request reads and writes, counted as Anthropic, Bedrock and OpenAI count it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from llmthrift_core.prompt_caching.terms import terms_of
from llmthrift_core.testing import anthropic_wire, bedrock_wire, openai_wire
from llmthrift_core.testing.answers import TOKEN, Question, count_tokens

_MARK: Final = "cache_control"
_BREAKPOINT: Final = "prompt_cache_breakpoint"
_MOST_MARKS: Final = 4
_LOOKS_BACK: Final = 20  # Anthropic asks for a kept prefix at each mark and at as many blocks before it
_LIVES: Final[Mapping[str, float]] = {"5m": 300.0, "1h": 3_600.0}
_UNMARKABLE: Final = frozenset({"thinking", "redacted_thinking"})
_STEP_TOKENS: Final = 128  # OpenAI keeps prefixes that end at the minimum, and at each such step behind it
_A_DAY: Final = 86_400.0


class Cached(NamedTuple):
    """What one request took from the prompt cache and left in it, in tokens. `written` is for any life, `written_1h` a part of it."""

    read: int = 0
    written: int = 0
    written_1h: int = 0


@dataclass(frozen=True, slots=True)
class _Block:
    """A part of a prompt in the order in which it is read: the prefix up to its end as a digest and in tokens; its mark's life."""

    digest: bytes
    reached: int
    life: str | None


class PromptCaches:
    """Prefixes that are kept, by model, each for its life after it was last written or read.

    Minimums and OpenAI's lives are those of `terms_of`; of a model that it does not know nothing is kept. Nothing is dropped early.

    Args:
        clock: seconds; a test may give one that it moves.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until: dict[tuple[str, bytes], tuple[float, float]] = {}  # and the life that a read gives again
        self._fingerprints: dict[str, tuple[str, list[str]]] = {}
        self._lock = threading.Lock()

    def diagnose(self, identity: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Anthropic's comparison of a request with the one that it names; None for one that asks for none.

        Args:
            identity: of the answer, by which the next request may name this one.
        """
        if "diagnostics" not in body:
            return None
        told: dict[str, Any] = {"cache_miss_reason": None}
        parts = [_plain(body.get("tools") or []), _plain(body.get("system") or []), *map(_plain, body["messages"])]
        before = self._fingerprints.get(str((body["diagnostics"] or {}).get("previous_message_id")))
        self._fingerprints[identity] = str(body["model"]), parts
        if (body["diagnostics"] or {}).get("previous_message_id") is None:
            return told
        if before is None:
            return {"cache_miss_reason": {"type": "previous_message_not_found"}}
        model, earlier = before
        if model != body["model"]:
            kind = "model_changed"
        else:
            changed = next((number for number, (one, other) in enumerate(zip(earlier, parts, strict=False)) if one != other), None)
            if changed is None and len(parts) >= len(earlier):
                return told
            kind = {0: "tools_changed", 1: "system_changed"}.get(len(parts) if changed is None else changed, "messages_changed")
        missed = sum(count_tokens(part) for part in earlier)
        return {"cache_miss_reason": {"type": kind, "cache_missed_input_tokens": missed}}

    def clear(self) -> None:
        """Keep nothing any more."""
        with self._lock:
            self._until.clear()
            self._fingerprints.clear()

    def take_anthropic(self, body: Mapping[str, Any]) -> Cached:
        """Count a messages request: what was marked before is read, what is marked now is written.

        Raises:
            ValueError: more than four marks, a mark where none may be, or one of an hour behind one of five minutes.
        """
        return self._take_marked(str(body["model"]), "anthropic", list(_anthropic_blocks(body)))

    def take_bedrock(self, body: Mapping[str, Any]) -> Cached:
        """Count a Converse request: as Anthropic's, by its cache points.

        Raises:
            ValueError: more than four cache points, or one of an hour behind one of five minutes.
        """
        return self._take_marked(str(body["model"]), "aws", list(_bedrock_blocks(body)))

    def _take_marked(self, model: str, provider: str, blocks: list[_Block]) -> Cached:
        marks = [index for index, block in enumerate(blocks) if block.life is not None]
        _check(blocks, marks)
        terms = terms_of(model, provider)
        if terms is None:
            return Cached()
        with self._lock:
            now = self._clock()
            read_to = max((self._kept_before(model, blocks, mark, now) for mark in marks), default=-1)
            read = blocks[read_to].reached if read_to >= 0 else 0
            long = written = read
            for mark in marks:
                block = blocks[mark]
                if block.reached < terms.min_tokens or block.life is None:
                    continue
                if mark > read_to:
                    written = block.reached
                    long = block.reached if block.life == "1h" else long
                self._keep(model, block.digest, now, max(_LIVES[block.life], self._life(model, block.digest, now)))
        return Cached(read, written - read, long - read)

    def take_openai(self, body: Mapping[str, Any], question: Question) -> Cached:
        """Count a request of OpenAI's: the longest prefix that was sent before with the same `prompt_cache_key` is read, the rest kept.

        Where writes are charged for, `prompt_cache_options={"mode": "explicit"}` keeps and reads what ends at breakpoints alone.
        """
        model = question.model
        terms = terms_of(model, "openai")
        if terms is None:
            return Cached()
        life = _A_DAY if body.get("prompt_cache_retention") == "24h" else terms.ttl_seconds
        key = str(body.get("prompt_cache_key") or "")
        ends = None
        if terms.write != 1.0 and (body.get("prompt_cache_options") or {}).get("mode") == "explicit":
            ends = [end for end in _breakpoints(body, question) if end >= terms.min_tokens]
        prefixes = list(_openai_prefixes(question, key, terms.min_tokens, ends))
        with self._lock:
            now = self._clock()
            read = max((reached for digest, reached in prefixes if self._is_kept(model, digest, now)), default=0)
            for digest, _ in prefixes[-_MOST_MARKS:] if ends is not None else prefixes:
                self._keep(model, digest, now, life)
        # Writes are counted where they are charged for.
        written = prefixes[-1][1] - read if prefixes and terms.write != 1.0 else 0
        return Cached(read, written)

    def _kept_before(self, model: str, blocks: list[_Block], mark: int, now: float) -> int:
        """The last block up to a mark whose prefix is kept, made to live on; -1 for none."""
        for index in range(mark, max(-1, mark - _LOOKS_BACK - 1), -1):
            digest = blocks[index].digest
            if self._is_kept(model, digest, now):
                self._keep(model, digest, now, self._life(model, digest, now))
                return index
        return -1

    def _is_kept(self, model: str, digest: bytes, now: float) -> bool:
        return self._until.get((model, digest), (now - 1.0, 0.0))[0] >= now

    def _life(self, model: str, digest: bytes, now: float) -> float:
        return self._until[model, digest][1] if self._is_kept(model, digest, now) else 0.0

    def _keep(self, model: str, digest: bytes, now: float, life: float) -> None:
        self._until[model, digest] = now + life, life


def _check(blocks: list[_Block], marks: list[int]) -> None:
    if len(marks) > _MOST_MARKS:
        raise ValueError(f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {len(marks)}.")
    lives = [blocks[mark].life for mark in marks]
    if "5m" in lives and "1h" in lives[lives.index("5m") :]:
        raise ValueError("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def _anthropic_blocks(body: Mapping[str, Any]) -> Iterator[_Block]:
    """Tools, system, messages. A choice of tools or of thinking changes what was read of the messages, and nothing before them."""
    parts: list[tuple[str, Any, int]] = [
        ("tool", tool, count_tokens(tool["name"] + json.dumps(tool.get("input_schema") or {}))) for tool in body.get("tools") or ()
    ]
    if body.get("system"):
        parts += _parts("system", body["system"])
    chosen = json.dumps([body.get("tool_choice"), body.get("thinking")], sort_keys=True)
    for message in body["messages"]:
        parts += _parts(f"{message['role']}{chosen}", message["content"])
    reached, hashed = 0, blake2b(digest_size=16)
    automatic = _life_of(body)  # asks for a mark on the last block
    for number, (place, block, tokens) in enumerate(parts, 1):
        life = _life_of(block) or (automatic if number == len(parts) else None)
        if life is not None and (block.get("type") in _UNMARKABLE or block.get("text") == ""):
            raise ValueError("cache_control cannot be set for thinking blocks and empty text blocks")
        reached += tokens
        hashed.update(json.dumps([place, _without_marks(block)], sort_keys=True).encode())
        yield _Block(hashed.digest(), reached, life)


def _bedrock_blocks(body: Mapping[str, Any]) -> Iterator[_Block]:
    """Tools, system, messages. A cache point marks the block before it."""
    places = [("tool", (body.get("toolConfig") or {}).get("tools") or ()), ("system", body.get("system") or ())]
    places += [(message["role"], message["content"]) for message in body["messages"]]
    reached, hashed, last = 0, blake2b(digest_size=16), None
    for place, blocks in places:
        for number, block in enumerate(blocks):
            if "cachePoint" in block:
                if last is not None:
                    last = _Block(last.digest, last.reached, _point_life(block["cachePoint"]))
                continue
            if last is not None:
                yield last
            reached += _bedrock_tokens(block) + (3 if place != "tool" and number == 0 else 0)
            hashed.update(json.dumps([f"{place}{number == 0}", block], sort_keys=True, default=str).encode())
            last = _Block(hashed.digest(), reached, None)
    if last is not None:
        yield last


def _bedrock_tokens(block: Mapping[str, Any]) -> int:
    if "toolSpec" in block:
        spec = block["toolSpec"]
        return count_tokens(spec["name"] + json.dumps((spec.get("inputSchema") or {}).get("json") or {}))
    return count_tokens(bedrock_wire.text_of([block]))


def _point_life(point: Mapping[str, Any]) -> str:
    life = str(point.get("ttl") or "5m")
    if point.get("type") != "default" or life not in _LIVES:
        raise ValueError(f"cachePoint must have the type 'default' and a ttl of '5m' or '1h', not {point!r}")
    return life


def _parts(place: str, content: Any) -> Iterator[tuple[str, Any, int]]:
    """The blocks of a system prompt or of a message, with their tokens: three for the message, as `count_exchange` counts."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for number, block in enumerate(blocks):
        yield f"{place}{number == 0}", block, count_tokens(anthropic_wire.text_of([block])) + (0 if number else 3)


def _life_of(block: Mapping[str, Any]) -> str | None:
    control = block.get(_MARK)
    if control is None:
        return None
    life = str(control.get("ttl") or "5m")
    if control.get("type") != "ephemeral" or life not in _LIVES:
        raise ValueError(f"cache_control must have the type 'ephemeral' and a ttl of '5m' or '1h', not {control!r}")
    return life


def _plain(value: Any) -> str:
    """A part of a prompt without marks, whichever way its text is written."""
    if isinstance(value, Mapping) and isinstance(value.get("content"), str):
        value = {**value, "content": [{"type": "text", "text": value["content"]}]}
    if isinstance(value, str):
        value = [{"type": "text", "text": value}]
    return json.dumps(_without_marks(value), sort_keys=True)


def _without_marks(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_marks(each) for key, each in value.items() if key != _MARK}
    return [_without_marks(each) for each in value] if isinstance(value, list) else value


def _openai_prefixes(question: Question, key: str, least: int, ends: list[int] | None) -> Iterator[tuple[bytes, int]]:
    """The prefixes that may be kept: digest and tokens, the shortest first. Tools are read before the messages.

    Args:
        ends: where they end, of a request that says so; None: at the minimum, and at each step behind it.
    """
    hashed = blake2b(key.encode() + b"\0", digest_size=16)
    for reached, token in enumerate(_openai_tokens(question), 1):
        hashed.update(token.encode("utf-8", "replace") + b"\0")
        if reached in ends if ends is not None else reached >= least and (reached - least) % _STEP_TOKENS == 0:
            yield hashed.digest(), reached


def _breakpoints(body: Mapping[str, Any], question: Question) -> Iterator[int]:
    """Behind how many tokens the blocks end that have a breakpoint."""
    items = list(body.get("messages") or (body["input"] if isinstance(body.get("input"), list) else ()))
    if len(items) != len(question.messages):  # instructions of the Responses API stand before its input
        items = [{}] * (len(question.messages) - len(items)) + items
    reached = sum(len(TOKEN.findall(name + json.dumps(schema))) for name, schema in question.tools.items())
    for item, (_, text) in zip(items, question.messages, strict=True):
        content, inside = item.get("content"), reached + 3
        for block in content if isinstance(content, list) else ():
            inside += count_tokens(openai_wire.text_of([block]))
            if (block.get(_BREAKPOINT) or {}).get("mode") == "explicit":
                yield inside
        reached += 3 + count_tokens(text)


def _openai_tokens(question: Question) -> Iterator[str]:
    for name, schema in question.tools.items():
        yield from TOKEN.findall(name + json.dumps(schema))
    for role, text in question.messages:
        yield from ("<", role, ">")
        yield from TOKEN.findall(text)
