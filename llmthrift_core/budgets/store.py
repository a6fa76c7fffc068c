"""The protocol of a store of budgets. Every step is atomic: it moves money in all windows that it names, or in none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final, Literal, NamedTuple, Protocol

from llmthrift_core.moments import DAY_US

# An ended hold is remembered for a day, so that settling it again changes nothing, and a window until no hold of it can be.
ENDED_KEPT_US: Final = DAY_US
LONGEST_TTL_US: Final = 7 * DAY_US
WINDOW_KEPT_US: Final = LONGEST_TTL_US + ENDED_KEPT_US


class Amounts(NamedTuple):
    """What is set aside or spent: integer nano-USD, tokens and requests."""

    nano_usd: int = 0
    tokens: int = 0
    requests: int = 0


class Part(NamedTuple):
    """One window that a reservation counts in. `mode` "request" checks a single request and counts nowhere; "warn" always fits."""

    budget: str
    scope: str
    start_us: int
    resets_us: int | None
    mode: Literal["limit", "request", "warn"]


class Moved(NamedTuple):
    """A window after a settlement: what is spent in it, and which share was alerted, in per mille."""

    budget: str
    scope: str
    start_us: int
    spent: Amounts
    alerted: int
    resets_us: int | None


class KeptBudget(NamedTuple):
    """A budget as it is stored: its limits, by which reservations are checked, and the rest of it as a JSON object."""

    name: str
    limit_nano_usd: int | None
    limit_tokens: int | None
    limit_requests: int | None
    settings: str


class KeptWindow(NamedTuple):
    """One spender's window."""

    scope: str
    spent: Amounts
    reserved: Amounts
    overrun: Amounts


class KeptHold(NamedTuple):
    """What is set aside for one call."""

    id: str
    budgets: Sequence[str]
    nano_usd: int
    tokens: int
    created_us: int
    expires_us: int


class RefusedError(Exception):
    """A window has no room."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.budget)
        self.part = part


class BudgetStore(Protocol):
    """Budgets, windows and holds. Every method raises StorageError where the store cannot be reached.

    Attributes:
        coherence_seconds: for how long a process may go by the list of budgets that it has read. Limits are always read by the
            reservation itself.
        changes: how often this process has changed that list, as far as the store counts it: what was read before is out of date.
    """

    coherence_seconds: float

    @property
    def changes(self) -> int: ...

    def put(self, budget: KeptBudget) -> None:
        """Keep a budget, or replace the one of the same name.

        Raises:
            ConfigurationError: this store cannot keep such limits.
        """
        ...

    def begin_windows(self, budget: str, start_us: int, resets_us: int | None, windows: Sequence[KeptWindow], *, now_us: int) -> None:
        """Keep windows of a budget that begin with what was spent before it was there. Those that are open already stay."""
        ...

    def remove(self, name: str) -> bool:
        """Forget a budget and its windows. False if there is none of that name."""
        ...

    def budgets(self) -> Sequence[KeptBudget]:
        """Every budget, by name."""
        ...

    def reserve(self, hold_id: str, parts: Sequence[Part], amounts: Amounts, *, now_us: int, ttl_us: int) -> None:
        """Set amounts aside in all windows, or in none. A hold that was made before is left as it is.

        Raises:
            RefusedError: a window has no room.
        """
        ...

    def extend(self, hold_id: str, parts: Sequence[Part], more: Amounts, *, now_us: int, ttl_us: int) -> bool:
        """Set more aside, and renew the hold. An expired hold is set aside again as a whole. False if it has ended.

        Raises:
            RefusedError: a window has no room.
        """
        ...

    def settle(self, hold_id: str, spent: Amounts | None) -> Sequence[Moved]:
        """End a hold with what was used, in the windows that it was set aside in, even after it expired. Again: nothing happens.

        Args:
            spent: None releases the hold: nothing was used. A negative `nano_usd` stands for "as much as was held".
        """
        ...

    def mark_alerted(self, moved: Moved, per_mille: int) -> bool:
        """Remember that a share of the limit was told. False where another process has told it."""
        ...

    def renew(self, hold_ids: Sequence[str], expires_us: int) -> None:
        """Let holds last until then. Those that are not held any more stay what they are."""
        ...

    def newest_us(self, before_us: int) -> int | None:
        """The newest moment before a given one that holds and windows tell of; None if there is none."""
        ...

    def end(self, hold_id: str) -> bool:
        """Give back what a hold has set aside; a settlement may still come. False if it has ended."""
        ...

    def expire(self, now_us: int) -> int:
        """Give back what holds past their time have set aside. Returns how many there were."""
        ...

    def forget(self, now_us: int) -> None:
        """Drop what nobody can ask for any more: holds that ended a day ago, and windows that closed a day before those."""
        ...

    def erase(self, user: str, names: Mapping[str, Set[str]]) -> int:
        """Rename what tells of a user in windows and holds, once and for all; amounts stay. Returns how many windows there were.

        `names` are further values that tell of nobody else, by attribute or tag.
        """
        ...

    def window(self, part: Part) -> tuple[Amounts, Amounts]:
        """What is spent and what is reserved in a window."""
        ...

    def windows(self, budget: str, start_us: int, scope: str | None = None) -> Sequence[KeptWindow]:
        """The windows that began at a time: of one spender, or of all, by spender."""
        ...

    def holds(self) -> Sequence[KeptHold]:
        """What is set aside, oldest first."""
        ...
