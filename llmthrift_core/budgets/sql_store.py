"""Budgets in the SQL database: every step one transaction, every condition in the statement that moves the money.

Windows are taken in a fixed order, so that two processes cannot wait for each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence, Set
from functools import lru_cache
from typing import Final

from sqlalchemy import select

from llmthrift_core.budgets import statements as sql
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
from llmthrift_core.storage.backend import Transaction
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import budget_windows

_BATCH: Final = 500
_MOST_FULL: Final = 10_000
_ENDED: Final = ("settled", "released", "expired")
_encode = json.JSONEncoder(separators=(",", ":")).encode

_changes: Final[defaultdict[Hashable, int]] = defaultdict(int)  # of the lists of budgets, by database


class SqlBudgets:
    """A `BudgetStore` in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # On PostgreSQL each look is a round trip.
        self.coherence_seconds = 0.05 if database.dialect == "sqlite" else 1.0
        self._full: set[tuple[str, str, int]] = set()  # windows whose last reservation here was refused

    @property
    def changes(self) -> int:
        """As `BudgetStore.changes`."""
        return _changes[self._database.place]

    # --- keeping ---

    def put(self, budget: KeptBudget) -> None:
        """Keep a budget, or replace the one of the same name."""
        with self._database.transaction() as transaction:
            transaction.execute(sql.PUT_BUDGET, budget)
        _changes[self._database.place] += 1

    def begin_windows(self, budget: str, start_us: int, resets_us: int | None, windows: Sequence[KeptWindow], *, now_us: int) -> None:
        """Keep windows that begin with what was spent before. Those that are open already stay."""
        with self._database.transaction() as transaction:
            for scope, spent, _, overrun in windows:
                transaction.execute(sql.BEGIN_WINDOW, (budget, scope, start_us, resets_us, *spent, overrun.nano_usd, overrun.tokens))

    def remove(self, name: str) -> bool:
        """Forget a budget and its windows. False if there is none of that name."""
        with self._database.transaction() as transaction:
            removed = transaction.execute(sql.REMOVE_BUDGET, (name,))
            transaction.execute(sql.REMOVE_WINDOWS, (name,))
        _changes[self._database.place] += 1
        return removed > 0

    def budgets(self) -> list[KeptBudget]:
        """Every budget, by name."""
        return [KeptBudget(*row) for row in self._database.fetch_all(sql.GET_BUDGETS)]

    # --- moving money ---

    def reserve(self, hold_id: str, parts: Sequence[Part], amounts: Amounts, *, now_us: int, ttl_us: int) -> None:
        """Set amounts aside in all windows, or in none. Raises RefusedError."""
        if self._full:
            self._look_first(hold_id, parts, amounts)
        try:
            with self._database.transaction() as transaction:
                windows = _encoded(tuple(part[:3] for part in parts if part.mode != "request"))
                if not transaction.execute(sql.ADD_HOLD, (hold_id, windows, amounts.nano_usd, amounts.tokens, now_us, now_us + ttl_us)):
                    return
                for part in parts:
                    _take(transaction, part, amounts, amounts)
        except RefusedError as refused:
            if refused.part.mode == "limit":
                if len(self._full) >= _MOST_FULL:
                    self._full.clear()
                self._full.add(refused.part[:3])
            raise

    def _look_first(self, hold_id: str, parts: Sequence[Part], amounts: Amounts) -> None:
        """Refuse what a full window has no room for without a transaction: who is refused again and again keeps nobody else waiting."""
        for place, part in enumerate(parts):
            if part.mode == "limit" and part[:3] in self._full:
                if self._is_full(hold_id, part, amounts):
                    raise RefusedError(next((each for each in parts[:place] if self._refuses(hold_id, each, amounts)), part))
                self._full.discard(part[:3])

    def _refuses(self, hold_id: str, part: Part, amounts: Amounts) -> bool:
        if part.mode == "warn":
            return False
        fits_alone = self._database.fetch_one(sql.FITS_ONE_REQUEST, (part.budget, *_checks(amounts))) is not None
        return not fits_alone or (part.mode == "limit" and self._is_full(hold_id, part, amounts))

    def _is_full(self, hold_id: str, part: Part, amounts: Amounts) -> bool:
        return self._database.fetch_one(sql.IS_FULL, (*part[:3], part.budget, *_checks(amounts), hold_id)) is not None

    def extend(self, hold_id: str, parts: Sequence[Part], more: Amounts, *, now_us: int, ttl_us: int) -> bool:
        """Set more aside, and renew the hold. An expired hold is set aside again as a whole. Raises RefusedError."""
        with self._database.transaction() as transaction:
            row = transaction.fetch_one(sql.GET_HOLD, (hold_id,))
            if row is None or row[0] not in ("held", "expired"):
                return False
            total = Amounts(row[2] + more.nano_usd, row[3] + more.tokens, 1)
            taken = more if row[0] == "held" else total
            for part in parts:
                _take(transaction, part, taken, total)
            transaction.execute(sql.GROW_HOLD, (more.nano_usd, more.tokens, now_us + ttl_us, hold_id))
        return True

    def settle(self, hold_id: str, spent: Amounts | None) -> list[Moved]:
        """End a hold with what was used; None releases it."""
        moved: list[Moved] = []
        with self._database.transaction() as transaction:
            state = "released" if spent is None else "settled"
            row, is_held = transaction.fetch_one(sql.END_HELD, (state, hold_id)), True
            if row is None:
                row, is_held = transaction.fetch_one(sql.END_EXPIRED, (state, hold_id)), False
            if row is None:
                return moved
            used = spent or Amounts()
            held = Amounts(row[1], row[2], 1)
            if used.nano_usd < 0:  # the price is not known: what was held is the best there is
                used = used._replace(nano_usd=held.nano_usd)
            back = held if is_held else Amounts()
            # What was not set aside (any more) may not have been there: spent + reserved <= limit + overrun always holds.
            over = max(used.nano_usd - back.nano_usd, 0), max(used.tokens - back.tokens, 0)
            for budget, scope, start_us in _decoded(row[0]):
                found = transaction.fetch_one(sql.MOVE, (*used, *back, *over, budget, scope, start_us))
                if found is not None and spent is not None:
                    moved.append(Moved(budget, scope, start_us, Amounts(*found[:3]), found[3], found[4]))
        return moved

    def mark_alerted(self, moved: Moved, per_mille: int) -> bool:
        """Remember that a share of the limit was told. False where another process has told it."""
        with self._database.transaction() as transaction:
            changed = transaction.execute(sql.MARK_ALERTED, (per_mille, moved.budget, moved.scope, moved.start_us, per_mille))
        return changed == 1

    def renew(self, hold_ids: Sequence[str], expires_us: int) -> None:
        """Let holds last until then."""
        with self._database.transaction() as transaction:
            for hold_id in sorted(hold_ids):
                transaction.execute(sql.RENEW_HOLD, (expires_us, hold_id))

    def newest_us(self, before_us: int) -> int | None:
        """The newest moment before a given one that holds and windows tell of."""
        rows = [self._database.fetch_one(sql.NEWEST_HOLD, (state, before_us)) for state in ("held", *_ENDED)]
        if not any(rows):
            rows = [self._database.fetch_one(sql.NEWEST_WINDOW, (before_us,))]
        return max((int(row[0]) for row in rows if row is not None and row[0] is not None), default=None)

    def end(self, hold_id: str) -> bool:
        """Give back what a hold has set aside; a settlement may still come. False if it has ended."""
        with self._database.transaction() as transaction:
            row = transaction.fetch_one(sql.END_HELD, ("expired", hold_id))
            if row is None:
                return False
            for budget, scope, start_us in _decoded(row[0]):
                transaction.fetch_one(sql.MOVE, (0, 0, 0, row[1], row[2], 1, 0, 0, budget, scope, start_us))
        return True

    def expire(self, now_us: int) -> int:
        """Give back what holds past their time have set aside. Returns how many there were."""
        expired = 0
        while True:
            ids = [row[0] for row in self._database.fetch_all(sql.FIND_EXPIRED, (now_us, _BATCH))]
            expired += sum(self.end(hold_id) for hold_id in ids)
            if len(ids) < _BATCH:
                return expired

    def forget(self, now_us: int) -> None:
        """Drop holds and windows that nobody can ask for any more."""
        with self._database.transaction() as transaction:
            for state in _ENDED:
                transaction.execute(sql.FORGET_ENDED, (state, now_us - ENDED_KEPT_US))
            transaction.execute(sql.FORGET_WINDOWS, (now_us - WINDOW_KEPT_US,))

    def erase(self, user: str, names: Mapping[str, Set[str]]) -> int:
        """Rename what tells of a user in windows and holds; amounts stay. Returns how many windows there were."""
        erasure = Erasure(user, names)
        with self._database.transaction() as transaction:
            for hold_id, parts in transaction.fetch_all(sql.PARTS_OF_HOLDS):
                if (renamed := erasure.of_parts(json.loads(parts))) is not None:
                    transaction.execute(sql.RENAME_PARTS, (_encode(renamed), hold_id))
            keys = transaction.fetch_all(sql.KEYS_OF_WINDOWS)
            found = [(name, *key) for key in keys if (name := erasure.of_scope(key[1])) is not None]
            transaction.executemany(sql.RENAME_WINDOW, found)
        return len(found)

    # --- looking ---

    def window(self, part: Part) -> tuple[Amounts, Amounts]:
        """What is spent and what is reserved in a window."""
        row = self._database.fetch_one(sql.GET_WINDOW, part[:3])
        return (Amounts(), Amounts()) if row is None else (Amounts(*row[:3]), Amounts(*row[3:6]))

    def windows(self, budget: str, start_us: int, scope: str | None = None) -> list[KeptWindow]:
        """The windows that began at a time, by spender."""
        column = budget_windows.c
        query = select(budget_windows).where(column.budget == budget, column.start_us == start_us).order_by(column.scope)
        if scope is not None:
            query = query.where(column.scope == scope)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            KeptWindow(
                row["scope"],
                Amounts(*(row[f"spent_{unit}"] for unit in sql.UNITS)),
                Amounts(*(row[f"reserved_{unit}"] for unit in sql.UNITS)),
                Amounts(row["overrun_nano_usd"], row["overrun_tokens"]),
            )
            for row in rows
        ]

    def holds(self) -> list[KeptHold]:
        """What is set aside, oldest first."""
        return [
            KeptHold(hold_id, [budget for budget, _, _ in json.loads(parts)], *numbers)
            for hold_id, parts, *numbers in self._database.fetch_all(sql.GET_HOLDS)
        ]


