"""`VersionStore`: versions of one kind of thing, by name, one of them active."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, case, func, select, update

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import from_us
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import versions
from llmthrift_core.texts import is_storable

if TYPE_CHECKING:
    from llmthrift_core.storage.backend import Row, Transaction
    from llmthrift_core.storage.database import Database

_OF_NAME: Final = (versions.c.kind == bindparam("of_kind")) & (versions.c.name == bindparam("of_name"))
_OF_VERSION: Final = versions.c.version == bindparam("of_version")
_IS_OF_VERSION: Final = versions.c.version == bindparam("version")
_COLUMNS: Final = ("kind", "name", "version", "state", "created_us", "note")
# On PostgreSQL the rows stay locked until the transaction ends; on SQLite a transaction that writes is alone.
LOCK_VERSIONS: Final = Statement(
    select(versions.c.version, versions.c.active, versions.c.activated_us).where(_OF_NAME).order_by(versions.c.version).with_for_update()
)
ADD_VERSION: Final = Statement(
    lambda insert: (
        insert(versions)
        .values({name: bindparam(name) for name in _COLUMNS} | {"active": 0})
        .on_conflict_do_nothing(index_elements=["kind", "name", "version"])
    )
)
USE_VERSION: Final = Statement(
    update(versions)
    .values(
        active=case((_OF_VERSION, 1), else_=0),
        activated_us=case((_IS_OF_VERSION, bindparam("activated_us")), else_=versions.c.activated_us),
    )
    .where(_OF_NAME)
)
NOTE_VERSION: Final = Statement(update(versions).values(note=bindparam("note")).where(_OF_NAME, _OF_VERSION))
LIST_VERSIONS: Final = Statement(
    select(
        versions.c.version,
        versions.c.created_us,
        versions.c.note,
        versions.c.active,
        func.length(versions.c.state),
        versions.c.activated_us,
    )
    .where(_OF_NAME)
    .order_by(versions.c.version.desc())
)
ACTIVE_VERSION: Final = Statement(select(versions.c.version).where(_OF_NAME, versions.c.active == 1))
ACTIVE_STATE: Final = Statement(select(versions.c.version, versions.c.state).where(_OF_NAME, versions.c.active == 1))
STATE_OF_VERSION: Final = Statement(select(versions.c.version, versions.c.state).where(_OF_NAME, _OF_VERSION))
NAMES_OF_VERSIONS: Final = Statement(
    select(versions.c.name).distinct().where(versions.c.kind == bindparam("of_kind")).order_by(versions.c.name)
)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a router, a cascade or a configuration.

    Attributes:
        name: of the router or configuration.
        version: 1, 2, 3, ...
        created_at: when it was saved, UTC.
        note: what the user wrote down, and what was found out about it.
        active: whether `load` gives this one.
        size_bytes: of what is stored.
        activated_at: when it was last made the active one, UTC; None: never.
    """

    name: str
    version: int
    created_at: datetime
    note: str | None
    active: bool
    size_bytes: int
    activated_at: datetime | None

    @property
    def label(self) -> str:
        """What the ledger calls it: "NAME@3"."""
        return label_of(self.name, self.version)


def label_of(name: str, version: int) -> str:
    """What the ledger calls a version: "NAME@3"."""
    return f"{name}@{version}"


