"""Budgets on a Valkey or Redis server: every step is one script, which the server runs as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Final, TypeVar

from llmthrift_core.budgets import scripts as lua
from llmthrift_core.budgets.scopes import Erasure
from llmthrift_core.budgets.store import (
    ENDED_KEPT_US,
    WINDOW_KEPT_US,
    Amounts,
    KeptBudget,
    KeptHold,
    KeptWindow,
    Moved,
    Part,
    RefusedError,
)
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.storage.valkey import ValkeyServer

_BATCH: Final = 500
_UNITS: Final = Amounts._fields
_ENDED_KEPT_MS: Final = ENDED_KEPT_US // 1000
_LIMITS: Final = tuple(f"limit_{unit}" for unit in _UNITS)
_WINDOW: Final = (
    *(f"spent_{unit}" for unit in _UNITS),
    *(f"reserved_{unit}" for unit in _UNITS),
    *(f"overrun_{unit}" for unit in _UNITS),
)
_HOLD: Final = ("parts", "nano_usd", "tokens", "created_us", "expires_us")
_Item = TypeVar("_Item")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ValkeyBudgets:
    """A `BudgetStore` on Valkey.

    What survives the death of the server is for its own persistence to say; with `appendfsync everysec` the last second may be lost.
    """

    coherence_seconds = 1.0  # each look at the list of budgets is a round trip
    changes = 0  # other objects of this process learn of them as other processes do

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server

    # --- keeping ---

    def put(self, budget: KeptBudget) -> None:
        """Keep a budget, or replace the one of the same name.

        Raises:
            ConfigurationError: the server may drop keys when its memory is full, and with them what was spent.
        """
        if (policy := self._server.may_evict()) is not None:
            raise ConfigurationError(
                f"{self._server.url} drops keys when its memory is full (maxmemory-policy {policy}), and budgets with them; "
                "set maxmemory-policy noeviction, or keep budgets elsewhere"
            )
        key = f"{lua.PREFIX}budget:{budget.name}"
        limits = [text for pair in zip(_LIMITS, budget[1:4], strict=True) if pair[1] is not None for text in pair]
        commands = [("DEL", key), ("HSET", key, *limits, "settings", budget.settings), ("SADD", f"{lua.PREFIX}budgets", budget.name)]
        self._server.ask_many(commands, together=True)

    def begin_windows(self, budget: str, start_us: int, resets_us: int | None, windows: Sequence[KeptWindow], *, now_us: int) -> None:
        """Keep windows that begin with what was spent before. Those that are open already stay."""
        ends = "" if resets_us is None else resets_us, _kept_ms(resets_us, now_us)
        for scope, spent, _, overrun in windows:
            self._server.run(lua.BEGIN_WINDOW, budget, start_us, *ends, scope, *spent, overrun.nano_usd, overrun.tokens)

    def remove(self, name: str) -> bool:
        """Forget a budget and its windows. False if there is none of that name."""
        starts = f"{lua.PREFIX}starts:{name}"
        commands = [("SREM", f"{lua.PREFIX}budgets", name), ("DEL", f"{lua.PREFIX}budget:{name}")]
        removed, _ = self._server.ask_many(commands, together=True)
        for start in self._server.ask("ZRANGE", starts, 0, -1):
            spenders = _key("spenders", name, start.decode())
            for batch in _batches(self._server.members(spenders)):
                self._server.ask("UNLINK", *(_window_key(name, start.decode(), scope.decode()) for scope in batch))
            self._server.ask("UNLINK", spenders)
        self._server.ask("DEL", starts)
        return bool(removed)

    def budgets(self) -> list[KeptBudget]:
        """Every budget, by name."""
        names = sorted(name.decode() for name in self._server.members(f"{lua.PREFIX}budgets"))
        if not names:
            return []
        found = self._server.ask_many(("HMGET", f"{lua.PREFIX}budget:{name}", *_LIMITS, "settings") for name in names)
        return [
            KeptBudget(name, _limit(usd), _limit(tokens), _limit(requests), settings.decode())
            for name, (usd, tokens, requests, settings) in zip(names, found, strict=True)
            if settings is not None
        ]

    # --- moving money ---

    def reserve(self, hold_id: str, parts: Sequence[Part], amounts: Amounts, *, now_us: int, ttl_us: int) -> None:
        """Set amounts aside in all windows, or in none. Raises RefusedError."""
        windows = _encode([(part.budget, part.scope, str(part.start_us)) for part in parts if part.mode != "request"])
        refused = self._server.run(lua.RESERVE, hold_id, windows, now_us, now_us + ttl_us, *amounts, *_arguments(parts, now_us))
        if refused:
            raise RefusedError(parts[refused - 1])

    def extend(self, hold_id: str, parts: Sequence[Part], more: Amounts, *, now_us: int, ttl_us: int) -> bool:
        """Set more aside, and renew the hold. An expired hold is set aside again as a whole. Raises RefusedError."""
        refused = self._server.run(lua.EXTEND, hold_id, now_us + ttl_us, more.nano_usd, more.tokens, *_arguments(parts, now_us))
        if refused > 0:
            raise RefusedError(parts[refused - 1])
        return bool(refused == 0)

    def settle(self, hold_id: str, spent: Amounts | None) -> list[Moved]:
        """End a hold with what was used; None releases it."""
        state = "released" if spent is None else "settled"
        moved = self._server.run(lua.SETTLE, hold_id, state, *(spent or Amounts()), _ENDED_KEPT_MS)
        return [_moved(row) for row in moved or ()] if spent is not None else []

    def mark_alerted(self, moved: Moved, per_mille: int) -> bool:
        """Remember that a share of the limit was told. False where another process has told it."""
        return bool(self._server.run(lua.MARK_ALERTED, moved.budget, moved.scope, moved.start_us, per_mille))

    def renew(self, hold_ids: Sequence[str], expires_us: int) -> None:
        """Let holds last until then."""
        for batch in _batches(hold_ids):
            self._server.run(lua.RENEW, expires_us, *batch)

    def newest_us(self, before_us: int) -> int | None:
        """The newest moment before a given one that open holds tell of: what ended, the server itself forgets."""
        found = self._server.ask("ZREVRANGEBYSCORE", f"{lua.PREFIX}held", f"({before_us}", "-inf", "WITHSCORES", "LIMIT", 0, 1)
        return int(float(found[1])) if found else None

    def end(self, hold_id: str) -> bool:
        """Give back what a hold has set aside; a settlement may still come. False if it has ended."""
        return bool(self._server.run(lua.END, _ENDED_KEPT_MS, hold_id))

    def expire(self, now_us: int) -> int:
        """Give back what holds past their time have set aside. Returns how many there were."""
        expired = 0
        while True:
            ids = self._server.ask("ZRANGEBYSCORE", f"{lua.PREFIX}held", "-inf", now_us, "LIMIT", 0, _BATCH)
            if ids:
                expired += self._server.run(lua.END, _ENDED_KEPT_MS, *ids)
            if len(ids) < _BATCH:
                return expired

    def forget(self, now_us: int) -> None:
        """Windows and ended holds expire by themselves; what is left is the list of their beginnings."""
        before = f"({now_us - WINDOW_KEPT_US}"
        names = [name.decode() for name in self._server.members(f"{lua.PREFIX}budgets")]
        if names:
            self._server.ask_many(("ZREMRANGEBYSCORE", f"{lua.PREFIX}starts:{name}", "-inf", before) for name in names)

    def erase(self, user: str, names: Mapping[str, Set[str]]) -> int:
        """Rename what tells of a user in windows and holds; amounts stay. Returns how many windows there were."""
        erasure = Erasure(user, names)
        scopes: set[str] = set()
        for name in self._server.members(f"{lua.PREFIX}budgets"):
            for start in self._server.ask("ZRANGE", f"{lua.PREFIX}starts:{name.decode()}", 0, -1):
                scopes.update(scope.decode() for scope in self._server.members(_key("spenders", name.decode(), start.decode())))
        ended: list[str] = []  # of which there is no list
        prefix = f"{lua.PREFIX}hold:"
        for batch in _batches(self._server.keys(f"{prefix}*")):
            ids = [key.decode().removeprefix(prefix) for key in batch]
            for hold_id, parts in zip(ids, self._server.ask_many(("HGET", prefix + hold_id, "parts") for hold_id in ids), strict=True):
                if parts is not None and erasure.of_parts(found := json.loads(parts)) is not None:
                    ended.append(hold_id)
                    scopes.update(scope for _, scope, _ in found)
        renamed = [name for scope in scopes if (new := erasure.of_scope(scope)) is not None for name in (scope, new)]
        return int(self._server.run(lua.RENAME, _encode(ended), *renamed)) if renamed else 0

    # --- looking ---

    def window(self, part: Part) -> tuple[Amounts, Amounts]:
        """What is spent and what is reserved in a window."""
        found = self._server.ask("HMGET", _window_key(part.budget, str(part.start_us), part.scope), *_WINDOW[:6])
        return _amounts(found[:3]), _amounts(found[3:])

    def windows(self, budget: str, start_us: int, scope: str | None = None) -> list[KeptWindow]:
        """The windows that began at a time, by spender."""
        start = str(start_us)
        scopes = [scope] if scope is not None else sorted(name.decode() for name in self._server.members(_key("spenders", budget, start)))
        windows: list[KeptWindow] = []
        for batch in _batches(scopes):
            found = self._server.ask_many(("HMGET", _window_key(budget, start, each), "resets_us", *_WINDOW) for each in batch)
            windows += [
                KeptWindow(each, _amounts(row[:3]), _amounts(row[3:6]), _amounts(row[6:]))
                for each, (resets, *row) in zip(batch, found, strict=True)
                if resets is not None
            ]
        return windows

    def holds(self) -> list[KeptHold]:
        """What is set aside, oldest first."""
        ids = [hold_id.decode() for hold_id in self._server.ask("ZRANGE", f"{lua.PREFIX}held", 0, -1)]
        holds: list[KeptHold] = []
        for batch in _batches(ids):
            found = self._server.ask_many(("HMGET", f"{lua.PREFIX}hold:{hold_id}", *_HOLD) for hold_id in batch)
            holds += [
                KeptHold(hold_id, [budget for budget, _, _ in json.loads(parts)], *map(int, numbers))
                for hold_id, (parts, *numbers) in zip(batch, found, strict=True)
                if parts is not None
            ]
        return sorted(holds, key=lambda hold: (hold.created_us, hold.id))


def _arguments(parts: Sequence[Part], now_us: int) -> list[Any]:
    """The parts as the scripts read them: `budget_scripts.PART_ARGUMENTS` of each."""
    flat: list[Any] = []
    for budget, scope, start_us, resets_us, mode in parts:
        flat += (mode, budget, scope, start_us, "" if resets_us is None else resets_us, _kept_ms(resets_us, now_us))
    return flat


def _kept_ms(resets_us: int | None, now_us: int) -> int | str:
    """For how long the server keeps a window; "" for ever."""
    return "" if resets_us is None else (resets_us - now_us + WINDOW_KEPT_US) // 1000


def _key(kind: str, budget: str, start: str) -> str:
    return f"{lua.PREFIX}{kind}:{len(budget.encode())}:{budget}:{start}"


def _window_key(budget: str, start: str, scope: str) -> str:
    return f"{_key('window', budget, start)}:{scope}"


def _limit(value: bytes | None) -> int | None:
    return None if value is None else int(value)


def _amounts(values: Sequence[bytes | None]) -> Amounts:
    return Amounts(*(int(value or 0) for value in values))


def _moved(row: Sequence[bytes]) -> Moved:
    budget, scope, start_us, *spent, alerted, resets_us = row
    return Moved(budget.decode(), scope.decode(), int(start_us), _amounts(spent), int(alerted), int(resets_us) if resets_us else None)


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