# The windows of a spender are the same ones until the next of them begins.
@lru_cache(maxsize=4096)
def _encoded(windows: tuple[tuple[str, str, int], ...]) -> str:
    return _encode(windows)


@lru_cache(maxsize=4096)
def _decoded(windows: str) -> tuple[tuple[str, str, int], ...]:
    return tuple(map(tuple, json.loads(windows)))


def _checks(amounts: Amounts) -> list[int]:
    """What the statements that compare amounts with limits are given."""
    return [value for amount in amounts for value in (amount, amount)]


def _take(transaction: Transaction, part: Part, taken: Amounts, total: Amounts) -> None:
    """Set `taken` aside in one window; `total` is what the request holds altogether."""
    name = part.budget
    if part.mode == "request":
        if transaction.fetch_one(sql.FITS_ONE_REQUEST, (name, *_checks(total))) is None:
            raise RefusedError(part)
        return
    key = part[:3]
    if part.mode == "warn":
        transaction.execute(sql.RESERVE_ANYWAY, (*key, part.resets_us, *taken, name))
        return
    checks = _checks(taken)
    if transaction.execute(sql.RESERVE, (*taken, *key, name, *checks)):
        return
    # The first reservation in a window opens it. Where another process did so meanwhile, its row is there now.
    if transaction.execute(sql.OPEN_WINDOW, (*key, part.resets_us, *taken, name, *checks)):
        return
    if not transaction.execute(sql.RESERVE, (*taken, *key, name, *checks)):
        raise RefusedError(part)