class VersionStore:
    """Versions of one kind of thing. Nothing is ever deleted or changed but notes and which version is active.

    Every method raises StorageError where the database cannot be used.

    Args:
        kind: names of one kind do not meet those of another; also the word for one in messages.
    """

    def __init__(self, database: Database, kind: str, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._kind = kind
        self._clock = clock

    def add(
        self,
        name: str,
        state: bytes,
        *,
        note: str | None,
        activate: bool = True,
        latest: int | None = None,
        active: int | None = None,
    ) -> Version | None:
        """Keep a state as the next version of a name.

        Args:
            activate: make it the active one.
            latest: only where this is still the number of the latest version, 0 where there was none.
            active: only where this is still the number of the active version, 0 where none was.

        Returns:
            The version; None where there is a later one than `latest`, or another one is active than `active`.

        Raises:
            ConfigurationError: a name or note that cannot be stored.
        """
        for what, text in (("name", name), ("note", note)):
            if not (what == "note" and text is None) and not (isinstance(text, str) and text and is_storable(text)):
                raise ConfigurationError(f"{what} must be a text, not {text!r}")
        if "@" in name:
            raise ConfigurationError(f'name must be free of "@", which stands between name and number in the ledger, not {name!r}')
        created_us = int(self._clock() * 1e6)
        while True:  # until no other process takes the same number
            with self._database.transaction() as transaction:
                kept = transaction.fetch_all(LOCK_VERSIONS, (self._kind, name))
                last = int(kept[-1][0]) if kept else 0
                if latest is not None and last != latest:
                    return None
                if active is not None and (_active_of(kept) or 0) != active:
                    return None
                if transaction.execute(ADD_VERSION, (self._kind, name, last + 1, state, created_us, note)):
                    activated_us = self._use(transaction, name, last + 1, kept) if activate else None
                    at = None if activated_us is None else from_us(activated_us)
                    return Version(name, last + 1, from_us(created_us), note, activate, len(state), at)

    def active(self, name: str) -> int | None:
        """The number of the active version; None where no version is."""
        row = self._database.fetch_one(ACTIVE_VERSION, (self._kind, name))
        return None if row is None else int(row[0])

    def state(self, name: str, version: int | None = None) -> tuple[int, bytes]:
        """The number and state of a version; None is the active one.

        Raises:
            ConfigurationError: there is no such version.
        """
        row = (
            self._database.fetch_one(ACTIVE_STATE, (self._kind, name))
            if version is None
            else self._database.fetch_one(STATE_OF_VERSION, (self._kind, name, version))
        )
        if row is None:
            raise self._missing(name, version)
        return int(row[0]), bytes(row[1])

    def versions(self, name: str) -> list[Version]:
        """The versions of a name, newest first; none of a name that is not known."""
        return [
            Version(
                name,
                int(version),
                from_us(created_us),
                note,
                bool(active),
                int(size),
                None if activated_us is None else from_us(activated_us),
            )
            for version, created_us, note, active, size, activated_us in self._database.fetch_all(LIST_VERSIONS, (self._kind, name))
        ]

    def names(self) -> list[str]:
        """The names that have a version."""
        return [name for (name,) in self._database.fetch_all(NAMES_OF_VERSIONS, (self._kind,))]

    def roll_back(self, name: str, version: int | None = None) -> Version:
        """Make another version the active one.

        Args:
            version: None is the one that was active before, among those with lower numbers.

        Raises:
            ConfigurationError: there is no such version.
        """
        with self._database.transaction() as transaction:
            kept = transaction.fetch_all(LOCK_VERSIONS, (self._kind, name))
            active = _active_of(kept)
            if version is None and active is not None:
                version = _before(kept, active)
                if version is None:
                    raise ConfigurationError(f"version {active} of {self._kind} {name!r} is the first: there is nothing before it")
            if version not in [int(number) for number, *_ in kept]:
                raise self._missing(name, version)
            self._use(transaction, name, version, kept)
        return next(each for each in self.versions(name) if each.version == version)

    def withdraw(self, name: str, version: int, *, to: int, why: str) -> bool:
        """Roll back from a version and note why. False where it is no longer the active one, or the other not the one before."""
        note = next((each.note for each in self.versions(name) if each.version == version), None)
        with self._database.transaction() as transaction:
            kept = transaction.fetch_all(LOCK_VERSIONS, (self._kind, name))
            if _active_of(kept) != version or _before(kept, version) != to:
                return False
            self._use(transaction, name, to, kept)
            transaction.execute(NOTE_VERSION, (why if note is None else f"{note}; {why}", self._kind, name, version))
        return True

    def before(self, name: str) -> tuple[Version, Version] | None:
        """The active version, and the one that `roll_back` would go back to; None where there are no two."""
        found = {each.version: each for each in self.versions(name)}
        active = next((each for each in found.values() if each.active), None)
        if active is None:
            return None
        times = [(each.version, each.active, each.activated_at) for each in reversed(found.values())]
        before = _before(times, active.version)
        return None if before is None else (active, found[before])

    def _use(self, transaction: Transaction, name: str, version: int, kept: Sequence[Row]) -> int:
        # Later than every other: clocks of two machines differ, and the order is what `roll_back` goes by.
        activated_us = max([int(self._clock() * 1e6), *(int(at_us) + 1 for *_, at_us in kept if at_us is not None)])
        transaction.execute(USE_VERSION, (version, version, activated_us, self._kind, name))
        return activated_us

    def _missing(self, name: str, version: int | None) -> ConfigurationError:
        numbers = [str(each.version) for each in reversed(self.versions(name))]
        if not numbers:
            return ConfigurationError(f"there is no {self._kind} {name!r}; there are: {', '.join(map(repr, self.names())) or 'none'}")
        if version is None:
            return ConfigurationError(
                f"no version of {self._kind} {name!r} is active; roll_back({name!r}, NUMBER) makes one so: {', '.join(numbers)}"
            )
        return ConfigurationError(f"{self._kind} {name!r} has no version {version}; there are: {', '.join(numbers)}")


def _active_of(kept: Sequence[Row]) -> int | None:
    return next((int(number) for number, active, _ in kept if active), None)


def _before(kept: Sequence[Row], active: int) -> int | None:
    """The version that was last in use among those with lower numbers. It only goes down: to roll back twice never leads forward."""
    used = [(activated, int(number)) for number, _, activated in kept if activated is not None and number < active]
    return max(used)[1] if used else None
